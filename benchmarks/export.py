"""Export against peft's merge_and_unload with save_pretrained: time, memory and how true the merge is.

    python benchmarks/export.py [--model models/SmolLM2-135M-Instruct] [--repeats 3]

Each contender runs in a process of its own. A random LoRA of all linear layers is made first, its
changes about as large as a short training's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

CONTENDERS = {
    "studio": "studio export, float32 merge, cast once",
    "peft-bf16": "merge_and_unload + save_pretrained, in bfloat16",
    "peft-f32": "merge_and_unload in float32, cast, save_pretrained",
}
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_adapter(model: Path, folder: Path) -> None:
    """A LoRA of rank 8 whose product moves weights by about 1e-4."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    wrapped: Any = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=LAYERS))
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=5e-4)
    wrapped.save_pretrained(folder)


def run_studio(model: Path, adapter: Path, target: Path) -> None:
    """The export of this project."""
    from studio.arguments.export import ExportArguments
    from studio.model.export import export

    begin()
    export(model, [adapter], target, ExportArguments(), say=lambda sentence: None)


def run_peft(model: Path, adapter: Path, target: Path, dtype: str) -> None:
    """What peft and transformers offer: the whole model in memory, merged in `dtype`."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    begin()
    base = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))
    merged = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    merged.to(torch.bfloat16).save_pretrained(target)
    AutoTokenizer.from_pretrained(model).save_pretrained(target)


STARTED: dict[str, float] = {}


def begin() -> None:
    """Note the state after the imports, from which the work itself is counted."""
    STARTED.update(wall=time.monotonic(), cpu=time.process_time(), peak=peak_mb())


def peak_mb() -> float:
    """The most memory this process has held so far."""
    # Not ru_maxrss: a child starts with the peak of the process it was forked from.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def contend(name: str, model: Path, adapter: Path, target: Path) -> dict[str, float]:
    """Run one contender in this process and say what it took."""
    if name == "studio":
        run_studio(model, adapter, target)
    else:
        run_peft(model, adapter, target, {"peft-bf16": "bfloat16", "peft-f32": "float32"}[name])
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall": time.monotonic() - STARTED["wall"],
        "cpu": time.process_time() - STARTED["cpu"],
        "total_cpu": used.ru_utime + used.ru_stime,
        "peak": peak_mb(),
        "after_imports": STARTED["peak"],
    }


def difference(model: Path, adapter: Path, targets: dict[str, Path]) -> dict[str, tuple[float, float]]:
    """Of each export: the largest and the mean difference of its float32 logits to the unmerged adapter's."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.arange(100, 164)[None]

    def logits(folder: Path, lora: Path | None = None) -> torch.Tensor:
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        loaded = PeftModel.from_pretrained(loaded, lora) if lora else loaded
        with torch.inference_mode():
            return loaded.eval()(ids).logits

    truth = logits(model, adapter)
    gaps = {name: (logits(target) - truth).abs() for name, target in targets.items()}
    return {name: (float(gap.max()), float(gap.mean())) for name, gap in gaps.items()}


def best_of(repeats: int, name: str, model: Path, adapter: Path, target: Path) -> dict[str, float]:
    """The run with the least CPU time; each in a fresh process."""
    runs = []
    for _ in range(repeats):
        shutil.rmtree(target, ignore_errors=True)
        words = [sys.executable, __file__, "--contend", name, str(model), str(adapter), str(target)]
        here = str(Path(__file__).resolve().parent.parent)
        quiet = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": here}
        done = subprocess.run(words, env=quiet, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
    return min(runs, key=lambda run: run["cpu"])


def table(model: Path, repeats: int) -> None:
    """Run all contenders and print the table."""
    with tempfile.TemporaryDirectory(prefix="export-", dir=model.parent) as scratch:
        folder = Path(scratch)
        make_adapter(model, folder / "adapter")
        targets = {name: folder / name for name in CONTENDERS}
        taken = {name: best_of(repeats, name, model, folder / "adapter", targets[name]) for name in CONTENDERS}
        gaps = difference(model, folder / "adapter", {**targets, "float32": model_f32(model, folder)})
        record = json.loads((targets["studio"] / "export.json").read_text(encoding="utf-8"))
    print(f"{model.name}, random LoRA r=8 on all linear layers, one thread, best of {repeats}\n")
    print("| contender | s | CPU s | CPU s with imports | peak MB | above imports MB | max, mean logits difference |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, run in taken.items():
        largest, mean = gaps[name]
        print(
            f"| {CONTENDERS[name]} | {run['wall']:.2f} | {run['cpu']:.2f} | {run['total_cpu']:.2f} | {run['peak']:.0f} "
            f"| {run['peak'] - run['after_imports']:.0f} | {largest:.4f}, {mean:.5f} |"
        )
    largest, mean = gaps["float32"]
    print(f"| studio export as float32 | | | | | | {largest:.6f}, {mean:.7f} |")
    print(f"\nmoved {record['moved']:,} weights, {record['lost_share']:.1%} of them lost by the cast to bfloat16")


def model_f32(model: Path, folder: Path) -> Path:
    """The same export written as float32, where nothing is lost by a cast."""
    from studio.arguments.export import ExportArguments
    from studio.model.export import export

    asked = ExportArguments(infer_dtype="float32")
    return export(model, [folder / "adapter"], folder / "float32", asked, say=lambda sentence: None).target


def main() -> None:
    """Read the command line; `--contend` is the child's."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/SmolLM2-135M-Instruct"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--contend", nargs=4, metavar=("NAME", "MODEL", "ADAPTER", "TARGET"))
    asked = parser.parse_args()
    if asked.contend:
        name, *paths = asked.contend
        print(json.dumps(contend(name, *map(Path, paths))))
    else:
        table(asked.model.resolve(), asked.repeats)


if __name__ == "__main__":
    main()
