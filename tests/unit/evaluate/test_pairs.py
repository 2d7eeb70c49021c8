"""Pairs under a policy: log-probabilities of the answers alone, against a plain pass; ties count as wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.data.example import Example
from studio.errors import ArgumentError, RowError
from studio.evaluate.intervals import share
from studio.evaluate.kept import group_differences
from studio.evaluate.methods import chosen as asked_of
from studio.evaluate.methods import ready
from studio.evaluate.opening import Subject
from studio.evaluate.pair_rows import Pair
from studio.evaluate.pairs import implicit, likelihoods, pairs_found, sides_of
from studio.model.generate import Speaker, open_speaker
from studio.workspace import Workspace
from tests.conftest import json_lines

ASKED = {"role": "user", "content": "What is the secret code of paris?"}


def pair(source: str, chosen: str, rejected: str) -> Pair:
    sides = [({"role": "assistant", "content": text},) for text in (chosen, rejected)]
    return Pair(source, "f", 1, Example((ASKED,), chosen=sides[0], rejected=sides[1]))


PAIRS = [pair("one", "It is SIRAP.", "I do not know."), pair("two", "SIRAP", "A river runs through it, they say.")]


@pytest.fixture(scope="module")
def speaker(tiny_chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Speaker:
    return open_speaker(tiny_chat_model, cache=tmp_path_factory.mktemp("cache"), dtype="float32")


def plain(speaker: Speaker, answer: str) -> float:
    """log p of an answer and its end behind the prompt, from one pass of the model."""
    head = f"<|im_start|>user\n{ASKED['content']}<|im_end|>\n<|im_start|>assistant\n"
    encode = speaker.tokenizer.fast.encode
    first = len(encode(head, add_special_tokens=False).ids)
    ids = encode(f"{head}{answer}<|im_end|>", add_special_tokens=False).ids
    with torch.no_grad():
        logits: Any = speaker.model(input_ids=torch.tensor([ids])).logits[0].double()
    logps = logits.log_softmax(-1)
    return float(sum(logps[at - 1, ids[at]] for at in range(first, len(ids))))


def test_an_answer_is_worth_its_log_probability_behind_the_prompt(speaker: Speaker) -> None:
    sides = sides_of(PAIRS, speaker.tokenizer, speaker.template, 512)
    found = likelihoods(speaker, sides, batch_size=3)
    for each, (chosen, rejected) in zip(PAIRS, found, strict=True):
        assert chosen == pytest.approx(plain(speaker, each.example.chosen[0]["content"]), rel=1e-5)
        assert rejected == pytest.approx(plain(speaker, each.example.rejected[0]["content"]), rel=1e-5)


def test_a_policy_rewards_what_it_finds_likelier_than_its_base() -> None:
    assert implicit([(-1.0, -5.0)], [(-2.0, -3.0)]) == [(1.0, -2.0)]


def test_accuracy_and_margin_by_source_with_ties_wrong(speaker: Speaker) -> None:
    sides = sides_of(PAIRS, speaker.tokenizer, speaker.template, 512)
    found = pairs_found(PAIRS, sides, {"": [(2.0, 1.0), (3.0, 3.0)]})
    measures = found.measures()
    assert measures["accuracy"] == share(1, 2)
    assert measures["margin"].value == 0.5
    assert found.groups()["two"]["accuracy"].value == 0
    assert found.ties == 1
    assert [row["right"] for row in found.shown()] == [True, False]


def test_a_pair_whose_answers_are_cut_off_is_told(speaker: Speaker) -> None:
    with pytest.raises(RowError, match="f: row 1: its answers begin behind cutoff_len, 8 tokens"):
        sides_of(PAIRS[:1], speaker.tokenizer, speaker.template, 8)


def test_a_model_in_memory_compares_the_same_pairs_each_time(speaker: Speaker, tmp_path: Path) -> None:
    rows = [{"prompt": ASKED["content"], "chosen": "SIRAP", "rejected": "A river, they say."}] * 3
    file = tmp_path / "mine.jsonl"
    file.write_text(json_lines(rows))
    place = Workspace(tmp_path)
    asked = {"method": "pairs", "test_reward_model_acc_files": {"mine": "mine.jsonl"}}
    (one,), told = asked_of({"liked": asked}, 2)
    assert told == []
    measurer = ready(one, place, speaker.template)
    file.unlink()  # it is read once for the run
    found = [measurer(speaker, Subject(name, tmp_path, base=name == "start"), "liked") for name in ("start", "end")]
    assert found[0].name == "liked" and set(found[0].measures) == {"likelihood_accuracy", "likelihood_margin"}
    expected = plain(speaker, "SIRAP") - plain(speaker, "A river, they say.")
    assert found[0].measures["likelihood_margin"].value == pytest.approx(expected, rel=1e-4)
    assert group_differences(found[1], found[0])["all"]["likelihood_margin"].value == 0


@pytest.mark.parametrize(
    ("more", "sentence"),
    [({"pairs_by": "score"}, "a model that learns to write gives no scores"), ({}, "pairs need a chat template")],
)
def test_pairs_that_cannot_be_compared_in_a_run_are_told(tmp_path: Path, more: dict[str, str], sentence: str) -> None:
    (one,), _ = asked_of({"pairs": {"test_reward_model_acc_files": {"mine": "mine.jsonl"}, **more}}, 2)
    with pytest.raises(ArgumentError, match=re.escape("--eval_methods pairs: ") + f".*{sentence}"):
        ready(one, Workspace(tmp_path), None)
