"""What benchmarks/gpu.py counts, and that it runs where there is no GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


def test_flops_of_a_token_are_those_of_its_matrices():
    import gpu
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_config(gpu.config_of(gpu.TINY))
    matrices = sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, torch.nn.Linear))
    full = gpu.SMALL[1]
    assert full.method == "full"
    assert gpu.flops(full, model, 0.0) == 6 * matrices
    # Scores and sums of one head over T tokens: 4 T D forward, half of it causal, twice as much backward.
    heads, size, layers, length = gpu.TINY.heads, gpu.TINY.width // gpu.TINY.heads, gpu.TINY.layers, 100.0
    assert gpu.flops(full, model, length) - 6 * matrices == 3 * layers * heads * 4 * size * length / 2
    model.requires_grad_(False)
    model.model.layers[0].mlp.up_proj.weight.requires_grad_(True)
    learned = model.model.layers[0].mlp.up_proj.weight.numel()
    assert gpu.flops(gpu.SMALL[0], model, 0.0) == 4 * matrices + 6 * learned


def test_the_packs_are_full_and_every_card_is_found():
    import gpu

    documents = gpu.Documents(gpu.SMALL[0], 5)
    sizes = [sum(len(documents[index]["input_ids"]) for index in group) for group in documents.groups]
    assert sizes == [gpu.SMALL[0].sequence] * 5
    assert gpu.peak_of("NVIDIA H100 80GB HBM3") == 989 and gpu.peak_of("NVIDIA H100 PCIe") == 756
    assert gpu.peak_of("NVIDIA A100-SXM4-80GB") == 312 and gpu.peak_of("something new") is None


@pytest.mark.slow
def test_it_runs_without_a_gpu():
    words = [sys.executable, str(BENCHMARKS / "gpu.py"), "--tiny", "--device", "cpu"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()[2:]] == ["tiny-lora", "tiny-full"]
