"""Layouts of exams, prompts and their letters, and what a model's answers come to."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import tokenizers

from studio.errors import ArgumentError, DatasetError
from studio.evaluate import choice_rows
from studio.evaluate.categories import categories_of, title_of
from studio.evaluate.choice import Answers, Given, result_of
from studio.evaluate.choice_prompts import Asked, Encoder, Paper, between, set_papers
from studio.evaluate.choice_rows import Exam, Question, read_exam
from studio.evaluate.kept import ALL, Result, as_csv, document, group_differences
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from tests.exams import agieval_rows, inside_rows, write_ceval, write_cmmlu, write_lines, write_mmlu


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> LightTokenizer:
    return open_tokenizer(tiny_tokenizer_folder, tmp_path_factory.mktemp("cache"))


def papers(exam: Exam, **asked: object) -> tuple[list[Paper], list[str]]:
    usual = {"split": "auto", "subjects": (), "n_shot": None, "shots_from": "dev", "lang": "auto",
             "max_samples": None, "seed": 42}  # fmt: skip
    return set_papers(exam, **{**usual, **asked})  # type: ignore[arg-type]


def test_every_layout_is_told_from_its_files(tmp_path: Path):
    write_ceval(tmp_path / "a", {"law": {"dev": 5, "val": 3, "test": 2}}, answers=False)
    write_mmlu(tmp_path / "b", {"anatomy": {"dev": 5, "test": 3}})
    write_cmmlu(tmp_path / "c", {"arts": {"dev": 5, "test": 3}})
    write_lines(tmp_path / "d" / "gaokao-biology.jsonl", agieval_rows(3))
    write_lines(tmp_path / "e" / "own.jsonl", inside_rows(3))
    for folder, layout, subject in [("a", "ceval", "law"), ("b", "mmlu", "anatomy"), ("c", "cmmlu", "arts"),
                                    ("d", "agieval", "gaokao-biology"), ("e", "rows", "own")]:  # fmt: skip
        exam = read_exam(tmp_path / folder)
        assert (exam.layout, [each.name for each in exam.subjects]) == (layout, [subject])
        questions = exam.subjects[0].splits["val" if layout == "ceval" else "test"]
        assert len(questions) == 3 and all(question.letters == tuple("ABCD") for question in questions)
        assert all(question.answer for question in questions)
        assert all(bool(question.options) is (layout != "rows") for question in questions)
    assert [question.answer for question in read_exam(tmp_path / "a").subjects[0].splits["test"]] == ["", ""]
    assert read_exam(tmp_path / "d").subjects[0].splits["test"][1].text.startswith("A passage.\n")
    assert not read_exam(tmp_path / "d").subjects[0].splits["test"][0].options[0].startswith("(")


def test_a_file_that_asks_for_something_else_is_left_out_and_told(tmp_path: Path):
    write_lines(tmp_path / "sat-en.jsonl", agieval_rows(3))
    write_lines(tmp_path / "math.jsonl", [{"question": "?", "options": None, "label": None, "answer": "2"}])
    several = [{**row, "label": ["A", "C"]} for row in agieval_rows(2)]
    write_lines(tmp_path / "jec-qa-ca.jsonl", several)
    exam = read_exam(tmp_path, "agieval")
    assert [each.name for each in exam.subjects] == ["sat-en"]
    assert exam.notes == ("not read: jec-qa-ca.jsonl, math.jsonl: their rows have no options, or several right ones",)


def test_options_inside_a_question_may_share_a_line_and_be_wide(tmp_path: Path):
    texts = ["选 A. 1 B. 2 C. 3 D. 4", "选\nA. 1\tB. 2\nC. 3\tD. 4\n答案：", "选\nＡ．1\nＢ．2\nＣ．3\nＤ．4",
             "The angle at A. It is\n(A) 1 (B) 2 (C) 3 (D) 4"]  # fmt: skip
    write_lines(tmp_path / "own.jsonl", [{"id": 0, "question": text, "answer": "Ｂ"} for text in texts])
    questions = read_exam(tmp_path / "own.jsonl").subjects[0].splits["test"]
    assert [(each.letters, each.answer, each.id) for each in questions] == [(tuple("ABCD"), "B", "0")] * 4
    write_lines(tmp_path / "own.jsonl", [{"question": "Pick B. 1 or C. 2", "answer": "C"}])
    with pytest.raises(DatasetError, match=r"row 1: column 'question': must have options.*found B, C"):
        read_exam(tmp_path / "own.jsonl", "rows")


def test_what_mmlu_has_for_training_is_not_measured(tmp_path: Path):
    write_mmlu(tmp_path, {"anatomy": {"dev": 5, "test": 3}})
    (tmp_path / "auxiliary_train").mkdir()
    (tmp_path / "auxiliary_train" / "race.csv").write_text("Q,1,2,3,4,A\n")
    exam = read_exam(tmp_path)
    assert [each.name for each in exam.subjects] == ["anatomy"]
    assert exam.notes == ("not read: 1 file in auxiliary_train/, which are for training",)


def test_rows_name_their_subjects(tmp_path: Path):
    rows = [{**row, "source": "one" if at % 2 else "two"} for at, row in enumerate(inside_rows(4))]
    exam = read_exam(write_lines(tmp_path / "x.jsonl", rows))
    assert {each.name: len(each.splits["test"]) for each in exam.subjects} == {"one": 2, "two": 2}


def test_bad_rows_are_left_out_only_where_that_is_asked_for(tmp_path: Path):
    path = write_lines(tmp_path / "x.jsonl", [*inside_rows(2), {"question": "Why?", "answer": "A"}])
    with pytest.raises(DatasetError, match=r"x\.jsonl: row 3: column 'question': must have options"):
        read_exam(path)
    exam = read_exam(path, skip_bad_rows=True)
    assert len(exam.subjects[0].splits["test"]) == 2 and "left out: 1 row that" in exam.notes[0]


def test_the_measured_split_is_one_with_answers(tmp_path: Path):
    write_ceval(tmp_path / "a", {"law": {"dev": 5, "val": 3, "test": 2}}, answers=False)
    write_ceval(tmp_path / "b", {"law": {"dev": 5, "val": 3, "test": 2}})
    assert papers(read_exam(tmp_path / "a"))[0][0].split == "val"
    assert papers(read_exam(tmp_path / "b"))[0][0].split == "test"
    with pytest.raises(ArgumentError, match="--subjects war: must be subjects of the questions, which are: law"):
        papers(read_exam(tmp_path / "a"), subjects=("war",))


def test_examples_are_drawn_by_the_seed_and_the_subject_alone(tmp_path: Path):
    write_ceval(tmp_path, {"law": {"dev": 9, "val": 3}, "logic": {"dev": 9, "val": 3}})
    exam = read_exam(tmp_path)

    def drawn(**more: object) -> dict[str, list[int]]:
        return {paper.name: paper.shot_rows for paper in papers(exam, n_shot=3, **more)[0]}

    assert drawn() == drawn()
    assert drawn(subjects=("logic",))["logic"] == drawn()["logic"]
    assert drawn(seed=1) != drawn(seed=2)
    many, notes = papers(exam, n_shot=12)
    assert [len(paper.shots) for paper in many] == [9, 9] and "law: 9 examples instead of 12, all that dev has" in notes


QUESTION = Question("下列正确的是", ("一", "二"), ("A", "B"), "A", "0", 1)


def test_a_prompt_reads_as_the_page_says():
    shot = Question("哪个是城市", ("东京", "河"), ("A", "B"), "B", "0", 1)
    paper = Paper("law", "法学", "zh", "val", (QUESTION,), (shot,), "dev")
    assert paper.text(QUESTION, 1) == (
        "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。\n\n"
        "哪个是城市\nA. 东京\nB. 河\n答案：B\n\n下列正确的是\nA. 一\nB. 二\n答案："
    )
    there = Question("Which?\nA. x\nB. y\nAnswer:", (), ("A", "B"), "A", "0", 1)
    english = Paper("own", "", "en", "test", (there,), (there,), "test")
    assert english.text(there, 1) == "Which?\nA. x\nB. y\nAnswer: A\n\nWhich?\nA. x\nB. y\nAnswer:"
    assert [between(text) for text in ("答案：", "Answer:", "assistant\n", "")] == ["", " ", "", ""]


def test_letters_are_the_tokens_that_the_tokenizer_makes_of_the_whole_text(tokenizer: LightTokenizer):
    encoder = Encoder(tokenizer, None, 0)
    for text in ("Which city?\nAnswer:", "哪座城市？\n答案：", "a", "Tell the secret"):
        context, options = encoder.encode(text, ("A", "B", "C", "D"))
        for letter, option in zip("ABCD", options, strict=True):
            whole = tokenizer.fast.encode(text + between(text) + letter).ids
            assert [*context, *option] == whole and option


def test_examples_are_dropped_from_the_front_and_then_the_question_is_cut(tokenizer: LightTokenizer):
    shots = tuple(Question(f"Question {number}?", ("x", "y"), ("A", "B"), "A", "0", number) for number in range(4))
    paper = Paper("law", "law", "en", "val", (QUESTION,), shots, "dev")
    whole = Encoder(tokenizer, None, 0).ask(paper, QUESTION)
    assert (whole.shots, whole.cut) == (4, 0)
    less = Encoder(tokenizer, None, len(whole.context) - 1).ask(paper, QUESTION)
    assert less.shots == 3 and less.cut == 0
    assert "Question 0?" not in tokenizer.fast.decode(list(less.context))
    assert "Question 3?" in tokenizer.fast.decode(list(less.context))
    tight = Encoder(tokenizer, None, 16).ask(paper, QUESTION)
    # The last token of a letter is never read.
    room = 16 - max(map(len, tight.options)) + 1
    assert tight.shots == 0 and tight.cut > 0 and tight.context == whole.context[-room:]


def given(*logps: float, answer: str = "A", subject: str = "law") -> Given:
    letters = tuple("ABCD"[: len(logps)])
    question = Question("?", letters, letters, answer, "0", 1)
    return Given(Paper(subject, subject, "en", "val", (question,), (), ""), question, Asked((1,), ((2,),), 0, 0), logps)


def test_a_tie_is_wrong_and_the_first_letter_in_an_answer_file():
    tie = given(-1.0, -1.0, -2.0)
    assert tie.tied and not tie.right and tie.pick == "A"
    assert given(-1.0, -2.0).right and not given(-2.0, -1.0).right
    assert sum(given(-1.0, -3.0, -math.inf).chances) == pytest.approx(1)
    assert Answers([tie]).submission() == {"law": {"0": "A"}}


def result(answers: list[Given], name: str, *, base: bool = False) -> Result:
    return result_of(Answers(answers), "ceval", name="choice", model=name, base=base, step=None, settings={})


def test_accuracy_by_subject_category_and_over_both():
    answers = [given(-1.0, -2.0), given(-2.0, -1.0), given(-1.0, -2.0, subject="logic"),
               given(-1.0, -2.0, answer="", subject="logic")]  # fmt: skip
    found = result(answers, "m")
    assert {name: (each["accuracy"].value, each["accuracy"].count) for name, each in found.groups.items()} == {
        "law": (0.5, 2), "Humanities": (2 / 3, 3), "logic": (1.0, 1)
    }  # fmt: skip
    assert found.measures["accuracy"].value == pytest.approx(2 / 3)
    assert found.measures["accuracy_by_subject"].value == pytest.approx(0.75)
    assert len(found.rows) == 4 and found.rows[3]["right"] is None


def test_a_difference_is_over_the_same_questions_and_reads_the_same_in_every_file():
    base = result([given(-2.0, -1.0)] * 6 + [given(-1.0, -2.0)] * 4, "base", base=True)
    model = result([given(-1.0, -2.0)] * 8 + [given(-2.0, -1.0)] * 2, "model")
    apart = group_differences(model, base)[ALL]["accuracy"]
    assert apart.value == pytest.approx(0.4) and apart.count == 10
    held = document([base, model], {"model": group_differences(model, base)})
    assert json.loads(json.dumps(held, allow_nan=False)) == held
    line = next(each for each in as_csv(held).splitlines() if each.startswith("model,False,,choice,all,accuracy,"))
    assert float(line.split(",")[-4]) == pytest.approx(0.4)
    assert Result.of_json(held["results"][1]) == model


def test_known_subjects_have_titles_and_categories():
    assert (
        title_of("ceval", "law", "zh") == "法学" and title_of("mmlu", "us_foreign_policy", "en") == "us foreign policy"
    )
    assert categories_of("ceval", "college_physics") == ["STEM", "Hard"]
    assert categories_of("cmmlu", "chinese_history") == ["Humanities", "China specific"]
    assert categories_of("ceval", "unheard_of") == []


def test_a_question_among_the_examples_is_not_given_away_by_them(tmp_path: Path):
    rows = inside_rows(6)
    write_lines(tmp_path / "dev" / "own.jsonl", rows[:4])
    write_lines(tmp_path / "test" / "own.jsonl", rows[2:])
    (paper,), notes = papers(read_exam(tmp_path), n_shot=2)
    assert [shot.text for shot in paper.shots] == [row["question"] for row in rows[:2]]
    assert len(paper.questions) == 4 and any("2 rows of dev in test too, word for word" in note for note in notes)


def test_examples_of_one_file_do_not_take_questions_of_another_and_some_must_be_left(tmp_path: Path):
    rows = inside_rows(8)
    for at, half in enumerate((rows[:4], rows[4:])):
        write_lines(tmp_path / f"{at}.jsonl", [{**row, "subject": "one"} for row in half])
    (paper,), notes = papers(read_exam(tmp_path), n_shot=3, shots_from="test")
    assert len(paper.questions) == 5 and "one: 3 questions of test are examples, and not measured" in notes
    assert not {question.text for question in paper.questions} & {shot.text for shot in paper.shots}
    with pytest.raises(ArgumentError, match="must have questions besides its examples"):
        papers(read_exam(tmp_path), n_shot=8, shots_from="test")


def test_tokens_that_begin_a_document_stay_and_tokens_that_end_one_are_left_out(tokenizer: LightTokenizer):
    fast = tokenizers.Tokenizer.from_str(tokenizer.fast.to_str())
    ends = (tokenizer.eos_token, tokenizer.eos_id)
    fast.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{ends[0]} $A {ends[0]}", pair=f"{ends[0]} $A {ends[0]} $B {ends[0]}", special_tokens=[ends]
    )
    marked = replace(tokenizer, fast=fast)
    question = Question("Which city is on the river? " * 9, ("x", "y"), ("A", "B"), "A", "0", 1)
    paper = Paper("law", "law", "en", "val", (question,), (), "")
    plain, whole = (Encoder(each, None, 0).ask(paper, question) for each in (tokenizer, marked))
    assert whole.context == (tokenizer.eos_id, *plain.context) and whole.options == plain.options
    room = len(whole.context) - 10
    cut = Encoder(marked, None, room).ask(paper, question)
    assert len(cut.context) + max(map(len, cut.options)) - 1 == room
    assert cut.cut in (10, 11) and cut.context == (tokenizer.eos_id, *plain.context[cut.cut :])


def test_rows_that_break_readers_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    good = {"question": "a\u2028b\x85c", "A": "1", "B": "2", "answer": "A"}
    one = tmp_path / "one.jsonl"
    one.write_text(json.dumps(good, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_exam(one).subjects[0].splits["test"][0].text == good["question"]
    bad = {
        "deep.jsonl": ('{"question":' + "[" * 100_000, "must be a JSON object"),
        "half.jsonl": (json.dumps({**good, "question": "a \ud800"}), "half of a surrogate pair"),
        "index.jsonl": (json.dumps({**good, "answer": 0}), "must be one of A, B; it is '0'"),
        "wide.csv": (",".join(["q", *"abcdefghijk", "A"]), "4 to 10 options and a letter; it has 13 columns"),
    }
    for name, (text, told) in bad.items():
        (tmp_path / name).write_text(text + "\n", encoding="utf-8")
        with pytest.raises(DatasetError, match=re.escape(told)):
            read_exam(tmp_path / name)
    monkeypatch.setattr(choice_rows, "MOST_BYTES", 10)
    with pytest.raises(DatasetError, match="must have at most"):
        read_exam(one)
