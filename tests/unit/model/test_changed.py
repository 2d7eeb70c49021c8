"""What a run changes in its base: kept beside an adapter, put into a config, given to a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from studio.arguments.method import MethodArguments
from studio.arguments.model import LearnerArguments
from studio.errors import ModelError
from studio.model.changed import FILE, changed, changes_of, resize, vocabulary_for, with_new_rows, write_changes
from studio.model.load import load_model, read_config
from studio.model.weights import tensors
from tests.unit.model.tiny import gpt2, qwen


def test_changes_are_read_as_they_were_written_and_later_ones_win(tmp_path: Path) -> None:
    for name, rows in {"a": 64, "b": 128}.items():
        (tmp_path / name).mkdir()
        write_changes(tmp_path / name, {"vocab_size": rows, "max_position_embeddings": 32})
    (tmp_path / "plain").mkdir()
    assert changes_of([tmp_path / "a", tmp_path / "plain", tmp_path / "b"])["vocab_size"] == 128
    assert changes_of([tmp_path / "plain"]) == {}


@pytest.mark.parametrize(
    "held",
    [
        "", "[]", "[1]", "{}", "[" * 100_000, '{"vocab_size": "64"}', '{"vocab_size": 64, "auto_map": {}}',
        '{"vocab_size": true}', '{"vocab_size": -5}', '{"vocab_size": 1000000000000}',
        '{"max_position_embeddings": 0}', '{"rope_parameters": {}}', '{"rope_parameters": {"rope_type": "evil"}}',
        '{"rope_parameters": {"rope_type": ["yarn"]}}', '{"rope_parameters": {"rope_type": "yarn", "factor": "x"}}',
        '{"rope_parameters": {"rope_type": "yarn", "factor": 1e999}}',
        '{"rope_parameters": {"rope_type": "linear", "factor": {"auto_map": 1}}}',
    ],
    ids=lambda held: held[:60],
)  # fmt: skip
def test_a_damaged_file_is_a_sentence(tmp_path: Path, held: str) -> None:
    (tmp_path / FILE).write_text(held)
    with pytest.raises(ModelError, match="must say what became of the adapter's base"):
        changes_of([tmp_path])


def test_the_older_name_of_stretched_positions_gives_way() -> None:
    config = {"model_type": "llama", "rope_scaling": {"rope_type": "linear", "factor": 2}, "rope_theta": 5e5}
    rope = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 5e5}
    assert changed(config, {"rope_parameters": rope}) == {
        "model_type": "llama", "rope_theta": 5e5, "rope_parameters": rope
    }  # fmt: skip


def test_a_vocabulary_that_would_shrink_is_refused(tmp_path: Path) -> None:
    model = load_model(qwen(tmp_path), LearnerArguments(), torch.float32)
    with pytest.raises(ModelError, match="a vocabulary only grows"):
        resize(model, 8)


@pytest.mark.parametrize(("tied", "family"), [(True, qwen), (False, qwen), (True, gpt2)], ids=["tied", "apart", "gpt2"])
def test_new_rows_are_near_the_mean_differ_and_leave_the_old_ones(tmp_path: Path, tied: bool, family) -> None:
    folder = qwen(tmp_path, tied=tied) if family is qwen else gpt2(tmp_path)
    model = load_model(folder, LearnerArguments(), torch.float32)
    old_VE = model.get_input_embeddings().weight.detach().clone()
    torch.manual_seed(5)
    resize(model, 128)
    new_VE = model.get_input_embeddings().weight.detach()
    assert torch.equal(new_VE[:64], old_VE) and model.config.vocab_size == 128
    assert (new_VE[64:] - old_VE.mean(0)).abs().max() < 0.1 * old_VE.std() + 0.01
    assert len({tuple(row.tolist()) for row in new_VE}) == 128
    head = model.get_output_embeddings().weight
    assert (head is model.get_input_embeddings().weight) == tied and head.shape[0] == 128
    torch.manual_seed(5)
    again = load_model(folder, LearnerArguments(), torch.float32, changes={"vocab_size": 128})
    assert again.get_input_embeddings().weight.shape == new_VE.shape


def test_the_ends_of_the_model_learn_with_new_rows(tmp_path: Path) -> None:
    for tied, ends in ((True, ("embed_tokens",)), (False, ("embed_tokens", "lm_head"))):
        folder = qwen(tmp_path / str(tied), tied=tied)
        held, config = tensors(folder), read_config(folder)
        lora = with_new_rows(MethodArguments(additional_target=["norm"]), held, config)
        assert set(lora.additional_target) == {"norm", *ends}
        freeze = with_new_rows(MethodArguments(finetuning_type="freeze"), held, config)
        assert set(freeze.freeze_extra_modules) == set(ends)
        full = MethodArguments(finetuning_type="full")
        assert with_new_rows(full, held, config) == full


def test_a_vocabulary_grows_to_a_multiple() -> None:
    assert [vocabulary_for(tokens) for tokens in (1, 64, 65)] == [64, 64, 128]


def test_a_config_with_the_changes_is_what_a_saved_model_has(tmp_path: Path) -> None:
    from studio.model.positions import stretched

    folder = qwen(tmp_path / "base")
    changes, _ = stretched(LearnerArguments(rope_scaling="yarn"), folder, read_config(folder), 40_000)
    load_model(folder, LearnerArguments(), torch.float32, changes=changes).save_pretrained(tmp_path / "whole")
    saved, told = json.loads((tmp_path / "whole/config.json").read_text()), changed(read_config(folder), changes)
    assert {name: saved[name] for name in changes} == {name: told[name] for name in changes}
