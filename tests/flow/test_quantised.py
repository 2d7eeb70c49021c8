"""Runs on a base in 4 or 8 bits: they learn, go on exactly, merge into the full weights, and answer."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from studio.workspace import Workspace

KILL = int(signal.SIGKILL)
# The matrices of a small adapter are too small for 8-bit states of an optimizer; a rank of 128 is not.
KINDS: dict[str, dict[str, Any]] = {
    "nf4": {
        "quantization_bit": 4, "optim": "paged_adamw_32bit", "lora_dropout": 0.1, "learning_rate": "1e-2",
        "load_best_model_at_end": "True",
    },
    "int8": {"quantization_bit": 8, "optim": "adamw_8bit", "lora_rank": 128, "lora_alpha": 128},
    "fp4": {
        "quantization_bit": 4, "quantization_type": "fp4", "double_quantization": "False", "optim": "paged_lion_8bit",
        "lora_rank": 128, "lora_alpha": 16, "learning_rate": "1e-4",
    },
    "full": {"finetuning_type": "full", "optim": "paged_adamw_8bit"},
}  # fmt: skip
QUICK_AND_SLOW = ["nf4", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind != "nf4")]
EVALUATED = {"val_size": 5, "eval_strategy": "steps", "eval_steps": 2, "max_steps": 6}


@pytest.fixture(scope="module")
def whole(place: Workspace, train: Any, look: Any) -> Any:
    """The unbroken run of a kind, once."""
    done: dict[str, Any] = {}

    def run(kind: str) -> Any:
        if kind not in done:
            ended = train(place, f"saves/{kind}", **KINDS[kind], **EVALUATED)
            assert ended.code == 0, ended.err
            done[kind] = look(place.path(f"saves/{kind}"))
        return done[kind]

    return run


def test_an_adapter_learns_on_four_bits_and_all_say_so(place: Workspace, whole: Any):
    run = whole("nf4")
    losses = [loss for _, loss in run.curve]
    assert losses[-1] < losses[0] - 0.05
    assert "base: 4-bit nf4 with 8-bit scales (asked for; " in run.log
    assert "Failed to load" not in run.log and "MatMul8bitLt" not in run.log
    record = run.json("run.json")
    assert record["quantization"] == {"bits": 4, "numbers": "nf4", "double": True, "method": "bnb"}
    assert "held in 4 bits (nf4)" in (run.folder / "README.md").read_text()
    assert "quantization_config" not in (run.folder / "adapter_config.json").read_text()


@pytest.mark.parametrize("kind", QUICK_AND_SLOW)
@pytest.mark.parametrize("call", [3, 5])
def test_killed_in_a_step_it_ends_with_the_same_bytes(
    place: Workspace, train: Any, look: Any, whole: Any, kind: str, call: int
):
    folder, values = f"saves/{kind}_killed_{call}", {**KINDS[kind], **EVALUATED}
    assert train(place, folder, at=("backward", call, KILL), **values).code == -KILL
    done = train(place, folder, **values)
    assert done.code == 0, done.err
    assert "going on from checkpoint-" in done.err
    look(place.path(folder)).must_end_as(whole(kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int8", "fp4"])
def test_an_8_bit_optimizer_is_saved_in_8_bits(whole: Any, kind: str):
    import torch

    saved = torch.load(whole(kind).folder / "checkpoint-6" / "optimizer.pt", weights_only=True)
    inner = [value for state in saved["state"].values() for value in state.values() if isinstance(value, dict)]
    assert {state["state1"].dtype for state in inner if state["state1"].numel() >= 4096} == {torch.uint8}


@pytest.mark.slow
def test_what_is_evaluated_is_what_was_trained(place: Workspace, command: Any, train: Any, look: Any, whole: Any):
    run = whole("int8")
    values = {**KINDS["int8"], "val_size": 5, "do_train": "False", "adapter_name_or_path": "saves/int8"}
    done = train(place, "saves/int8_evaluated", **values)
    assert done.code == 0, done.err
    again = look(place.path("saves/int8_evaluated")).json("run.json")["results"]
    assert again["eval_loss"] == pytest.approx(run.json("run.json")["results"]["eval_loss"], abs=1e-6)


def test_an_export_says_what_its_adapter_learned_on(place: Workspace, command: Any, whole: Any):
    whole("nf4")
    done = command(place, "export", "--model_name_or_path", "saves/nf4", "--export_dir", "models/merged")
    assert done.code == 0, done.err
    assert "learned on a base in 4-bit nf4 with 8-bit scales, and is merged into the weights in full" in done.err
    assert "times as much as it changes them" in (place.path("models/merged") / "README.md").read_text()
    refused = command(
        place, "export", "--model_name_or_path=saves/nf4", "--export_dir=models/small", "--quantization_bit=4"
    )
    assert refused.code == 10 and "an export is in full precision" in refused.err


@pytest.mark.slow
def test_it_merges_into_the_weights_in_full_precision(place: Workspace, command: Any, whole: Any):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = whole("nf4")
    done = command(place, "export", "--model_name_or_path", "saves/nf4", "--export_dir", "models/merged_full")
    assert done.code == 0, done.err
    ids_BT = torch.tensor([[1, 5, 9, 33, 2, 60]])
    base: Any = AutoModelForCausalLM.from_pretrained(place.path("models/tiny-chat"))
    merged: Any = AutoModelForCausalLM.from_pretrained(place.path("models/merged_full"))
    with torch.no_grad():
        before_BTV = base(ids_BT).logits
        beside_BTV = PeftModel.from_pretrained(base, run.folder).eval()(ids_BT).logits
        merged_BTV = merged(ids_BT).logits
    assert (merged_BTV - beside_BTV).abs().max() < 1e-4 < (merged_BTV - before_BTV).abs().max()


def test_it_answers_on_the_base_it_learned_on_and_on_the_full_one(place: Workspace, command: Any, whole: Any):
    whole("nf4")
    words = ["chat", "--model_name_or_path", "saves/nf4", "--prompt", "hello", "--max_new_tokens", "4"]
    for more in ([], ["--quantization_bit", "4"], ["--quantization_bit", "8"]):
        done = command(place, *words, "--do_sample", "False", *more)
        assert done.code == 0, done.err
    refused = command(place, *words, "--quantization_bit", "5")
    assert refused.code == 10 and "4 or 8" in refused.err


@pytest.mark.slow
def test_packed_rows_and_recomputed_activations_change_no_number(place: Workspace, train: Any, look: Any):
    values: dict[str, Any] = {"packing": "True", "cutoff_len": 96, "per_device_train_batch_size": 2, "logging_steps": 1}
    for bits in (4, 8):
        curves = []
        for checkpointing in ("False", "True"):
            values |= {"gradient_checkpointing": checkpointing, "quantization_bit": bits}
            folder = f"saves/packed_{bits}_{checkpointing}"
            done = train(place, folder, **values)
            assert done.code == 0, done.err
            curves.append([loss for _, loss in look(place.path(folder)).curve])
        assert curves[0] == pytest.approx(curves[1], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {"use_dora": "True"},
        {"use_rslora": "True", "loraplus_lr_ratio": 16, "optim": "paged_adamw_8bit"},
        {"additional_target": "embed_tokens"},
        {"trainable_token_indices": "5-60"},
        {"adapter_name_or_path": "saves/nf4"},
        {"bf16": "True"},
    ],
    ids=["dora", "rslora and lora+", "embedding", "rows of it", "from an adapter", "bf16"],
)
def test_other_ways_to_adapt_work_on_four_bits(place: Workspace, train: Any, look: Any, whole: Any, more: Any):
    whole("nf4")
    folder = f"saves/way_{'_'.join(more)}"
    done = train(place, folder, quantization_bit=4, **more)
    assert done.code == 0, done.err
    losses = [loss for _, loss in look(place.path(folder)).curve]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_two_processes_hold_a_base_each_and_learn_what_one_does(place: Workspace, train: Any, look: Any):
    values = {"quantization_bit": 4, "logging_steps": 1, "train_sampling_strategy": "sequential"}
    two = train(
        place, "saves/two", per_device_train_batch_size=2, environment={"NPROC_PER_NODE": "2"}, **values
    )  # fmt: skip
    assert two.code == 0, two.err
    one = train(place, "saves/one", **values)
    assert one.code == 0, one.err
    left, right = (look(place.path(f"saves/{name}")).curve for name in ("two", "one"))
    assert [loss for _, loss in left] == pytest.approx([loss for _, loss in right], abs=1e-5)


@pytest.fixture
def rounded(place: Workspace) -> Path:
    """A model folder whose weights are in 4 bits already."""
    from studio.arguments.model import ModelArguments
    from studio.model.load import load_model

    folder = place.path("models/tiny-4bit")
    if not folder.exists():
        import torch

        shutil.copytree(place.path("models/tiny-chat"), folder)
        (folder / "model.safetensors").unlink()
        asked = ModelArguments(quantization_bit=4)
        load_model(place.path("models/tiny-chat"), asked, torch.float32, device="cpu").save_pretrained(folder)
    return folder


def test_a_model_that_came_in_four_bits_learns_and_is_not_merged_into(
    place: Workspace, command: Any, train: Any, look: Any, rounded: Path, whole: Any
):
    done = train(place, "saves/came_rounded", model_name_or_path="models/tiny-4bit", **KINDS["nf4"], **EVALUATED)
    assert done.code == 0, done.err
    run = look(place.path("saves/came_rounded"))
    assert run.curve == whole("nf4").curve
    assert run.json("run.json")["quantization"]["numbers"] == "nf4"
    done = command(place, "export", "--model_name_or_path", "saves/came_rounded", "--export_dir", "models/nothing")
    assert done.code != 0 and "is quantized. Name the model it was quantized from" in done.err
    done = train(place, "saves/full_rounded", model_name_or_path="models/tiny-4bit", finetuning_type="full")
    assert done.code == 10 and "such weights cannot learn. Use --finetuning_type lora" in done.err


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"finetuning_type": "full"}, "--quantization_bit: only used by --finetuning_type lora"),
        ({"adapter_name_or_path": "saves/nf4,saves/nf4_second"}, "Merge them all into a model with studio export"),
        ({"additional_target": "down_proj"}, "--additional_target down_proj: is held in 4-bit nf4"),
        ({"quantization_bit": 6}, "must be 4 or 8"),
        ({"quantization_bit": 8, "quantization_type": "fp4"}, "only used with --quantization_bit 4"),
        ({"quantization_bit": 8, "use_dora": "True"}, "--use_dora True: does not work on int8 layers on the CPU"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "_".join(value),
)
def test_what_rounded_weights_cannot_do_is_refused(place: Workspace, train: Any, whole: Any, values: Any, told: str):
    whole("nf4")
    if "adapter_name_or_path" in values:
        shutil.copytree(place.path("saves/nf4"), place.path("saves/nf4_second"), dirs_exist_ok=True)
    done = train(place, "saves/refused", "--plan", **{"quantization_bit": 4, **values})
    assert done.code == 10 and told in done.err, done.err
    assert not place.path("saves/refused").exists()


def test_a_dora_does_not_go_on_in_8_bits_here(place: Workspace, train: Any):
    assert train(place, "saves/dora", use_dora="True", save_strategy="no", max_steps=1).code == 0
    done = train(place, "saves/dora_8", adapter_name_or_path="saves/dora", quantization_bit=8)
    assert done.code == 10 and "saves/dora is a DoRA, which does not work on int8 layers on the CPU" in done.err


def test_the_plan_counts_the_bits(place: Workspace, command: Any, small: Any):
    figures = {}
    for bits in ([], ["--quantization_bit=4"]):
        words = [f"--{name}={value}" for name, value in {**small, "output_dir": "saves/plan"}.items()]
        done = command(place, "train", "--plan", "--json", *words, *bits)
        assert done.code == 0, done.err
        figures[bool(bits)] = json.loads(done.out)
    assert figures[True]["memory"]["value"] < figures[False]["memory"]["value"]
    (choice,) = [each for each in figures[True]["choices"] if each["name"] == "base"]
    assert choice["value"] == "4-bit nf4 with 8-bit scales"
