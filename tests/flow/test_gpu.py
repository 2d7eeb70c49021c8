"""What a GPU does: the same runs in bfloat16 and in 4 bits, saved and gone on with; the kernels that only it has."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.workspace import Workspace

TOP = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]
ON_GPU = {"use_cpu": "False", "bf16": "True", "learning_rate": "1e-2", "logging_steps": 1, "lora_dropout": 0.1}


@pytest.mark.parametrize(
    "more",
    [{}, {"packing": "True", "cutoff_len": 96}, {"finetuning_type": "full"}, {"quantization_bit": 4}],
    ids=["lora", "packed", "full", "4-bit"],
)
def test_a_run_learns(place: Workspace, train: Any, look: Any, more: dict[str, Any]):
    values = {name: value for name, value in ON_GPU.items() if name != "lora_dropout" or "finetuning_type" not in more}
    folder = "saves/" + ("_".join(more) or "lora")
    done = train(place, folder, max_steps=12, **{**values, **more})
    assert done.code == 0, done.err
    losses = [loss for _, loss in look(place.path(folder)).curve]
    assert losses[-1] < losses[0] - 0.1 and all(map(math.isfinite, losses))
    assert "precision: bf16" in done.err


def test_a_killed_run_goes_on_from_its_checkpoint(place: Workspace, train: Any, look: Any):
    values = {**ON_GPU, "max_steps": 6, "save_steps": 2}
    assert train(place, "saves/killed", at=("backward", 5, 9), **values).code == -9
    done = train(place, "saves/killed", **values)
    assert done.code == 0, done.err
    assert "going on from checkpoint-4" in done.err
    whole = train(place, "saves/whole", **values)
    assert whole.code == 0, whole.err
    left, right = (look(place.path(f"saves/{name}")).curve for name in ("killed", "whole"))
    # Kernels on a GPU add in another order each time; bfloat16 keeps three digits.
    assert [loss for _, loss in left] == pytest.approx([loss for _, loss in right], rel=2e-2)


def test_losses_are_those_of_the_processor(place: Workspace, train: Any, look: Any):
    values = {"finetuning_type": "full", "logging_steps": 1, "bf16": "False", "tf32": "False"}
    curves = []
    for name, use_cpu in (("gpu", "False"), ("cpu", "True")):
        done = train(place, f"saves/on_{name}", **{**values, "use_cpu": use_cpu})
        assert done.code == 0, done.err
        curves.append([loss for _, loss in look(place.path(f"saves/on_{name}")).curve])
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)


@pytest.mark.parametrize(("heads", "key_heads", "size"), [(14, 2, 64), (12, 2, 128), (32, 8, 128), (9, 3, 64)])
def test_one_kernel_takes_all_documents(heads: int, key_heads: int, size: int):
    from studio.loop.attention import document_attention, has_kernel

    assert has_kernel(torch.cuda.current_device(), torch.bfloat16, heads, key_heads, size)
    parts = [torch.randn(1, n, 300, size, device="cuda", dtype=torch.bfloat16) for n in (heads, key_heads, key_heads)]
    ends = torch.tensor([0, 100, 101, 300], dtype=torch.int32, device="cuda")
    module = torch.nn.Module()
    module.num_key_value_groups = heads // key_heads  # type: ignore[assignment]
    module.is_causal = True  # type: ignore[assignment]
    for window in (None, 40):
        more = {"scaling": size**-0.5, "sliding_window": window}
        together, _ = document_attention(module, *parts, None, cu_seq_lens_q=ends, max_length_q=199, **more)
        alone, _ = document_attention(module, *parts, None, cu_seq_lens_q=ends, **more)
        assert float((together - alone).abs().max()) <= 3e-2


def test_the_head_by_pieces_is_the_head():
    from studio.loop.head import PIECE, summed_loss, worth_it

    head = torch.nn.Linear(64, 128_000, bias=False, device="cuda", dtype=torch.bfloat16)
    labels = 3 * PIECE // 128_000
    assert worth_it(labels, 128_000, torch.device("cuda"), torch.bfloat16)
    states = torch.randn(labels, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    targets = torch.randint(0, 128_000, (labels,), device="cuda")
    pieces = summed_loss(head, states, targets)
    (found,) = torch.autograd.grad(pieces, [states])
    whole = torch.nn.functional.cross_entropy(head(states).float(), targets, reduction="sum")
    (expected,) = torch.autograd.grad(whole, [states])
    assert float(pieces.detach()) == pytest.approx(float(whole.detach()), rel=1e-4)
    assert float((found - expected).abs().max()) <= 2e-2 * float(expected.abs().max())


def test_the_benchmark_runs():
    done = subprocess.run(
        [sys.executable, str(TOP / "benchmarks/gpu.py"), "--tiny"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tiny-lora" in done.stdout and json.dumps("error") not in done.stdout
