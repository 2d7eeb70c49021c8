"""A DeepSpeed file is read before anything starts: faults with their place, contradictions, what cannot be."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.errors import StudioError
from studio.estimate import divided, hold
from studio.loop.zero import Zero, not_as_said, old_locks, read_zero
from studio.model.hardware import Hardware
from studio.recipe import make_recipe
from studio.workspace import Workspace

CPU = Hardware("cpu", "a CPU", 1, True, 1 << 34, 1 << 33, 4)
GPU = Hardware("cuda", "a GPU", 2, True, 1 << 34, 1 << 33, 4)
EXAMPLES = Path(__file__).parents[3] / "examples" / "deepspeed"
# What the most used files of this kind say, with and without offloading.
USUAL = {
    "train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto", "zero_allow_untested_optimizer": True,
    "fp16": {"enabled": "auto", "loss_scale": 0, "loss_scale_window": 1000, "initial_scale_power": 16, "hysteresis": 2,
             "min_loss_scale": 1},
    "bf16": {"enabled": "auto"},
}  # fmt: skip
TWO = {"stage": 2, "allgather_partitions": True, "allgather_bucket_size": 5e8, "overlap_comm": False,
       "reduce_scatter": True, "reduce_bucket_size": 5e8, "contiguous_gradients": True,
       "round_robin_gradients": True}  # fmt: skip
THREE = {"stage": 3, "overlap_comm": False, "contiguous_gradients": True, "sub_group_size": 1e9,
         "reduce_bucket_size": "auto", "stage3_prefetch_bucket_size": "auto",
         "stage3_param_persistence_threshold": "auto", "stage3_max_live_parameters": 1e9,
         "stage3_max_reuse_distance": 1e9, "stage3_gather_16bit_weights_on_model_save": True}  # fmt: skip
OFF = {"device": "cpu", "pin_memory": True}


def recipe(**values: Any) -> Any:
    """A recipe that names a DeepSpeed file."""
    base = {"model_name_or_path": "m", "dataset": "d", "output_dir": "o", "deepspeed": "z.json"}
    return make_recipe(base | values)[0]


def told(zero: Zero, hardware: Hardware = GPU, *, rounded: bool = False, **values: Any) -> list[str]:
    """What forbids the run, the package being there."""
    return not_as_said(zero, recipe(**values), hardware, "bf16", 2, rounded=rounded)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that is found and never loaded, and a folder without old locks."""
    (tmp_path / "packages" / "deepspeed").mkdir(parents=True)
    (tmp_path / "packages" / "deepspeed" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    yield
    # Libraries that were loaded by tests before may look for it, and load it.
    sys.modules.pop("deepspeed", None)


def read(tmp_path: Path, text: str | bytes) -> Zero | None:
    """The file with this text."""
    (tmp_path / "z.json").write_bytes(text.encode() if isinstance(text, str) else text)
    return read_zero(recipe(), Workspace(tmp_path))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"zero_optimization": {"stage": 2,}}', "z.json:1:35: not JSON: "),
        ("[1]", "z.json: must hold an object with DeepSpeed's settings; it holds list."),
        (b'{"a": "\xff"}', "z.json: must be UTF-8; byte 7 is not."),
        ('{"zero_optimization": {"stage": "2"}}', "zero_optimization.stage: must be 0, 1, 2 or 3; it is '2'."),
        ('{"zero_optimization": 2}', "z.json: zero_optimization: must be an object; it is 2."),
        ('{"bf16": true}', "z.json: bf16: must be an object; it is True."),
        ('{"scheduler": {}}', "z.json: scheduler: the course of the rate is the one of --lr_scheduler_type"),
        ('{"tensor_parallel": {}}', "z.json: tensor_parallel: it is not among what a run here reads."),
        ('{"zero_optimization": {"stage": 3, "mics_shard_size": 2}}', "zero_optimization.mics_shard_size: it is not"),
        (
            '{"zero_optimization": {"stage": 3, "offload_param": {"device": "nvme"}}}',
            "must be cpu or none; it is 'nvme'",
        ),
    ],
)
def test_a_fault_is_told_with_its_place(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    with pytest.raises(StudioError) as caught:
        read(tmp_path, text)
    assert sentence in str(caught.value)


def test_a_missing_file_is_told_with_the_path_that_was_looked_at(tmp_path: Path) -> None:
    with pytest.raises(StudioError, match=f"must be a JSON file; there is none at {tmp_path}/z.json"):
        read_zero(recipe(), Workspace(tmp_path))
    assert read_zero(recipe(deepspeed=""), Workspace(tmp_path)) is None


@pytest.mark.parametrize(
    "zero",
    [
        {"stage": 0},
        TWO,
        TWO | {"offload_optimizer": OFF},
        THREE,
        THREE | {"offload_optimizer": OFF, "offload_param": OFF},
    ],
    ids=["z0", "z2", "z2_offload", "z3", "z3_offload"],
)
def test_the_usual_files_are_taken_on_a_gpu_and_offloading_needs_one(
    tmp_path: Path, installed: None, zero: dict[str, Any]
) -> None:
    read_file = read(tmp_path, json.dumps(USUAL | {"zero_optimization": zero}))
    assert read_file is not None
    assert told(read_file) == []
    on_cpu = told(read_file, CPU)
    assert [("this run has no GPU" in sentence) for sentence in on_cpu] == [True] * ("offload_optimizer" in zero)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_the_examples_run_anywhere(path: Path, installed: None) -> None:
    zero = read_zero(recipe(deepspeed=str(path)), Workspace(path.parent))
    assert zero is not None and zero.stage == int(path.stem[1:])
    assert told(zero) == told(zero, CPU) == []


ADAMW = {"type": "AdamW"}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"train_micro_batch_size_per_gpu": 4}, "_per_gpu is 4, but --per_device_train_batch_size is 8."),
        ({"gradient_accumulation_steps": 2}, "_steps is 2, but --gradient_accumulation_steps is 1."),
        ({"train_batch_size": 8}, "train_batch_size is 8, but the batch of a step on 2 processes is 16."),
        ({"gradient_clipping": 0.3}, "gradient_clipping is 0.3, but --max_grad_norm is 1.0."),
        ({"bf16": {"enabled": False}}, "bf16.enabled is false, but the run computes in bf16."),
        ({"fp16": {"enabled": True}}, "fp16.enabled is true, but the run computes in bf16."),
        ({"optimizer": ADAMW | {"params": {"lr": 1e-3}}}, "params.lr is 0.001, but --learning_rate is 5e-05."),
        ({"optimizer": ADAMW | {"params": {"betas": [0.9, 0.95]}}}, "but --adam_beta1 and --adam_beta2 are [0.9, 0.99"),
        ({"optimizer": {"type": "Lamb"}}, "optimizer: it is the one of --optim, adamw_torch_fused."),
    ],
)
def test_a_value_that_contradicts_the_command_is_told(installed: None, values: dict[str, Any], sentence: str) -> None:
    zero = Zero("z.json", {"zero_optimization": TWO, **values})
    (complaint,) = told(zero)
    assert sentence in complaint


def test_equal_and_open_values_are_no_contradiction(installed: None) -> None:
    same = {"train_batch_size": 16, "gradient_clipping": 1, "bf16": {"enabled": True},
            "optimizer": {"type": "AdamW", "params": {"lr": 5e-5, "betas": "auto", "eps": 1e-8}}}  # fmt: skip
    assert told(Zero("z.json", {"zero_optimization": TWO, **same})) == []


@pytest.mark.parametrize(
    ("values", "stages", "sentence"),
    [
        ({"loraplus_lr_ratio": 16}, {1, 2, 3}, "--loraplus_lr_ratio: does not go together with --deepspeed."),
        ({"optim": "adafactor"}, {1, 2, 3}, "--optim adafactor: with --deepspeed it must be one of adamw_torch,"),
        ({"torch_compile": True}, {1, 2, 3}, "--torch_compile: does not go together"),
        ({"do_train": False, "val_size": 5}, {1, 2, 3}, "--do_train False: does not go together"),
        ({"finetuning_type": "freeze"}, {3}, "--finetuning_type freeze: needs whole weights, and stage 3 of z.json"),
        ({"use_dora": True}, {3}, "--use_dora True: needs whole weights"),
        ({"additional_target": "embed_tokens"}, {3}, "--additional_target: needs whole weights"),
        ({"adapter_name_or_path": "a"}, {3}, "--adapter_name_or_path: needs whole weights"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(
    installed: None, values: dict[str, Any], stages: set[int], sentence: str
) -> None:
    for stage in (0, 1, 2, 3):
        complaints = told(Zero("z.json", {"zero_optimization": {"stage": stage}}), **values)
        assert [complaint[: len(sentence)] for complaint in complaints] == [sentence] * (stage in stages)
    assert told(Zero("z.json", {"zero_optimization": TWO}), rounded=True) == [
        "a base in 4 or 8 bits: does not go together with --deepspeed. Leave one of them out."
    ]


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is not None, reason="the package deepspeed is installed")
def test_without_the_package_the_command_that_installs_it_is_named() -> None:
    (complaint,) = told(Zero("z.json", {"zero_optimization": TWO}))
    assert "pip install 'studio[deepspeed]'" in complaint
    assert told(Zero("z.json", {"zero_optimization": {"stage": 0}})) == []


def test_what_the_file_leaves_open_is_filled_from_the_command() -> None:
    values = {"zero_optimization": {"stage": 3}, "optimizer": {"type": "AdamW"}}
    made = Zero("z.json", values).settings()
    assert made["gradient_clipping"] == made["bf16"]["enabled"] == made["gradient_accumulation_steps"] == "auto"
    assert made["zero_optimization"] == {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}
    assert "optimizer" not in made and values["zero_optimization"] == {"stage": 3}


def test_an_old_lock_of_a_compilation_is_told_on_a_gpu_and_a_fresh_one_is_not(tmp_path: Path, installed: None) -> None:
    old, fresh = tmp_path / "extensions" / "cpu_adam" / "lock", tmp_path / "extensions" / "py311_cu" / "utils" / "lock"
    for path in (old, fresh):
        path.parent.mkdir(parents=True)
        path.touch()
    os.utime(old, (time.time() - 4000,) * 2)
    assert old_locks() == [old]
    zero = Zero("z.json", {"zero_optimization": TWO})
    (complaint,) = told(zero)
    assert complaint.startswith(f"{old} was left by a compilation that was killed")
    assert told(zero, CPU) == []


def test_each_process_holds_less_the_higher_the_stage() -> None:
    held = hold({}, recipe(finetuning_type="full").method, "adamw_torch", "bf16", None)
    bytes_of = {stage: divided(held, stage, 4, "bf16").learning_bytes for stage in (1, 2, 3)}
    # weight and gradient in bfloat16, and 12 bytes of state and copy for each, by what is divided among 4
    assert bytes_of == {1: 2 + 2 + 3, 2: 2 + 0.5 + 3, 3: 0.5 + 0.5 + 3}
