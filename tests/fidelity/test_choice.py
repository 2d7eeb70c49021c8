"""The letters' log-probabilities are those of a whole forward pass a letter, on the prompts that the page describes."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from studio.workspace import Workspace
from tests.exams import LETTERS, write_ceval, write_mmlu

WITHIN = 1e-4
CASES = [
    ("zh", 0, 8, "True"),
    ("zh", 5, 1, "True"),
    ("zh", 5, 8, "True"),
    ("zh", 5, 3, "False"),
    ("en", 0, 3, "False"),
    ("en", 5, 8, "True"),
]
HEAD = {
    "zh": "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。\n\n",
    "en": "The following are multiple choice questions (with answers) about high school physics.\n\n",
}
CUE = {"zh": "答案：", "en": "Answer:"}


@pytest.fixture(scope="module", autouse=True)
def _exams(place: Workspace) -> None:
    """data/zh as C-Eval has it, data/en as MMLU has it, and models/sharp: a model that is not indifferent."""
    write_ceval(place.data / "zh", {"law": {"dev": 5, "val": 12}})
    write_mmlu(place.data / "en", {"high_school_physics": {"dev": 5, "test": 12}})
    torch.manual_seed(3)
    folder = place.models / "tiny-chat"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    for weight in model.parameters():
        weight.data += torch.randn_like(weight) * 0.3
    model.save_pretrained(place.models / "sharp")
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(place.models / "sharp")


def rows_of(path: Path, lang: str) -> list[dict[str, str]]:
    """The questions of a file, read anew."""
    with path.open(encoding="utf-8", newline="") as file:
        if lang == "zh":
            return list(csv.DictReader(file))
        return [dict(zip(["question", *LETTERS, "answer"], cells, strict=True)) for cells in csv.reader(file)]


def prompt(question: dict[str, str], shots: list[dict[str, str]], lang: str) -> str:
    """The prompt as docs/evaluation.md describes it."""

    def block(row: dict[str, str]) -> str:
        return "\n".join([row["question"], *(f"{letter}. {row[letter]}" for letter in LETTERS), CUE[lang]])

    space = "" if lang == "zh" else " "
    return HEAD[lang] + "".join(f"{block(row)}{space}{row['answer']}\n\n" for row in shots) + block(question)


def plain(model: Any, tokenizer: Any, text: str, lang: str) -> dict[str, float]:
    """Of each letter: the text with it, whole, in a pass of its own; the sum over the tokens that it adds."""
    before = tokenizer(text)["input_ids"]
    found = {}
    for letter in LETTERS:
        ids = tokenizer(text + ("" if lang == "zh" else " ") + letter)["input_ids"]
        assert ids[: len(before)] == before
        with torch.no_grad():
            logps = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)
        found[letter] = sum(float(logps[at - 1, ids[at]]) for at in range(len(before), len(ids)))
    return found


@pytest.mark.parametrize(("lang", "shots", "batch", "cache"), CASES)
def test_the_evaluator_gives_what_plain_torch_gives(
    place: Workspace, command: Any, record: Any, lang: str, shots: int, batch: int, cache: str
):
    words = ["--model_name_or_path", "models/sharp", "--task_dir", f"data/{lang}", "--n_shot", str(shots)]
    words += ["--per_device_eval_batch_size", str(batch), "--prefix_cache", cache, "--json"]
    done = command(place, "eval", "choice", *words)
    assert done.code == 0, done.err
    (result,) = json.loads(done.out)["results"]
    folder = place.data / lang
    measured = folder / ("val/law_val.csv" if lang == "zh" else "test/high_school_physics_test.csv")
    examples = folder / ("dev/law_dev.csv" if lang == "zh" else "dev/high_school_physics_dev.csv")
    solved = rows_of(examples, lang)[:shots]
    model = transformers.AutoModelForCausalLM.from_pretrained(place.models / "sharp").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place.models / "sharp")
    apart, picks, hits = 0.0, 0, 0
    questions = rows_of(measured, lang)
    assert len(questions) == len(result["rows"]) == 12
    for question, row in zip(questions, result["rows"], strict=True):
        expected = plain(model, tokenizer, prompt(question, solved, lang), lang)
        apart = max(apart, *(abs(row["logps"][letter] - value) for letter, value in expected.items()))
        likeliest = max(expected, key=expected.__getitem__)
        picks += row["pick"] != likeliest
        hits += likeliest == question["answer"]
    told = f"{shots} examples, batches of {batch}, {'with' if cache == 'True' else 'without'} the prefix cache"
    record("eval", f"log-probabilities of A to D, {lang}, {told}", "whole forward passes in plain torch", apart, WITHIN)
    assert picks == 0
    assert math.isclose(result["measures"]["accuracy"]["value"], hits / 12)
    # Otherwise a model that hardly looks at the question would pass with any prompt.
    seen = [row["logps"]["A"] for row in result["rows"]]
    assert max(seen) - min(seen) > 100 * WITHIN
