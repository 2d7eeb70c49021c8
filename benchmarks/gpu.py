"""Training on one GPU through the studio's own trainer: tokens/s, model TFLOP/s, share of the card's peak, memory.

    python benchmarks/gpu.py                          # 0.5B and 1.5B, LoRA and full; 8B LoRA
    python benchmarks/gpu.py --only 8b-lora
    python benchmarks/gpu.py --tiny --device cpu      # does it run at all?

Needs torch >= 2.11, transformers >= 5.17, peft, accelerate and pydantic, no model and no data: weights are random,
documents of random tokens are packed to sequences of 4,096, every token bears loss. Each case is a process of its own
that takes fewer sequences at a time when memory runs out. The clock runs from the end of the warm-up to the end of the
last step: collating, forward, backward, clipping and optimizer are inside.

Model FLOPs of a token, with N weights of matrices (the head too, embeddings not) and n of adapters:
    full 6 N, LoRA 4 N + 6 n (no gradients of frozen weights), and for attention 6 layers * width of all heads *
    (squares of the documents' lengths / tokens), which is the causal half. What is computed twice is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))
# Dense bfloat16 TFLOP/s as the makers state them, by a word in the device's name; the first that fits.
PEAKS = {
    "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "H200": 989, "H800": 989, "GH200": 989, "B200": 2250, "B100": 1750,
    "A100": 312, "A800": 312, "L40S": 362, "L40": 181, "L4": 121, "A40": 150, "A10": 125, "RTX 4090": 165,
    "RTX 3090": 71,
}  # fmt: skip
MARKS = {"0.5b-lora": "45 %", "0.5b-full": "45 %", "1.5b-lora": "45 %", "1.5b-full": "45 %", "8b-lora": "12,473 tok/s"}


@dataclass(frozen=True)
class Shape:
    """Sizes of a model."""

    family: str
    width: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int
    tied: bool


@dataclass(frozen=True)
class Case:
    """What is measured: a shape, which weights learn, how many sequences go through at a time."""

    name: str
    shape: Shape
    method: str
    rows: int
    sequence: int = 4096
    warm_up: int = 4
    steps: int = 10
    compiled: bool = True
    device: str = "cuda"


HALF = Shape("qwen2", 896, 4864, 24, 14, 2, 151_936, tied=True)
MIDDLE = Shape("qwen2", 1536, 8960, 28, 12, 2, 151_936, tied=True)
LARGE = Shape("llama", 4096, 14_336, 32, 32, 8, 128_256, tied=False)
TINY = Shape("qwen2", 64, 128, 2, 4, 2, 512, tied=True)
CASES = [
    Case("0.5b-lora", HALF, "lora", 6),
    Case("0.5b-full", HALF, "full", 6),
    Case("1.5b-lora", MIDDLE, "lora", 4),
    Case("1.5b-full", MIDDLE, "full", 3),
    Case("8b-lora", LARGE, "lora", 2),
]
SMALL = [
    Case(f"tiny-{method}", TINY, method, 2, sequence=256, warm_up=1, steps=2, compiled=False)
    for method in ("lora", "full")
]


class Documents:
    """Documents of random tokens, packed: as `studio.data.rows.Rows` gives rows."""

    def __init__(self, case: Case, count: int) -> None:
        import numpy as np

        random = np.random.default_rng(0)
        self.ids: list[Any] = []
        self.groups: list[list[int]] = []
        for _ in range(count):
            left, group = case.sequence, []
            while left:
                size = min(left, max(8, int(random.lognormal(6.0, 1.0) * case.sequence / 4096)))
                group.append(len(self.ids))
                self.ids.append(random.integers(0, case.shape.vocabulary, size))
                left -= size
            self.groups.append(group)
        # One dataset gave all of them.
        self.names = ("random tokens",)
        self.lengths = np.array([len(ids) for ids in self.ids])
        self.table = {"dataset": np.zeros(len(self.ids), dtype=np.int64)}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        import numpy as np

        return {"input_ids": self.ids[index], "loss_mask": np.ones(len(self.ids[index]), dtype=bool)}


def config_of(shape: Shape) -> Any:
    """The configuration of a shape."""
    import transformers

    kind = {"qwen2": transformers.Qwen2Config, "llama": transformers.LlamaConfig}[shape.family]
    return kind(
        vocab_size=shape.vocabulary, hidden_size=shape.width, intermediate_size=shape.inner,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.key_heads,
        max_position_embeddings=8192, tie_word_embeddings=shape.tied, use_cache=False,
    )  # fmt: skip


def learner(case: Case, recipe: Any) -> Any:
    """A model with random weights, as a run of the studio would have it, on its device."""
    import torch
    import transformers

    from studio.loop.attention import choose_attention
    from studio.model.adapt import adapt

    dtype = torch.float32 if case.method == "full" or case.device == "cpu" else torch.bfloat16
    torch.manual_seed(0)
    with torch.device(case.device):
        model = transformers.AutoModelForCausalLM.from_config(config_of(case.shape), dtype=dtype)
    name, _ = choose_attention(model, "auto")
    assert name == "studio_documents", f"attention is {name}: documents would see each other"
    adapted = adapt(model, recipe.method, [])
    if case.compiled:
        for layer in model.model.layers:
            layer.compile()
    return adapted


def trainer_of(case: Case, folder: Path) -> tuple[Any, Documents]:
    """The trainer of stage pt, wired as the studio wires it."""
    from studio.jobs.signals import StopFlag
    from studio.loop.causal import causal_trainer
    from studio.loop.incidents import Incidents
    from studio.loop.parts import Parts
    from studio.loop.saving import CheckpointWriter
    from studio.loop.settings import settings
    from studio.loop.watch import Watch
    from studio.model.hardware import detect
    from studio.recipe import make_recipe

    recipe, _ = make_recipe({
        "stage": "pt", "model_name_or_path": "random", "dataset": "random", "output_dir": str(folder),
        "finetuning_type": case.method, "cutoff_len": case.sequence, "per_device_train_batch_size": case.rows,
        "max_steps": case.warm_up + case.steps, "learning_rate": 1e-5, "logging_steps": case.steps,
        "save_strategy": "no", "use_cpu": case.device == "cpu",
        **({"lora_rank": 16, "lora_alpha": 32} if case.method == "lora" else {}),
    })  # fmt: skip
    hardware = detect(use_cpu=case.device == "cpu")
    made = settings(recipe, folder, hardware, "fp32" if case.device == "cpu" else "bf16")
    stop, documents = StopFlag(), Documents(case, case.rows * (case.warm_up + case.steps))
    parts: Any = Parts(
        recipe=recipe, settings=made, model=learner(case, recipe), rows=documents, groups=documents.groups,
        held_out_rows=None, held_out=[], pad_id=None, writer=CheckpointWriter(folder, lambda _: None, None),
        watch=Watch(None, lambda _: None, stop, patience=None, resume=None), stop=stop, folder=folder, resume=None,
        material=SimpleNamespace(stream=None, tokenizer=None), place=None, say=lambda _: None, incidents=Incidents(),
    )  # fmt: skip
    return causal_trainer(parts), documents


def measured(case: Case) -> dict[str, Any]:
    """Train for a few steps; tokens/s, FLOPs of a token, peak memory."""
    import torch
    import transformers

    def settled() -> float:
        if case.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    class Clock(transformers.TrainerCallback):
        times: list[float] = []  # noqa: RUF012 (one trainer, one clock)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step in (case.warm_up, case.warm_up + case.steps):
                self.times.append(settled())

    if case.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
    one_kernel = attention_kernel(case)
    with tempfile.TemporaryDirectory() as folder:
        trainer, documents = trainer_of(case, Path(folder))
        trainer.fewest = case.rows  # what does not fit is told, not done in halves
        trainer.add_callback(Clock)
        trainer.train()
    began, ended = Clock.times
    model = trainer.accelerator.unwrap_model(trainer.model)
    squares = sum(len(ids) ** 2 for ids in documents.ids) / sum(len(ids) for ids in documents.ids)
    last = next(entry["loss"] for entry in reversed(trainer.state.log_history) if "loss" in entry)
    return {
        "tokens_per_s": case.rows * case.sequence * case.steps / (ended - began),
        "flops_per_token": flops(case, model, squares),
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30 if case.device == "cuda" else 0.0,
        "reserved_gib": torch.cuda.max_memory_reserved() / 2**30 if case.device == "cuda" else 0.0,
        "loss": last, "rows": case.rows, "compiled": case.compiled, "one_kernel": one_kernel,
        "device": torch.cuda.get_device_name() if case.device == "cuda" else "cpu",
    }  # fmt: skip


def attention_kernel(case: Case) -> bool:
    """Whether one kernel takes all documents of a batch. It is tried here, before anything is compiled."""
    import torch

    from studio.loop.attention import has_kernel

    shape = case.shape
    sizes = (shape.heads, shape.key_heads, shape.width // shape.heads)
    return case.device == "cuda" and has_kernel(torch.cuda.current_device(), torch.bfloat16, *sizes)


def flops(case: Case, model: Any, squares: float) -> float:
    """Model FLOPs of a token; the formula stands at the top. `squares`: mean over tokens of their document's length."""
    shape = case.shape
    head = shape.vocabulary * shape.width
    size = shape.width // shape.heads
    matrices = shape.layers * (
        shape.width * size * (2 * shape.heads + 2 * shape.key_heads) + 3 * shape.width * shape.inner
    )
    whole = matrices + head
    adapters = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    attention = 6 * shape.layers * shape.heads * size * squares
    return attention + (6 * whole if case.method == "full" else 4 * whole + 6 * adapters)


def tried(case: Case, timeout_s: int) -> tuple[Case, dict[str, Any]]:
    """The case in a process of its own; without the compiler, then with fewer rows, where it fails."""
    told: dict[str, Any] = {}
    while True:
        words = [sys.executable, __file__, "--case", json.dumps(asdict(case))]
        environment = {**os.environ, "PYTORCH_ALLOC_CONF": "expandable_segments:True", "HF_HUB_OFFLINE": "1"}
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=timeout_s, env=environment, check=False
            )
            if done.returncode == 0:
                return case, json.loads(done.stdout.splitlines()[-1])
            evidence = done.stderr
        except subprocess.TimeoutExpired:
            evidence = f"no end after {timeout_s} s"
        full = "out of memory" in evidence.lower() or "memory ran out" in evidence
        told = {"error": (evidence.strip().splitlines() or ["no word"])[-1][:300]}
        print(f"{case.name}: {told['error']}", file=sys.stderr, flush=True)
        if full and case.rows > 1:
            case = replace(case, rows=case.rows - 1)
        elif not full and case.compiled:
            case = replace(case, compiled=False)
        else:
            return case, told


def peak_of(device: str) -> float | None:
    """Dense bfloat16 TFLOP/s of a card, None of an unknown one."""
    return next((float(peak) for name, peak in PEAKS.items() if all(word in device for word in name.split())), None)


def row(case: Case, told: dict[str, Any]) -> str:
    """One line of the table."""
    if "error" in told:
        return f"| {case.name} | {case.rows} | {told['error']} |"
    tera = told["tokens_per_s"] * told["flops_per_token"] / 1e12
    peak = peak_of(told["device"])
    share = f"{100 * tera / peak:.1f} %" if peak else "?"
    how = ("compiled" if told["compiled"] else "eager") + (", one kernel" if told["one_kernel"] else "")
    memory = f"{told['memory_gib']:.1f} / {told['reserved_gib']:.1f}"
    numbers = f"{told['tokens_per_s']:,.0f} | {tera:.1f} | {share} | {memory}"
    return f"| {case.name} | {case.rows} | {how} | {numbers} | {told['loss']:.3f} | {MARKS.get(case.name, '')} |"


def main() -> None:
    """Measure every case and print the table."""
    parser = argparse.ArgumentParser(description="Training on one GPU.")
    parser.add_argument("--only", default="", help="names of cases, with commas between them")
    parser.add_argument("--tiny", action="store_true", help="a model of two layers")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--eager", action="store_true", help="compile nothing")
    parser.add_argument("--timeout", type=int, default=420, help="seconds for a case")
    parser.add_argument("--case", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.case:
        values = json.loads(asked.case)
        print(json.dumps(measured(Case(**{**values, "shape": Shape(**values["shape"])}))))
        return
    wanted = [name for name in asked.only.split(",") if name]
    print("| case | sequences at a time | how | tokens/s | TFLOP/s | of peak | GiB used / reserved | loss | mark |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    failed = False
    for case in SMALL if asked.tiny else CASES:
        if wanted and case.name not in wanted:
            continue
        chosen = replace(case, device=asked.device, compiled=case.compiled and not asked.eager)
        done, told = tried(chosen, asked.timeout)
        failed = failed or "error" in told
        print(row(done, told), flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
