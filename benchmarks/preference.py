"""DPO with LoRA on the CPU, one thread: studio, plain trl and the incumbent side by side in one run.

    python benchmarks/preference.py --incumbent /path/to/its/venv

Same model, pairs, template, cutoff, batch, accumulation, rate. Two tables: (a) the same job, activations
recomputed by all, as the incumbent does by itself; (b) a DPO step of the studio with the reference asked
once beside an SFT step of the studio on the same tokens. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from train_speed import BENCHMARKS, EQUAL, SYSTEM, TOP, Place, Result, best, flags

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
COMMON = {**EQUAL, "packing": False}
Command = Callable[[Path], list[str]]


def studio(place: Place, out: Path, model: Path, **more: Any) -> list[str]:
    """`studio train` on the pairs, or on their answers one by one."""
    settings = {
        **{"finetuning_type": "lora", "dataset_dir": str(place.folder), "model_name_or_path": str(model)},
        **{"output_dir": str(out), **JOB, **COMMON, **more},
    }
    asked = {name: value for name, value in settings.items() if value is not None}
    return [sys.executable, "studio", "train", "--workspace", str(place.folder), *flags(asked)]


def incumbent(place: Place, out: Path, model: Path) -> list[str]:
    """The incumbent's own command, with the template that is the model's own."""
    settings = {
        **{"stage": "dpo", "do_train": True, "finetuning_type": "lora", "template": "smollm2", "pref_loss": "sigmoid"},
        **{"dataset": "pairs", "dataset_dir": str(place.folder), "output_dir": str(out)},
        **{"model_name_or_path": str(model), "report_to": "none", **JOB, **COMMON},
        **{"disable_gradient_checkpointing": not place.checkpointing},
    }
    return [str(place.incumbent), "llamafactory.cli", "train", *flags(settings)]


def plain_trl(place: Place, out: Path, model: Path) -> list[str]:
    """The script beside this one."""
    settings = {"model": str(model), "rows": str(place.rows), "output_dir": str(out), "bf16": False, **JOB}
    path = place.folder / f"{out.name}.json"
    path.write_text(json.dumps(settings | {"gradient_checkpointing": place.checkpointing}), encoding="utf-8")
    return [sys.executable, str(BENCHMARKS / "plain_trl_dpo.py"), str(path)]


def show(title: str, results: dict[str, Result], pairs: int) -> None:
    """One table, and studio's rate and memory beside each other's."""
    print(f"\n{title}")
    heads = ("steps", "CPU s", "pairs/CPU s", "tok/CPU s", "tok/s", "peak MB", "loss first -> last")
    print(f"{'':<28}" + "".join(f"{head:>12}" for head in heads[:-1]) + f"  {heads[-1]}")
    for one in results.values():
        cells = (
            *(f"{one.steps}", f"{one.cpu_s:.1f}", f"{pairs / one.cpu_s:.3f}", f"{one.per_cpu_s:.1f}"),
            *(f"{one.tokens / one.wall_s:.1f}", f"{one.rss_mb:.0f}"),
        )
        losses = f"  {one.losses[0]:.4f} -> {one.losses[1]:.4f}"
        print(f"{one.name:<28}" + "".join(f"{cell:>12}" for cell in cells) + losses)
    for ours in (one for name, one in results.items() if name.startswith("studio")):
        for other in (one for name, one in results.items() if not name.startswith("studio")):
            print(f"{ours.name} beside {other.name}: {other.cpu_s / ours.cpu_s:.2f} times as fast, "
                  f"{ours.rss_mb / other.rss_mb:.2f} of its memory")  # fmt: skip


def prepare(folder: Path, options: argparse.Namespace) -> tuple[Place, int]:
    """Choose pairs whose answers both fit the cutoff whole, count their tokens, and write them in three forms."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = options.model.resolve()
    tokenizer = AutoTokenizer.from_pretrained(model)
    chosen: list[dict[str, Any]] = []
    tokens = 0
    for row in json.loads(options.dataset.read_text("utf-8")):
        roles = {"human": "user", "gpt": "assistant"}
        if any(turn["from"] not in roles for turn in row["conversations"]):
            continue  # it has a system prompt of its own
        turns = [{"role": roles[turn["from"]], "content": turn["value"]} for turn in row["conversations"]]
        prompt = [{"role": "system", "content": SYSTEM}, *turns]
        sides = {side: [{"role": "assistant", "content": row[side]["value"]}] for side in ("chosen", "rejected")}
        lengths = [len(tokenizer.apply_chat_template(prompt + side, return_dict=False)) for side in sides.values()]
        if len(chosen) < options.pairs and max(lengths) <= JOB["cutoff_len"]:
            chosen.append({"prompt": prompt, **sides, "system": SYSTEM, "row": row})
            tokens += sum(lengths)
    lines = {
        "rows.jsonl": [{name: pair[name] for name in ("prompt", "chosen", "rejected")} for pair in chosen],
        "pairs.jsonl": [{**pair["row"], "system": SYSTEM} for pair in chosen],
        "answers.jsonl": [
            {"messages": pair["prompt"] + pair[side]} for pair in chosen for side in ("chosen", "rejected")
        ],
    }
    for name, objects in lines.items():
        (folder / name).write_text("".join(json.dumps(each) + "\n" for each in objects), encoding="utf-8")
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "system": "system"}
    registry = {
        "pairs": {"file_name": "pairs.jsonl", "ranking": True, "formatting": "sharegpt", "columns": columns},
        "answers": {"file_name": "answers.jsonl", "formatting": "openai", "columns": {"messages": "messages"}},
    }
    (folder / "dataset_info.json").write_text(json.dumps(registry), "utf-8")
    wide = folder / "model-float32"
    AutoModelForCausalLM.from_pretrained(model, dtype="float32").save_pretrained(wide)
    tokenizer.save_pretrained(wide)
    print(f"{len(chosen)} pairs, {tokens} real tokens, {folder}")
    venv = options.incumbent and Path(options.incumbent) / "bin" / "python"
    return Place(folder, model, wide, folder / "rows.jsonl", tokens, True, venv), len(chosen)


def main() -> None:
    """Read the options, run both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--incumbent", default=os.environ.get("STUDIO_INCUMBENT", ""), help="its venv")
    parser.add_argument("--model", default=TOP / "models" / "SmolLM2-135M-Instruct", type=Path)
    parser.add_argument("--dataset", default=TOP / "data" / "dpo_en.json", type=Path)
    parser.add_argument("--pairs", default=16, type=int)
    parser.add_argument("--repeats", default=1, type=int, help="the repeat with the least CPU time counts")
    parser.add_argument("--only", default="ab", choices=("a", "b", "ab"))
    options = parser.parse_args()
    place, pairs = prepare(Path(tempfile.mkdtemp(prefix="preference-")), options)
    dpo = {"stage": "dpo", "dataset": "pairs", "gradient_checkpointing": True}
    runs: dict[str, Command] = {
        "plain trl": lambda out: plain_trl(place, out, place.model_float32),
        "studio, float32": lambda out: studio(place, out, place.model_float32, **dpo),
        "studio, its own precision": lambda out: studio(place, out, place.model, **{**dpo, "bf16": None}),
    }
    if place.incumbent:
        runs = {"incumbent": lambda out: incumbent(place, out, place.model), **runs}
    else:
        print("no incumbent: name its venv with --incumbent or STUDIO_INCUMBENT (README.md says how)")
    if "a" in options.only:
        show("(a) the same job", best(place, options.repeats, runs), pairs)
    # As many tokens in each micro-batch: two pairs are four answers.
    sft = {"stage": "sft", "dataset": "answers", "per_device_train_batch_size": 4, "mask_history": True}
    once = {"stage": "dpo", "dataset": "pairs", "precompute_ref_log_probs": True}
    steps: dict[str, Command] = {
        "sft": lambda out: studio(place, out, place.model_float32, **sft),
        "dpo, reference asked once": lambda out: studio(place, out, place.model_float32, **once),
        "dpo, reference each step": lambda out: studio(
            place, out, place.model_float32, **{**once, "precompute_ref_log_probs": False}
        ),
    }
    if "b" in options.only:
        found = best(place, options.repeats, steps)
        show("(b) a step on the same tokens, float32, nothing recomputed", found, pairs)
        for name, one in found.items():
            print(f"{name}: {one.cpu_s / found['sft'].cpu_s:.2f} of an SFT step")


if __name__ == "__main__":
    main()
