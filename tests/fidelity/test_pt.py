"""Pretraining learns every token of every text as a plain loop over the texts does."""

from __future__ import annotations

from typing import Any

import pytest

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

LOOP = "plain torch, a text at a time"
OWN = {"stage": "pt", "dataset": "tiny_pt"}


@pytest.fixture(scope="module")
def rows(place: Workspace, command: Any) -> Rows:
    found = previewed(place, command, "tiny_pt", "--stage", "pt")
    assert len(found) == 60 and all(all(row["loss_mask"][1:]) for row in found)
    return found


def test_packed_texts_give_the_loss_and_the_gradients_of_texts_alone(
    place: Workspace, train: Any, look: Any, rows: Rows, record: Any
):
    done = train(place, "saves/packed", **{**OWN, **DESCENT, "cutoff_len": 256, "per_device_train_batch_size": 60})
    assert done.code == 0, done.err
    run = look(place.path("saves/packed"))
    first = run.json("first_batch.json")["rows"]
    assert len(first) == 60
    assert [row["input_ids"] for row in first] != [row["input_ids"] for row in rows], "packs mix the texts"
    model = fresh(place)
    before = {name: weight.clone() for name, weight in state(model).items()}
    loss = loss_of(model, rows)
    loss.backward()
    names = dict(model.named_parameters())
    moved = {name: weight - names[name].grad for name, weight in before.items() if name in names}
    record("pt", "loss of 60 texts in packs", LOOP, abs(run.curve[0][1] - loss.item()), 1e-5)
    record("pt", "first gradients of 60 texts in packs", LOOP, furthest(saved(run), moved), 1e-6)


def test_training_follows_a_plain_loop(place: Workspace, train: Any, look: Any, rows: Rows, record: Any):
    done = train(place, "saves/plain", **{**OWN, **PLAIN, "packing": "False", "max_steps": 8})
    assert done.code == 0, done.err
    model = fresh(place)
    expected = learn(model, rows, size=4, steps=8, rate=1e-3)
    run = look(place.path("saves/plain"))
    record("pt", "loss of each of 8 steps, full", LOOP, apart(losses(run), expected), 1e-5)
    record("pt", "weights after 8 steps, full", LOOP, furthest(saved(run), state(model)), 1e-5)
