"""`studio eval choice`, and the same while training: from a command to numbers, files and pictures."""

from __future__ import annotations

import csv
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from studio.workspace import Workspace
from tests.exams import inside_rows, write_ceval, write_lines, write_mmlu

CEVAL = {"law": {"dev": 5, "val": 12, "test": 6}, "logic": {"dev": 5, "val": 8, "test": 4}}
METHODS = json.dumps({"ceval": {"method": "choice", "task_dir": "data/ceval", "n_shot": 2, "max_samples": 6}})
KILL = int(signal.SIGKILL)


@pytest.fixture(scope="module", autouse=True)
def _exams(place: Workspace) -> None:
    write_ceval(place.data / "ceval", CEVAL, answers=False)
    write_mmlu(place.data / "mmlu", {"anatomy": {"dev": 5, "test": 9}})
    write_lines(place.data / "rows.jsonl", inside_rows(9))


@pytest.fixture(scope="module")
def asking(place: Workspace, command: Any) -> Any:
    """`asking("models/tiny", task_dir=…)`: the command with --json; its result and what it said."""

    def run(model: str, **values: Any) -> Any:
        words = [f"--{name}={value}" for name, value in {"model_name_or_path": model, **values}.items()]
        return command(place, "eval", "choice", *words, "--json")

    return run


@pytest.fixture(scope="module")
def measured(place: Workspace, train: Any, look: Any) -> Any:
    """A run that is measured while it learns."""
    done = train(place, "saves/measured", lora_rank=4, eval_strategy="steps", eval_steps=2, eval_methods=METHODS,
                 img_log_dir="pictures", report_to="tensorboard", learning_rate="5e-2")  # fmt: skip
    assert done.code == 0, done.err
    return look(place.path("saves/measured"))


def test_a_model_is_measured_by_subject_and_category(place: Workspace, asking: Any):
    done = asking("models/tiny", task_dir="data/ceval")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["layout"], found["categories"]) == ("ceval", {"Humanities": ["law", "logic"]})
    assert [(each["name"], each["split"], each["shots_from"]) for each in found["subjects"]] == [
        ("law", "val", "dev"), ("logic", "val", "dev")
    ]  # fmt: skip
    (result,) = found["results"]
    assert {name: each["accuracy"]["count"] for name, each in result["groups"].items()} == {
        "law": 12, "Humanities": 20, "logic": 8
    }  # fmt: skip
    overall = result["measures"]["accuracy"]
    assert overall["count"] == 20 and overall["low"] < overall["value"] < overall["high"]
    assert sum(row["right"] for row in result["rows"]) == round(overall["value"] * 20)
    assert json.loads(place.path(found["kept"]).read_text())["results"][0]["values"]["accuracy"]
    assert "law: examples are rows 1, 2, 3, 4, 5 of dev" in done.err
    assert "measured alone: nothing here says what it came from" in done.err
    assert any("measured alone" in note for note in found["notes"]), "the page shows it beside the numbers"


def test_a_run_is_held_against_its_base(place: Workspace, asking: Any, measured: Any):
    done = asking("saves/measured", task_dir="data/mmlu", checkpoints="2,4", export="out/a.csv,out/a.json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [(each["model"], each["base"], each["step"]) for each in found["results"]] == [
        ("models/tiny-chat", True, None), ("saves/measured/checkpoint-2", False, 2),
        ("saves/measured/checkpoint-4", False, 4), ("saves/measured", False, 6),
    ]  # fmt: skip
    values = {each["model"]: each["measures"]["accuracy"]["value"] for each in found["results"]}
    for model, apart in found["differences"].items():
        difference = apart["all"]["accuracy"]
        assert difference["value"] == pytest.approx(values[model] - values["models/tiny-chat"])
        assert difference["low"] <= difference["value"] <= difference["high"]
    assert found["kept"].startswith("saves/measured/eval/") and len(found["differences"]) == 3
    with place.path("out/a.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len({line["model"] for line in lines}) == 4
    assert {line["group"] for line in lines} == {"all", "anatomy", "Other"}
    assert json.loads(place.path("out/a.json").read_text())["differences"] == found["differences"]
    again = asking("saves/measured", task_dir="data/mmlu", export="out/a.csv")
    assert again.code == 10 and "exists already" in again.err


def test_questions_without_answers_make_an_answer_file(place: Workspace, asking: Any):
    found = json.loads(asking("models/tiny", task_dir="data/ceval", split="test").out)
    (result,) = found["results"]
    assert result["measures"] == {} == result["groups"]
    letters = json.loads(place.path(found["answers"]["models/tiny"]).read_text())
    assert {name: list(each) for name, each in letters.items()} == {
        "law": ["0", "1", "2", "3", "4", "5"], "logic": ["0", "1", "2", "3"]
    }  # fmt: skip
    assert all(letter in "ABCD" for each in letters.values() for letter in each.values())


def test_the_same_numbers_with_and_without_the_prefix_cache_and_in_any_batch(asking: Any):
    rows = []
    for cache, size in (("True", 8), ("False", 8), ("True", 1)):
        done = asking("models/tiny", task_dir="data/ceval", prefix_cache=cache, per_device_eval_batch_size=size)
        rows.append(json.loads(done.out)["results"][0]["rows"])
    for others in rows[1:]:
        assert [row["pick"] for row in others] == [row["pick"] for row in rows[0]]
        for row, other in zip(rows[0], others, strict=True):
            assert row["logps"] == pytest.approx(other["logps"], abs=1e-5)


def test_rows_with_options_inside_and_a_chat_template(asking: Any):
    done = asking("models/tiny-chat", task_dir="data/rows.jsonl", apply_chat_template="True")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["layout"] == "rows" and found["subjects"][0]["shots"] == []
    assert found["results"][0]["settings"]["prompt"].startswith("one turn of the template")


def test_prompts_that_do_not_fit_lose_examples_and_that_is_told(asking: Any):
    whole = json.loads(asking("models/tiny", task_dir="data/ceval", subjects="law").out)["results"][0]["rows"]
    done = asking("models/tiny", task_dir="data/ceval", subjects="law", max_prompt_len=300)
    rows = json.loads(done.out)["results"][0]["rows"]
    assert all(row["shots"] == 5 and row["cut"] == 0 for row in whole)
    assert all(row["shots"] < 5 for row in rows)
    assert re.search(r"12 prompts too long for the model: \d+ examples dropped from the front", done.err)


def test_numbers_of_a_run_come_while_it_learns(place: Workspace, measured: Any):
    points = [point for point in measured.points if "eval_ceval_accuracy" in point]
    assert [point["step"] for point in points] == [0, 2, 4, 6]
    assert len({point["eval_ceval_probability"] for point in points}) > 1
    files = sorted(measured.folder.glob("eval/*-ceval*.json"))
    held = [json.loads(path.read_text()) for path in files]
    by_step = {each["results"][-1]["step"]: each for each in held}
    assert sorted(by_step) == [0, 2, 4, 6]
    for point in points:
        last = by_step[point["step"]]["results"][-1]
        assert last["measures"]["accuracy"]["value"] == point["eval_ceval_accuracy"]
    assert by_step[0]["differences"] == {} and by_step[6]["results"][0]["base"]
    (apart,) = by_step[6]["differences"].values()
    assert apart["all"]["probability"]["value"] == pytest.approx(
        points[-1]["eval_ceval_probability"] - points[0]["eval_ceval_probability"]
    )
    for name in ("measured-evaluations.png", "measured-training_loss.png"):
        assert place.path(f"pictures/{name}").read_bytes().startswith(b"\x89PNG")
    with (measured.folder / "eval" / "evaluations.csv").open(newline="") as file:
        assert {line["step"] for line in csv.DictReader(file)} == {"0", "2", "4", "6"}
    assert measured.json("run.json")["results"]["eval_ceval_accuracy"] == points[-1]["eval_ceval_accuracy"]
    assert list((measured.folder / "tensorboard").rglob("*tfevents*"))


def test_the_last_numbers_are_those_of_the_finished_model(measured: Any, asking: Any):
    done = asking("saves/measured", task_dir="data/ceval", n_shot=2, max_samples=6)
    value = json.loads(done.out)["results"][-1]["measures"]["probability"]["value"]
    assert value == pytest.approx(measured.json("run.json")["results"]["eval_ceval_probability"], abs=1e-6)


def test_measuring_changes_nothing_of_what_is_learned(place: Workspace, train: Any, look: Any, measured: Any):
    assert train(place, "saves/alone", lora_rank=4, learning_rate="5e-2").code == 0
    assert look(place.path("saves/alone")).weights() == measured.weights()


def test_a_killed_run_goes_on_with_the_same_numbers(place: Workspace, train: Any, look: Any, measured: Any):
    values = {"lora_rank": 4, "eval_strategy": "steps", "eval_steps": 2, "eval_methods": METHODS,
              "learning_rate": "5e-2"}  # fmt: skip
    assert train(place, "saves/killed", **values, at=("optimizer", 5, KILL)).code == -KILL
    assert train(place, "saves/killed", **values).code == 0
    killed = look(place.path("saves/killed"))
    wanted = [(p["step"], p["eval_ceval_probability"]) for p in measured.points if "eval_ceval_probability" in p]
    assert [(p["step"], p["eval_ceval_probability"]) for p in killed.points if "eval_ceval_probability" in p] == wanted
    assert killed.weights() == measured.weights()


PAIRS = [{"instruction": f"name the {word} city", "chosen": f"{word} it is", "rejected": "no"} for word in "abcdefgh"]
JUDGED = [{"instruction": row["instruction"], "output": row["chosen"], "kto_tag": True} for row in PAIRS]
ANSWERING = {"max_new_tokens": 4, "reward_function": "rewards.py:length"}
# Every stage that writes, every way of saying when, and several processes.
WAYS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "dpo": ({"stage": "dpo", "dataset": "", "train_file": "data/pairs.jsonl", "eval_strategy": "epoch",
             "max_steps": -1, "num_train_epochs": 2}, [0, 2, 4]),
    "kto": ({"stage": "kto", "dataset": "", "train_file": "data/judged.jsonl", "eval_strategy": "steps",
             "eval_steps": 2, "max_steps": 3}, [0, 2, 3]),
    "grpo": ({"stage": "grpo", "num_generations": 2, "max_steps": 2, **ANSWERING}, [0, 2]),
    "ppo": ({"stage": "ppo", "max_steps": 2, **ANSWERING}, [0, 2]),
    "two": ({"eval_strategy": "steps", "eval_steps": 2, "max_steps": 3, "per_device_train_batch_size": 2,
             "environment": {"NPROC_PER_NODE": "2"}}, [0, 2, 3]),
}  # fmt: skip


# As dpo and as ppo; several processes take long to start.
LIKE = ("kto", "grpo", "two")


@pytest.mark.parametrize("way", ["dpo", "ppo", *(pytest.param(way, marks=pytest.mark.slow) for way in LIKE)])
def test_every_stage_that_writes_is_measured_when_it_is_due(place: Workspace, train: Any, look: Any, way: str):
    write_lines(place.data / "pairs.jsonl", PAIRS)
    write_lines(place.data / "judged.jsonl", JUDGED)
    place.path("rewards.py").write_text("def length(sample):\n    return len(sample.answer) / 100\n")
    values, steps = WAYS[way]
    done = train(place, f"saves/way_{way}", lora_rank=4, eval_methods=METHODS, **values)
    assert done.code == 0, done.err
    run = look(place.path(f"saves/way_{way}"))
    told = [(point["step"], point["eval_ceval_accuracy"]) for point in run.points if "eval_ceval_accuracy" in point]
    assert [step for step, _ in told] == steps
    kept = [json.loads(path.read_text()) for path in sorted((run.folder / "eval").glob("*.json"))]
    assert {held["results"][-1]["step"]: held["results"][-1]["measures"]["accuracy"]["value"] for held in kept} == {
        step: pytest.approx(value) for step, value in told
    }


@pytest.mark.parametrize("stage", ["sft", pytest.param("grpo", marks=pytest.mark.slow)])
def test_the_curve_is_the_one_of_a_run_that_measures_nothing(place: Workspace, train: Any, look: Any, stage: str):
    place.path("rewards.py").write_text("def length(sample):\n    return len(sample.answer) / 100\n")
    values = {"stage": stage, "lora_rank": 4, "max_steps": 4, "logging_steps": 2}
    if stage == "grpo":
        values |= {"num_generations": 2, **ANSWERING}
    measured = train(place, f"saves/seen_{stage}", eval_methods=METHODS, eval_strategy="steps", eval_steps=1, **values)
    assert measured.code == 0, measured.err
    assert train(place, f"saves/unseen_{stage}", **values).code == 0
    run, alone = look(place.path(f"saves/seen_{stage}")), look(place.path(f"saves/unseen_{stage}"))
    assert run.weights() == alone.weights()
    learned = [{name: value for name, value in point.items() if not name.startswith("eval_")}
               for point in run.measured if point["loss"] is not None]  # fmt: skip
    assert learned == alone.measured
    assert ("reward" in learned[0]) == (stage == "grpo")


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        ('{"x": {"method": "choise", "task_dir": "data/ceval"}}', "must be one of .*; got 'choise'. Did you mean"),
        ('{"x": {"method": "choice"}}', "--eval_methods x: --task_dir must name a folder"),
        ('{"x": {"method": "choice", "task_dir": "data/none"}}', "--eval_methods x: --task_dir must be a folder or"),
        ('{"x": {"method": "choice", "task_dir": "data/ceval", "n_shots": 2}}', "--eval_methods x: .*n_shots"),
        ('{"X y": {"method": "choice"}}', "a name must be small letters"),
        ('{"x": "choice"}', "--eval_methods x: must be arguments of its method"),
    ],
)
def test_methods_that_cannot_be_are_told_before_a_weight_is_loaded(
    place: Workspace, train: Any, methods: str, sentence: str
):
    done = train(place, "saves/never", eval_methods=methods)
    assert done.code == 10 and re.search(sentence, done.err), done.err


def test_methods_and_a_stage_that_does_not_write(place: Workspace, train: Any):
    done = train(place, "saves/never", stage="rm", eval_methods=METHODS)
    assert done.code == 10 and "learns to give scores" in done.err


def bad(place: Workspace, name: str, text: str | bytes) -> str:
    """A file below data/ with this content."""
    path: Path = place.data / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return f"data/{name.split('/')[0]}"


HEAD = "id,question,A,B,C,D,answer\n"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("b1/val/x_val.csv", HEAD + "0,哪个,甲,乙,丙,丁,A\n", "examples|measured"),
        ("b2/val/x_val.csv", HEAD + "0,哪个,甲,乙,丙\n", r"x_val.csv: row 1: must have 7 columns .* it has 5"),
        (
            "b3/val/x_val.csv",
            HEAD + "0,哪个,甲,乙,丙,丁,E\n",
            r"row 1: column 'answer': must be one of A, B, C, D; it is 'E'",
        ),
        ("b4/val/x_val.csv", (HEAD + "0,哪个正确,甲,乙,丙,丁,A\n").encode("gb18030"), "GB18030|gb18030"),
        ("b5/readme.txt", "nothing", "must hold .csv or .jsonl files"),
        ("b6/x.csv", "alpha,beta\n1,2\n", "is not recognised: its first row must be a header"),
        ("b7/x.jsonl", '{"question": "Why?", "answer": "A"}\n', "must have options"),
        ("b8/x.jsonl", "{broken\n", "row 1: must be a JSON object"),
        ("b9/test/x_test.csv", "Which?,a,b,c,A\n", "must have a question, 4 to 10 options and a letter; it has 5"),
    ],
)
def test_what_is_wrong_with_questions_is_said(place: Workspace, asking: Any, name: str, text: Any, sentence: str):
    done = asking("models/tiny", task_dir=bad(place, name, text))
    assert (done.code == 10) is not name.startswith("b1/")
    assert re.search(sentence, done.err), done.err


def test_a_subject_without_examples(place: Workspace, asking: Any):
    write_ceval(place.data / "half", {"law": {"dev": 5, "val": 3}, "logic": {"val": 3}})
    done = asking("models/tiny", task_dir="data/half")
    assert done.code == 10
    assert "subject logic must have rows with answers in its dev split; it has no such rows" in done.err
    assert asking("models/tiny", task_dir="data/half", n_shot=0).code == 0
    shared = asking("models/tiny", task_dir="data/half", n_shot=1, shots_from="val")
    assert shared.code == 0 and "1 question of val are examples, and not measured" in shared.err
