"""How far positions are stretched, by which numbers, and for which models not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from studio.arguments.model import LearnerArguments
from studio.errors import ModelError
from studio.model.changed import changed
from studio.model.load import load_model, read_config
from studio.model.positions import stretched
from studio.model.prompting import context_of
from tests.unit.model.tiny import gpt2, qwen


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A model of 32 positions, its config in the older form."""
    folder = qwen(tmp_path / "short")
    config = json.loads((folder / "config.json").read_text())
    theta = config.pop("rope_parameters")["rope_theta"]
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 32, "rope_theta": theta}))
    return folder


def longer(folder: Path, longest: int, **asked: object) -> tuple[dict, str]:
    return stretched(LearnerArguments(**{"rope_scaling": "yarn", **asked}), folder, read_config(folder), longest)


@pytest.mark.parametrize(("longest", "factor"), [(16, 2.0), (64, 2.0), (65, 3.0), (320, 10.0)])
def test_the_factor_is_what_the_rows_need_and_at_least_two(short: Path, longest: int, factor: float) -> None:
    changes, told = longer(short, longest)
    assert changes["rope_parameters"]["factor"] == factor
    assert changes["max_position_embeddings"] == 32 * factor
    assert changes["rope_parameters"]["original_max_position_embeddings"] == 32
    assert told == f"rope_scaling: yarn by {factor:g}, from 32 to {32 * factor:,.0f} positions"


def test_a_factor_that_is_given_is_taken(short: Path) -> None:
    assert longer(short, 320, rope_factor=2.5)[0]["max_position_embeddings"] == 80


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn", "llama3"])
def test_the_model_computes_as_one_that_was_saved_so(short: Path, kind: str) -> None:
    changes, _ = longer(short, 64, rope_scaling=kind)
    model = load_model(short, LearnerArguments(), torch.float32, changes=changes)
    assert model.model.rotary_emb.rope_type == kind
    ids_BT = torch.arange(60)[None] % 64
    with torch.no_grad():
        moved = (model(ids_BT).logits - load_model(short, LearnerArguments(), torch.float32)(ids_BT).logits).abs().max()
    assert moved > 1e-4
    config = changed(read_config(short), changes)
    assert context_of(config) == 64
    (short / "config.json").write_text(json.dumps(config))
    again = load_model(short, LearnerArguments(), torch.float32)
    with torch.no_grad():
        assert torch.equal(again(ids_BT).logits, model(ids_BT).logits)


def test_stretching_again_as_it_is_changes_nothing_and_otherwise_is_refused(short: Path) -> None:
    changes, _ = longer(short, 64)
    (short / "config.json").write_text(json.dumps(changed(read_config(short), changes)))
    assert longer(short, 64)[0] == {}
    with pytest.raises(ModelError, match="stretched by yarn already, to 64"):
        longer(short, 64, rope_scaling="linear")
    with pytest.raises(ModelError, match="stretched by yarn already"):
        longer(short, 128)


def test_a_model_without_rotary_positions_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="must have one set of rotary positions"):
        longer(gpt2(tmp_path), 64)
