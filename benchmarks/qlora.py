"""LoRA beside QLoRA on the embedded model: what 4 and 8 bits save, cost and lose, in one run.

    python benchmarks/qlora.py [--model models/SmolLM2-135M-Instruct] [--dataset identity_demo] [--steps 24]

Each kind is a `studio train` of its own, started by `probe.py`; then its adapter is exported into the
weights in full precision and that model is measured on the same held-out rows. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent
TOP = BENCHMARKS.parent
KINDS: dict[str, dict[str, Any]] = {
    "LoRA, bfloat16": {},
    "QLoRA int8": {"quantization_bit": 8},
    "QLoRA nf4": {"quantization_bit": 4},
    "QLoRA fp4": {"quantization_bit": 4, "quantization_type": "fp4"},
}
JOB: dict[str, Any] = {
    "stage": "sft", "cutoff_len": 256, "val_size": 16, "bf16": True, "lora_rank": 16, "learning_rate": 1e-3,
    "lr_scheduler_type": "cosine", "warmup_steps": 2, "per_device_train_batch_size": 4, "save_strategy": "no",
    "seed": 42, "use_cpu": True,
}  # fmt: skip


def studio(place: Path, verb: str, values: dict[str, Any], *, steps_file: Path | None = None) -> None:
    """Run a command of the studio in the workspace, the clock of its steps written to `steps_file`."""
    words = [verb, "--workspace", str(place), *(f"--{name}={value}" for name, value in values.items())]
    start = [str(BENCHMARKS / "probe.py"), str(steps_file), "studio"] if steps_file else ["-m", "studio"]
    environment = {**os.environ, "PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, *start, *words], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"studio {' '.join(words)} failed:\n{done.stderr[-2000:]}")


def measure(place: Path, model: str, dataset: str, steps: int, name: str, more: dict[str, Any]) -> dict[str, float]:
    """Train one kind, merge it, and measure the merged model; all losses are of the same held-out rows."""
    run = place / "saves" / name.replace(",", "").replace(" ", "-")
    steps_file = run.with_suffix(".steps")
    job = {**JOB, "dataset": dataset}
    learn = {**job, **more, "model_name_or_path": model, "max_steps": steps, "output_dir": run}
    ends = {"eval_strategy": "steps", "eval_steps": steps, "eval_on_start": True}
    studio(place, "train", {**learn, **ends}, steps_file=steps_file)
    clock = [json.loads(line) for line in steps_file.read_text(encoding="utf-8").splitlines()]
    # The first step also pays for what is made once.
    cpu_s = (clock[-1]["cpu_s"] - clock[1]["cpu_s"]) / (len(clock) - 2)
    points = [json.loads(line) for line in (run / "progress.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [point["eval_loss"] for point in points if "eval_loss" in point]
    look = {**job, "do_train": False}
    studio(place, "export", {"model_name_or_path": run, "export_dir": place / "merged" / run.name})
    studio(place, "train", {**look, "model_name_or_path": place / "merged" / run.name, "output_dir": f"{run}-merged"})
    merged = json.loads(Path(f"{run}-merged", "run.json").read_text(encoding="utf-8"))["results"]["eval_loss"]
    return {"before": losses[0], "after": losses[-1], "merged": merged, "cpu_s": cpu_s}


def held_mb(model: Path, more: dict[str, Any]) -> float:
    """Megabytes of the loaded base, scales included."""
    import torch

    from studio.arguments.model import ModelArguments
    from studio.model.load import load_model

    loaded = load_model(model, ModelArguments(**more), torch.bfloat16, device="cpu", learns=True)
    total = 0
    for weight in loaded.parameters():
        state, scales = getattr(weight, "quant_state", None), getattr(weight, "SCB", None)
        total += weight.nbytes + (scales.nbytes if scales is not None else 0)
        if state is not None:
            total += state.absmax.nbytes + (state.state2.absmax.nbytes if state.nested else 0)
    return total / 1e6


def main() -> None:
    """Measure every kind and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=TOP / "models/SmolLM2-135M-Instruct")
    parser.add_argument("--dataset", default="identity_demo")
    parser.add_argument("--steps", type=int, default=24)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(TOP))
    from studio.model.hardware import before_torch

    before_torch(os.environ)
    print("| | base MB | CPU s/step | loss before | after | merged into full precision |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shutil.copytree(TOP / "data", place / "data")
        shutil.copyfile(TOP / "dataset_info.json", place / "dataset_info.json")
        for name, more in KINDS.items():
            got = measure(place, str(asked.model.resolve()), asked.dataset, asked.steps, name, more)
            base = held_mb(asked.model, more)
            losses = " | ".join(f"{got[each]:.3f}" for each in ("before", "after", "merged"))
            print(f"| {name} | {base:.0f} | {got['cpu_s']:.2f} | {losses} |", flush=True)


if __name__ == "__main__":
    main()
