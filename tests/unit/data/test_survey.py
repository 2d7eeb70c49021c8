"""What the rows of a dataset are like is told with the numbers of the rows, and in memory that stays small."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.data.catalog import read_catalog
from studio.data.example import Example
from studio.data.histogram import percentiles
from studio.data.languages import language_of
from studio.data.render import View
from studio.data.statistics import Question, as_text, statistics
from studio.data.survey import Survey
from studio.model.templates import choose_template
from studio.model.tokenizer import open_tokenizer
from studio.workspace import Workspace

TEXTS = {
    "zh": "一条河流过城市，河上的老桥有十二个桥拱。",
    "en": "A river runs through the town, and its old bridge has twelve arches.",
    "ja": "川が町を流れ、その古い橋には十二のアーチがあります。",
    "ko": "강이 도시를 가로질러 흐르고 오래된 다리에는 열두 개의 아치가 있다.",
    "ru": "Через город течёт река, и у её старого моста двенадцать арок.",
    "uk": "Через місто тече річка, і її старий міст має дванадцять арок.",
    "de": "Ein Fluss fließt durch die Stadt, und die alte Brücke hat zwölf Bögen.",
    "fr": "Une rivière traverse la ville, et le vieux pont a douze arches.",
    "es": "Un río pasa por la ciudad y el viejo puente tiene doce arcos.",
    "ar": "يمر نهر عبر المدينة وجسره القديم له اثنا عشر قوسًا.",
    "th": "แม่น้ำไหลผ่านเมืองและสะพานเก่ามีสิบสองโค้ง",
    "none": "12 34 + 56 = 90",
    "latin": "zxcv qwrt plmn",
}


@pytest.mark.parametrize("language", TEXTS)
def test_a_sentence_is_told_by_its_language(language: str):
    assert language_of(TEXTS[language]) == language


def test_a_chinese_answer_with_english_terms_is_chinese_and_an_english_one_with_a_name_is_english():
    assert language_of("请用 Python 的 pandas 库读取 data.csv 文件，然后画出折线图。") == "zh"
    assert language_of("The city of 北京 is the capital of China, and it has a long history of its own.") == "en"


def survey(examples: list[Example]) -> dict[str, Any]:
    made = Survey()
    for number, example in enumerate(examples, start=1):
        made.take(number, example, 30)
    return made.as_json()


def talk(question: str, answer: str, system: str = "") -> Example:
    first = ({"role": "system", "content": system},) if system else ()
    return Example((*first, {"role": "user", "content": question}, {"role": "assistant", "content": answer}))


def test_findings_name_their_rows():
    rows = [talk(TEXTS["zh"], "好。"), talk(TEXTS["en"], " \n"), talk(TEXTS["en"], "Yes, it is so.", "Be brief.")] * 2
    rows.append(Example(text=TEXTS["en"] * 50))
    found = survey(rows)
    assert [(each["language"], each["rows"], each["first"]) for each in found["languages"]] == [
        ("en", 5, [2, 3, 5, 6, 7]), ("zh", 2, [1, 4]),
    ]  # fmt: skip
    assert found["empty_answers"] == {"count": 2, "rows": [2, 5]}
    assert found["duplicates"] == {
        "rows": 3, "groups": 3,
        "listed": [{"count": 2, "rows": [1, 4]}, {"count": 2, "rows": [2, 5]}, {"count": 2, "rows": [3, 6]}],
    }  # fmt: skip
    assert found["longest_rows"][0] == {"row": 7, "characters": 50 * len(TEXTS["en"])}
    assert {each["role"]: each["messages"] for each in found["roles"]} == {"user": 6, "assistant": 6, "system": 2}
    assert found["turn_rows"] == {"2": [1, 2, 3, 4, 5, 6]}


@given(st.lists(st.sampled_from("abcdefgh"), max_size=60))
def test_duplicates_are_those_of_a_plain_count(letters: list[str]):
    found = survey([Example(text=letter) for letter in letters])["duplicates"]
    times = Counter(letters)
    assert found["rows"] == len(letters) - len(times)
    assert found["groups"] == sum(count > 1 for count in times.values())
    for each in found["listed"]:
        letter = letters[each["rows"][0] - 1]
        assert each["count"] == times[letter] > 1
        assert each["rows"] == [at for at, other in enumerate(letters, start=1) if other == letter][:10]


def test_a_pair_differs_from_another_by_its_rejected_side_and_a_row_by_its_label():
    prompt = ({"role": "user", "content": "Hello?"},)
    pairs = [Example(prompt, chosen=({"role": "assistant", "content": "Hi."},),
                     rejected=({"role": "assistant", "content": no},)) for no in ("No.", "Never.", "No.")]  # fmt: skip
    assert survey(pairs)["duplicates"]["listed"] == [{"count": 2, "rows": [1, 3]}]
    judged = [Example(prompt, label=label) for label in (True, False)]
    assert survey(judged)["duplicates"]["rows"] == 0


@given(st.dictionaries(st.integers(0, 5000), st.integers(1, 20), min_size=1, max_size=60))
def test_percentiles_are_those_of_numpy(counted: dict[int, int]):
    rows = [length for length, count in counted.items() for _ in range(count)]
    found = percentiles(counted)
    # Python rounds half to even in the rank; numpy's nearest does too.
    for percent in (1, 5, 25, 50, 75, 95, 99):
        assert found[f"p{percent}"] == np.sort(rows)[round((len(rows) - 1) * percent / 100)]
    assert (found["total"], found["shortest"], found["longest"]) == (sum(rows), min(rows), max(rows))
    assert found["mean"] == pytest.approx(np.mean(rows), abs=0.051)


def test_the_statistics_hold_all_of_it_and_say_it(workspace: Workspace, tiny_chat_model: Path):
    rows = [{"instruction": "What is it?", "output": "A bridge over the river."}] * 3
    rows += [{"instruction": f"这是第{number}个问题吗？", "output": "是的。"} for number in range(5)]
    (workspace.data / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    workspace.dataset_info.write_text(json.dumps({"mine": {"file_name": "mine.jsonl"}}))
    tokenizer = open_tokenizer(tiny_chat_model, workspace.cache)
    template = choose_template("", tokenizer, workspace)[0]
    found = statistics(Question(read_catalog(workspace)["mine"], View(), tokenizer, template), workspace)
    assert {each["language"]: each["rows"] for each in found["languages"]} == {"zh": 5, "en": 3}
    assert found["duplicates"] == {"rows": 2, "groups": 1, "listed": [{"count": 3, "rows": [1, 2, 3]}]}
    tokens = found["tokens"]
    assert tokens["longest_rows"][0]["tokens"] == tokens["longest"] == tokens["p99"]
    assert tokens["p1"] == tokens["shortest"] <= tokens["p25"] <= tokens["p75"]
    assert json.loads(json.dumps(found)) == found
    said = as_text(found)
    assert "zh 62.5%" in said and "2 rows (25.0%) are another row again" in said and "3 times: rows 1, 2, 3" in said


@pytest.mark.slow
def test_memory_is_few_bytes_a_row():
    """24 bytes a row are kept, and sorting them takes as much again."""
    made = Survey()
    tracemalloc.start()
    for number in range(1, 200_001):
        made.take(number, Example(text=f"Line {number % 150_000} of it."), 30)
    found = made.as_json()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["duplicates"]["rows"] == 50_000
    assert peak < 200_000 * 90
