"""LoRA training on the CPU, one thread: studio, the incumbent and plain trl side by side in one run.

    python benchmarks/train_speed.py --incumbent /path/to/its/venv

Same model, rows, template, cutoff, batch, accumulation, rate, epochs. Two tables: (a) every setting
equal, in float32; (b) only the job is named and each program keeps its own defaults, and studio
again with packing. Each program runs in a fresh process, started by `probe.py`. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent
TOP = BENCHMARKS.parent
JOB: dict[str, Any] = {
    "cutoff_len": 512,
    "learning_rate": 1e-4,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 4,
    "lora_rank": 8,
    "lora_alpha": 16,
    "logging_steps": 1,
    "save_strategy": "no",
}
# Said in every row: the system prompts that the contenders would put in by themselves differ.
SYSTEM = "You are a helpful assistant."
EQUAL: dict[str, Any] = {
    "lr_scheduler_type": "linear",
    "optim": "adamw_torch",
    "warmup_steps": 0,
    "bf16": False,
    "packing": False,
    "seed": 42,
}


@dataclass(frozen=True)
class Place:
    """What every contender starts from: the folder of this run, the models, the rows."""

    folder: Path
    model: Path
    model_float32: Path
    rows: Path
    tokens: int
    checkpointing: bool
    incumbent: Path | None


@dataclass(frozen=True)
class Result:
    """One run: the training part from the start of its loop to the end of its last step."""

    name: str
    steps: int
    cpu_s: float
    wall_s: float
    tokens: int
    reported: str
    rss_mb: float
    losses: tuple[float, float]

    @property
    def per_cpu_s(self) -> float:
        """Real tokens, padding not counted, per CPU second."""
        return self.tokens / self.cpu_s


def flags(settings: dict[str, Any]) -> list[str]:
    """Settings as the flags of a command."""
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def studio(place: Place, out: Path, *, equal: bool, **more: Any) -> list[str]:
    """`studio train`, in float32 with all settings equal, or with its own choices."""
    settings = {
        **{"stage": "sft", "finetuning_type": "lora", "dataset": "rows", "dataset_dir": str(place.folder)},
        **{"model_name_or_path": str(place.model_float32 if equal else place.model)},
        **{"output_dir": str(out), **JOB, **more},
    }
    if equal:
        settings |= {**EQUAL, "gradient_checkpointing": place.checkpointing}
    return [sys.executable, "studio", "train", "--workspace", str(place.folder), *flags(settings)]


def incumbent(place: Place, out: Path, *, equal: bool) -> list[str]:
    """The incumbent's own command, with the template that is the model's own."""
    settings = {
        **{"stage": "sft", "do_train": True, "finetuning_type": "lora", "template": "smollm2"},
        **{"dataset": "rows", "dataset_dir": str(place.folder), "output_dir": str(out)},
        **{"model_name_or_path": str(place.model_float32 if equal else place.model)},
        **{"report_to": "none", "include_num_input_tokens_seen": True, **JOB},
    }
    if equal:
        settings |= {**EQUAL, "disable_gradient_checkpointing": not place.checkpointing}
    return [str(place.incumbent), "llamafactory.cli", "train", *flags(settings)]


def plain_trl(place: Place, out: Path) -> list[str]:
    """The script beside this one."""
    settings = {"model": str(place.model_float32), "rows": str(place.rows), "output_dir": str(out), **JOB}
    path = place.folder / f"{out.name}.json"
    path.write_text(json.dumps(settings | {"gradient_checkpointing": place.checkpointing}), encoding="utf-8")
    return [sys.executable, str(BENCHMARKS / "plain_trl.py"), str(path)]


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file; none when it is not there."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def run(place: Place, name: str, command: Callable[[Path], list[str]]) -> Result | None:
    """Run one contender and read what it left; None, with a line, when it failed."""
    out = place.folder / f"out-{name.replace(' ', '-')}"
    shutil.rmtree(out, ignore_errors=True)
    steps_file, log = out.with_suffix(".steps"), out.with_suffix(".log")
    steps_file.unlink(missing_ok=True)
    python, *arguments = command(out)
    argv = [python, str(BENCHMARKS / "probe.py"), str(steps_file), *arguments]
    one_thread = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"}
    environment = os.environ | one_thread | {"HF_HUB_OFFLINE": "1", "HOME": str(place.folder / "home")}
    if "studio" in arguments[:1]:
        environment["PYTHONPATH"] = str(TOP)
    with log.open("wb") as said:
        running = subprocess.Popen(argv, cwd=place.folder, env=environment, stdout=said, stderr=said)
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    points = json_lines(out / "progress.jsonl") or json_lines(out / "trainer_log.jsonl")
    losses = [point["loss"] for point in points if "loss" in point]
    steps = json_lines(steps_file)
    if running.returncode or not losses or len(steps) < 2:
        print(f"{name}: ended with {running.returncode} and {len(losses)} losses; its log is {log}")
        return None
    speeds = [point.get("tokens_per_s") or point.get("throughput") for point in points]
    reported = next((f"{speed:.0f}" for speed in reversed(speeds) if speed), "-")
    cpu, wall = (steps[-1][clock] - steps[0][clock] for clock in ("cpu_s", "wall_s"))
    rss_mb = used.ru_maxrss / 1024
    return Result(name, steps[-1]["step"], cpu, wall, place.tokens, reported, rss_mb, (losses[0], losses[-1]))


def best(place: Place, repeats: int, runs: dict[str, Callable[[Path], list[str]]]) -> dict[str, Result]:
    """The repeat with the least CPU time of each contender; they take turns."""
    found: dict[str, Result] = {}
    for _ in range(repeats):
        for name, command in runs.items():
            result = run(place, name, command)
            if result and (name not in found or result.cpu_s < found[name].cpu_s):
                found[name] = result
    return found


def show(title: str, results: dict[str, Result]) -> None:
    """One table, and studio's rate over each other's."""
    print(f"\n{title}")
    heads = ("steps", "CPU s", "real tok/CPU s", "real tok/s", "reported", "peak MB", "loss first -> last")
    print(f"{'':<18}" + "".join(f"{head:>16}" for head in heads[:-1]) + f"  {heads[-1]}")
    for one in results.values():
        cells = (
            *(f"{one.steps}", f"{one.cpu_s:.1f}", f"{one.per_cpu_s:.1f}"),
            *(f"{one.tokens / one.wall_s:.1f}", one.reported, f"{one.rss_mb:.0f}"),
        )
        losses = f"  {one.losses[0]:.4f} -> {one.losses[1]:.4f}"
        print(f"{one.name:<18}" + "".join(f"{cell:>16}" for cell in cells) + losses)
    for ours in (one for name, one in results.items() if name.startswith("studio")):
        for other in (one for name, one in results.items() if not name.startswith("studio")):
            print(f"{ours.name} over {other.name}: {ours.per_cpu_s / other.per_cpu_s:.2f} times")


def prepare(folder: Path, model: Path, dataset: Path, count: int, options: argparse.Namespace) -> Place:
    """Choose rows that fit the cutoff whole, count their tokens, and cast the model to float32 once."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(model)
    chosen: list[dict[str, str]] = []
    tokens = 0
    for row in json_lines(dataset):
        question = row["instruction"] + (f"\n{row['input']}" if row.get("input") else "")
        turns = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": question},
            {"role": "assistant", "content": row["output"]},
        ]
        length = len(tokenizer.apply_chat_template(turns, return_dict=False))
        if len(chosen) < count and length <= JOB["cutoff_len"]:
            chosen.append({**row, "system": SYSTEM})
            tokens += length
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    columns = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}
    registry = {"rows": {"file_name": rows.name, "columns": columns}}
    (folder / "dataset_info.json").write_text(json.dumps(registry), "utf-8")
    wide = folder / "model-float32"
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    loaded.save_pretrained(wide)
    tokenizer.save_pretrained(wide)
    print(f"{len(chosen)} rows, {tokens} real tokens, {folder}")
    venv = options.incumbent and Path(options.incumbent) / "bin" / "python"
    return Place(folder, model, wide, rows, tokens, options.gradient_checkpointing, venv)


def main() -> None:
    """Read the options, run both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--incumbent", default=os.environ.get("STUDIO_INCUMBENT", ""), help="its venv")
    parser.add_argument("--model", default=TOP / "models" / "SmolLM2-135M-Instruct", type=Path)
    parser.add_argument("--dataset", default=TOP / "data" / "alpaca_en_demo.jsonl", type=Path)
    parser.add_argument("--rows", default=32, type=int)
    parser.add_argument("--repeats", default=1, type=int, help="the repeat with the least CPU time counts")
    parser.add_argument("--gradient_checkpointing", action="store_true", help="on for all in table (a)")
    parser.add_argument("--only", default="ab", choices=("a", "b", "ab"))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="train-speed-"))
    place = prepare(folder, options.model.resolve(), options.dataset, options.rows, options)
    runs_a: dict[str, Callable[[Path], list[str]]] = {
        "plain trl": lambda out: plain_trl(place, out),
        "studio": lambda out: studio(place, out, equal=True),
    }
    runs_b: dict[str, Callable[[Path], list[str]]] = {
        "studio, 2 x 4 rows": lambda out: studio(place, out, equal=False),
        # The same 8 rows a step in one pass, which is its default: nothing is padded, so nothing is wasted.
        "studio, 8 rows": lambda out: studio(
            place, out, equal=False, per_device_train_batch_size=8, gradient_accumulation_steps=1
        ),
        "studio packed": lambda out: studio(place, out, equal=False, packing=True),
    }
    if place.incumbent:
        runs_a = {"incumbent": lambda out: incumbent(place, out, equal=True), **runs_a}
        runs_b = {"incumbent": lambda out: incumbent(place, out, equal=False), **runs_b}
    else:
        print("no incumbent: name its venv with --incumbent or STUDIO_INCUMBENT (README.md says how)")
    if "a" in options.only:
        show("(a) equal settings, float32", best(place, options.repeats, runs_a))
    if "b" in options.only:
        show("(b) each program's own choices", best(place, options.repeats, runs_b))


if __name__ == "__main__":
    main()
