"""The fields of transformers.TrainingArguments: measured, explained, and handed on."""

import dataclasses
from pathlib import Path

import pytest

from studio.arguments.upstream import HELP, measure, upstream_fields
from studio.command import read_recipe
from studio.errors import ArgumentError
from studio.loop.settings import settings
from studio.model.hardware import Hardware
from studio.recipe import arguments_of

BASE = ["--model_name_or_path", "m", "--dataset", "d", "--output_dir", "o"]
CPU = Hardware("cpu", "a processor", 1, False, 1 << 30, 1 << 30, 1)
TAKEN = [name for name, argument in arguments_of("sft").items() if argument.group == "upstream"]

# A value other than the default, and what else it needs; every accepted field has its line.
ASKED: dict[str, list[str]] = {
    "lr_scheduler_kwargs": ['{"min_lr": 0.5}', "--lr_scheduler_type", "cosine_with_min_lr"],
    "optim_args": ["momentum=0.5", "--optim", "sgd"],
    "adam_beta1": ["0.5"],
    "adam_beta2": ["0.5"],
    "adam_epsilon": ["0.5"],
    "average_tokens_across_devices": ["False"],
    "label_smoothing_factor": ["0.5"],
    "torch_empty_cache_steps": ["5"],
    "torch_compile": ["True"],
    "torch_compile_backend": ["eager"],
    "torch_compile_mode": ["max-autotune"],
    "logging_strategy": ["epoch"],
    "log_level": ["error"],
    "log_level_replica": ["error"],
    "disable_tqdm": ["False"],
    "run_name": ["a run"],
    "project": ["a project"],
    "trackio_space_id": ["a/b"],
    "trackio_bucket_id": ["a/b"],
    "trackio_static_space_id": ["a/b"],
    "eval_delay": ["5"],
    "eval_on_start": ["True", "--val_size", "0.1"],
    "ignore_data_skip": ["True"],
    "full_determinism": ["True"],
    "data_seed": ["5"],
    "dataloader_drop_last": ["True"],
    "dataloader_num_workers": ["2"],
    "dataloader_persistent_workers": ["True", "--dataloader_num_workers", "2"],
    "dataloader_prefetch_factor": ["3", "--dataloader_num_workers", "2"],
    "dataloader_multiprocessing_context": ["spawn", "--dataloader_num_workers", "2"],
    "dataloader_in_order": ["False"],
    "train_sampling_strategy": ["sequential"],
    "ddp_find_unused_parameters": ["True"],
    "ddp_bucket_cap_mb": ["5"],
    "ddp_broadcast_buffers": ["True"],
    "ddp_static_graph": ["True"],
    "ddp_timeout": ["180000000"],
}
# Decided by the studio from what was asked: a GPU that does TF32, the newer name, several processes, a GPU,
# modules of an optimizer whose package is not there, kernels of a package for GPUs.
OTHERWISE = {
    "use_liger_kernel", "liger_kernel_config", "tf32",
    "gradient_checkpointing_kwargs", "ddp_backend", "dataloader_pin_memory", "optim_target_modules"
}  # fmt: skip


def made(*words: str):  # upstream's class, which only transformers has
    return settings(read_recipe([*BASE, *words])[0], Path("o"), CPU, "fp32")


def test_the_file_is_what_the_installed_version_has() -> None:
    assert measure() == upstream_fields(), "run python -m studio.arguments.upstream"


def test_every_taken_field_is_explained_and_nothing_else() -> None:
    assert set(HELP) == set(TAKEN)


def test_every_taken_field_is_tried_here() -> None:
    assert set(ASKED) | OTHERWISE == set(TAKEN)


@pytest.mark.parametrize("name", ASKED)
def test_a_taken_field_reaches_upstream(name: str) -> None:
    value, *beside = ASKED[name]
    asked = read_recipe([*BASE, f"--{name}", value, *beside])[0].flat()[name]
    assert asked != arguments_of("sft")[name].default
    assert getattr(made(f"--{name}", value, *beside), name) == asked


def test_nothing_asked_gives_what_upstream_has_by_itself() -> None:
    upstream = {field.name: field for field in dataclasses.fields(type(made()))}
    for name in TAKEN:
        if name not in ("disable_tqdm", "dataloader_pin_memory", "gradient_checkpointing_kwargs"):
            assert getattr(made(), name) == upstream[name].default, name


def test_settings_of_checkpointing_take_their_newer_name() -> None:
    recipe = read_recipe([*BASE, "--gradient_checkpointing_kwargs", '{"use_reentrant": true}'])[0]
    arguments = settings(recipe, Path("o"), CPU, "fp32", checkpointing=True)
    assert arguments.activation_checkpointing
    assert arguments.activation_checkpointing_kwargs == {"use_reentrant": True}


def test_a_backend_is_named_only_where_several_processes_train() -> None:
    assert made("--ddp_backend", "gloo").ddp_backend is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--tf32", "True"], "tf32"),
        (["--lr_scheduler_kwargs", '{"nope": 1}'], "nope"),
        (["--optim", "sgd", "--optim_args", "abc"], "unpack"),
        (["--optim", "galore_adamw", "--optim_target_modules", "q_proj", "--finetuning_type", "full"], "galore_torch"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_upstream_finds_wrong_is_told_before_a_model_is_loaded(words: list[str], told: str) -> None:
    with pytest.raises(ArgumentError, match=told) as caught:
        made(*words)
    assert str(caught.value).startswith("transformers does not take these training arguments: ")


def test_trying_the_optimizer_leaves_the_random_numbers_alone() -> None:
    import torch

    torch.manual_seed(1)
    made()
    first = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == first
