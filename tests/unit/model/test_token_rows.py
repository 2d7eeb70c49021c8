"""Rows of the embeddings that learn alone: which they are, and that no other moves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2ForSequenceClassification

from studio.arguments.method import MethodArguments
from studio.errors import ArgumentError, ModelError
from studio.estimate import trainable
from studio.model.adapt import adapt, told, trainable_weights
from studio.model.token_rows import added_tokens, ids_of, learning_rows, ranges_told
from studio.model.weights import tensors
from tests.unit.model.tiny import IDS_BT, qwen

# Two of them stand in IDS_BT, the others nowhere.
ASKED = ("60-62", "7")


def extended(folder: Path, added: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "vocabulary.json").write_text(json.dumps({"base": "b", "added": added}))
    return folder


def test_ids_may_come_as_numbers_words_and_ranges():
    for value in ([7, "9-11"], "7,9-11", ("7", "9-11")):
        assert MethodArguments(trainable_token_indices=value).trainable_token_indices == ("7", "9-11")
    assert MethodArguments(trainable_token_indices=7).trainable_token_indices == ("7",)


@pytest.mark.parametrize("word", ["-1", "7-", "1-2-3", "０", "1e3", "9-7", "new2", "1234567890"])
def test_what_is_no_id_is_refused(word: str):
    with pytest.raises(ValueError, match=word):
        MethodArguments(trainable_token_indices=[word])


def test_new_is_what_the_extension_added(tmp_path: Path):
    folder = extended(tmp_path, [[64, 70], [72, 73]])
    assert added_tokens(folder) == [range(64, 70), range(72, 73)]
    assert learning_rows(("new", "7"), folder, 73) == ("7", "64-69", "72")
    assert ids_of(learning_rows(("new", "68-70"), folder, 73)) == [*range(64, 71), 72]
    assert added_tokens(extended(tmp_path, [64, 70])) == [range(64, 70)]


def test_ranges_are_told_as_they_are_read():
    assert ranges_told([9, 3, 4, 5, 9]) == ("3-5", "9")
    assert ranges_told([]) == ()


@pytest.mark.parametrize("added", [None, []])
def test_new_of_a_model_that_has_no_new_tokens_is_refused(tmp_path: Path, added: Any):
    folder = tmp_path if added is None else extended(tmp_path, added)
    with pytest.raises(ArgumentError, match="Extend it with studio tokenizer extend, or write the ids"):
        learning_rows(("new",), folder, 64)


@pytest.mark.parametrize("text", ["", "[]", '{"added": 3}', '{"added": [["a", 2]]}', "{"])
def test_a_damaged_file_is_told(tmp_path: Path, text: str):
    (tmp_path / "vocabulary.json").write_text(text)
    with pytest.raises(ModelError, match="must say which tokens were added"):
        learning_rows(("new",), tmp_path, 64)


def test_an_id_without_an_embedding_is_refused(tmp_path: Path):
    with pytest.raises(ArgumentError, match="60-64: every id must have an embedding; this model has 64, so the last"):
        learning_rows(("60-64",), tmp_path, 64)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_only_the_rows_that_are_asked_for_move_and_the_ends_stay_one(tmp_path: Path, tied: bool):
    folder = qwen(tmp_path / "base", tied=tied)
    method = MethodArguments(trainable_token_indices=ASKED, lora_rank=2)
    learner = adapt(AutoModelForCausalLM.from_pretrained(folder), method, ())
    ends = "embed_tokens" if tied else "embed_tokens and lm_head"
    assert f"4 rows of {ends}" in told(learner)
    assert trainable_weights(learner) == trainable(tensors(folder), method)
    weights = [weight for weight in learner.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-2, weight_decay=0.0)
    for _ in range(3):
        learner(input_ids=IDS_BT, labels=IDS_BT).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        beside = learner.eval()(IDS_BT).logits
        merged = learner.merge_and_unload()
        assert (merged(IDS_BT).logits - beside).abs().max() < 1e-5
    before = AutoModelForCausalLM.from_pretrained(folder)
    for end in ("get_input_embeddings", "get_output_embeddings"):
        moved = (getattr(merged, end)().weight != getattr(before, end)().weight).any(1).nonzero()[:, 0].tolist()
        # Every row of a head is pulled by the softmax; of embeddings only those that something was predicted from.
        assert moved == ([7] if end == "get_input_embeddings" and not tied else ids_of(ASKED))
    assert tied == torch.equal(merged.get_input_embeddings().weight, merged.get_output_embeddings().weight)


def test_rows_learn_under_a_score_head_too(tmp_path: Path):
    folder = qwen(tmp_path / "base")
    model = Qwen2ForSequenceClassification.from_pretrained(folder, num_labels=1, pad_token_id=0)
    learner = adapt(model, MethodArguments(trainable_token_indices=ASKED, lora_rank=2), (), head="score")
    learner(input_ids=IDS_BT).logits.sum().backward()
    (rows,) = [weight for name, weight in learner.named_parameters() if "trainable_tokens" in name]
    assert rows.grad is not None and rows.grad.abs().sum() > 0


def test_a_head_with_a_bias_is_refused_since_peft_would_drop_it(tmp_path: Path):
    model = AutoModelForCausalLM.from_pretrained(qwen(tmp_path / "base", tied=False))
    model.lm_head = torch.nn.Linear(32, 64, bias=True)
    with pytest.raises(ModelError, match="the head of this model adds a bias"):
        adapt(model, MethodArguments(trainable_token_indices=ASKED), ())


def test_the_head_goes_by_pieces_as_it_does_whole(tmp_path: Path):
    from studio.loop.head import gives_logits, passing, summed_loss

    learner = adapt(
        AutoModelForCausalLM.from_pretrained(qwen(tmp_path / "base")),
        MethodArguments(trainable_token_indices=ASKED, lora_rank=2), (),
    )  # fmt: skip
    assert gives_logits(learner)
    (rows,) = [weight for name, weight in learner.named_parameters() if "trainable_tokens" in name]
    targets = IDS_BT[:, 1:].reshape(-1)
    found = []
    for piece in (0, 3):
        head = learner.get_output_embeddings()
        if piece:
            with passing(head):
                states = learner(input_ids=IDS_BT).logits[:, :-1].reshape(len(targets), -1)
            loss = summed_loss(head, states, targets, piece=piece)
        else:
            logits = learner(input_ids=IDS_BT).logits[:, :-1].reshape(len(targets), -1)
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        (grad,) = torch.autograd.grad(loss, [rows])
        found.append((loss.item(), grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert (found[0][1] - found[1][1]).abs().max() < 1e-5
