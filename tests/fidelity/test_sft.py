"""Supervised tuning gives the numbers of a plain loop over the same rows."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import transformers

from studio.workspace import Workspace
from tests.fidelity.plain import (
    DESCENT,
    PLAIN,
    Rows,
    apart,
    fresh,
    furthest,
    learn,
    loss_of,
    losses,
    previewed,
    saved,
    state,
)

LOOP = "plain torch, a row at a time"


@pytest.fixture(scope="module")
def rows(place: Workspace, command: Any) -> Rows:
    return previewed(place, command, "tiny_sft")


def test_full_training_follows_a_plain_loop(place: Workspace, train: Any, look: Any, rows: Rows, record: Any):
    done = train(place, "saves/full", max_steps=14, **PLAIN)
    assert done.code == 0, done.err
    model = fresh(place)
    expected = learn(model, rows, size=4, steps=14, rate=1e-3)
    run = look(place.path("saves/full"))
    record("sft", "loss of each of 14 steps, full", LOOP, apart(losses(run), expected), 1e-5)
    record("sft", "weights after 14 steps, full", LOOP, furthest(saved(run), state(model)), 1e-5)


def test_lora_training_follows_a_plain_loop(place: Workspace, train: Any, look: Any, rows: Rows, record: Any):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    settings = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"])
    model = get_peft_model(fresh(place), settings)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    model.save_pretrained(place.path("saves/adapter"))
    values = {**PLAIN, "finetuning_type": "lora", "adapter_name_or_path": "saves/adapter"}
    done = train(place, "saves/lora", learning_rate=1e-2, max_steps=8, **values)
    assert done.code == 0, done.err
    expected = learn(model.train(), rows, size=4, steps=8, rate=1e-2)
    run = look(place.path("saves/lora"))
    record("sft", "loss of each of 8 steps, LoRA", f"{LOOP}, peft", apart(losses(run), expected), 1e-5)


def test_label_smoothing_is_that_of_torch(place: Workspace, train: Any, look: Any, rows: Rows, record: Any):
    done = train(place, "saves/smooth", max_steps=4, label_smoothing_factor=0.2, **PLAIN)
    assert done.code == 0, done.err
    expected = learn(fresh(place), rows, size=4, steps=4, rate=1e-3, smoothing=0.2)
    run = look(place.path("saves/smooth"))
    record("sft", "loss of each of 4 steps with label smoothing 0.2", LOOP, apart(losses(run), expected), 1e-5)


def test_packed_rows_give_the_loss_and_the_gradients_of_rows_alone(
    place: Workspace, train: Any, look: Any, rows: Rows, record: Any
):
    values = {**DESCENT, "cutoff_len": 256, "per_device_train_batch_size": 40}
    assert train(place, "saves/unpacked", **values).code == 0
    done = train(place, "saves/packed", packing="True", **values)
    assert done.code == 0, done.err
    unpacked, packed = look(place.path("saves/unpacked")), look(place.path("saves/packed"))
    first = packed.json("first_batch.json")["rows"]
    assert len(first) == 40
    assert [row["input_ids"] for row in first] != [row["input_ids"] for row in rows], "packs mix the rows"
    model = fresh(place)
    before = {name: weight.clone() for name, weight in state(model).items()}
    loss = loss_of(model, rows)
    loss.backward()
    names = dict(model.named_parameters())
    moved = {name: weight - names[name].grad for name, weight in before.items() if name in names}
    assert max(float(names[name].grad.abs().max()) for name in moved) > 1e-3, "there must be something to compare"
    for name, run in (("documents end to end", unpacked), ("packs", packed)):
        record("sft", f"loss of 40 rows as {name}", LOOP, abs(run.curve[0][1] - loss.item()), 1e-5)
        record("sft", f"first gradients of 40 rows as {name}", LOOP, furthest(saved(run), moved), 1e-6)


def test_a_model_that_cannot_keep_documents_apart_gets_padded_rows_with_the_same_loss(
    place: Workspace, train: Any, look: Any, rows: Rows, record: Any
):
    torch.manual_seed(0)
    size = json.loads(place.path("models/tiny-chat/config.json").read_text())["vocab_size"]
    model = transformers.BloomForCausalLM(
        transformers.BloomConfig(vocab_size=size, hidden_size=32, n_layer=2, n_head=4)
    )
    folder = place.path("models/bloom")
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((place.path("models/tiny-chat") / name).read_bytes())
    values = {**PLAIN, "model_name_or_path": "models/bloom", "max_steps": 5, "val_size": 0}
    done = train(place, "saves/bloom", **values)
    assert done.code == 0, done.err
    assert "attention: padded" in done.err
    expected = learn(model.train(), rows, size=4, steps=5, rate=1e-3)
    run = look(place.path("saves/bloom"))
    record("sft", "loss of each of 5 steps, Bloom, rows padded", LOOP, apart(losses(run), expected), 1e-5)
    values.pop("train_sampling_strategy")
    done = train(place, "saves/bloom_packed", packing="True", **values)
    assert done.code == 10 and "--packing True" in done.err
