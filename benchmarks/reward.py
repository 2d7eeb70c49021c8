"""A reward model on the CPU, one thread: studio, plain trl and the incumbent side by side in one run.

    python benchmarks/reward.py --incumbent /path/to/its/venv

Same model in float32, same pairs, template, cutoff, batch, accumulation, rate, LoRA. Pairs and real tokens
(padding not counted) per CPU second of the loop, and the peak memory of the whole program. Each runs in a fresh
process, started by `probe.py`; they take turns. See README.md.
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

from train_speed import EQUAL, JOB, SYSTEM, TOP, Place, Result, best, flags, json_lines

STAGE: dict[str, Any] = {**JOB, "stage": "rm", "finetuning_type": "lora", "dataset": "pairs"}


def studio(place: Place, out: Path) -> list[str]:
    """`studio train --stage rm` with every setting named."""
    settings = {
        **STAGE, **EQUAL, "dataset_dir": str(place.folder), "model_name_or_path": str(place.model_float32),
        "output_dir": str(out), "gradient_checkpointing": False,
    }  # fmt: skip
    del settings["packing"]
    return [sys.executable, "studio", "train", "--workspace", str(place.folder), *flags(settings)]


def plain_trl(place: Place, out: Path) -> list[str]:
    """The script beside this one."""
    rows = str(place.folder / "plain.jsonl")
    settings = {"model": str(place.model_float32), "plain_rows": rows, "output_dir": str(out), **JOB}
    path = place.folder / f"{out.name}.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return [sys.executable, str(Path(__file__).with_name("plain_reward.py")), str(path)]


def incumbent(place: Place, out: Path) -> list[str]:
    """The incumbent's own command, with the template that is the model's own."""
    settings = {
        **STAGE, **EQUAL, "do_train": True, "template": "smollm2", "dataset_dir": str(place.folder),
        "output_dir": str(out), "model_name_or_path": str(place.model_float32), "report_to": "none",
        "include_num_input_tokens_seen": True, "disable_gradient_checkpointing": True,
    }  # fmt: skip
    return [str(place.incumbent), "llamafactory.cli", "train", *flags(settings)]


def prepare(folder: Path, model: Path, dataset: Path, count: int, venv: str) -> Place:
    """Choose pairs with one question that fit the cutoff whole, count their tokens, cast the model to float32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows, plain, tokens = [], [], 0
    for row in json_lines(dataset):
        question = [{"role": "system", "content": SYSTEM}, *row["prompt"]]
        sides = [[*question, {"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")]
        sizes = [len(tokenizer.apply_chat_template(side, return_dict=False)) for side in sides]
        if len(rows) == count or len(row["prompt"]) != 1 or max(sizes) > JOB["cutoff_len"]:
            continue
        answers = {side: {"from": "gpt", "value": row[side]} for side in ("chosen", "rejected")}
        asked = [{"from": "human", "value": row["prompt"][0]["content"]}]
        rows.append({"conversations": asked, "system": SYSTEM, **answers})
        plain.append({"chosen": sides[0], "rejected": sides[1]})
        tokens += sum(sizes)
    for name, lines in (("pairs.jsonl", rows), ("plain.jsonl", plain)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "system": "system"}
    entry = {"file_name": "pairs.jsonl", "formatting": "sharegpt", "ranking": True, "columns": columns}
    (folder / "dataset_info.json").write_text(json.dumps({"pairs": entry}), "utf-8")
    wide = folder / "model-float32"
    AutoModelForCausalLM.from_pretrained(model, dtype="float32").save_pretrained(wide)
    tokenizer.save_pretrained(wide)
    print(f"{len(rows)} pairs, {tokens} real tokens, {folder}")
    python = Path(venv) / "bin" / "python" if venv else None
    return Place(folder, model, wide, folder / "pairs.jsonl", tokens, False, python)


def show(results: dict[str, Result], pairs: int) -> None:
    """The table, and studio's rate over each other's."""
    heads = ("steps", "CPU s", "pairs/CPU s", "real tok/CPU s", "peak MB")
    print(f"\n{'':<12}" + "".join(f"{head:>16}" for head in heads) + "  loss first -> last")
    for one in results.values():
        cells = (str(one.steps), f"{one.cpu_s:.1f}", f"{pairs / one.cpu_s:.3f}", f"{one.per_cpu_s:.1f}",
                 f"{one.rss_mb:.0f}")  # fmt: skip
        losses = f"  {one.losses[0]:.4f} -> {one.losses[1]:.4f}"
        print(f"{one.name:<12}" + "".join(f"{cell:>16}" for cell in cells) + losses)
    ours = results.get("studio")
    for other in results.values():
        if ours is not None and other is not ours:
            print(
                f"studio over {other.name}: {ours.per_cpu_s / other.per_cpu_s:.2f} times the rate, "
                f"{ours.rss_mb / other.rss_mb:.2f} times the memory"
            )


def main() -> None:
    """Read the options, run the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--incumbent", default=os.environ.get("STUDIO_INCUMBENT", ""), help="its venv")
    parser.add_argument("--model", default=TOP / "models" / "SmolLM2-135M-Instruct", type=Path)
    parser.add_argument("--dataset", default=TOP / "data" / "oasst_pairs_en.jsonl", type=Path)
    parser.add_argument("--pairs", default=16, type=int)
    parser.add_argument("--repeats", default=1, type=int, help="the repeat with the least CPU time counts")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="reward-"))
    place = prepare(folder, options.model.resolve(), options.dataset, options.pairs, options.incumbent)
    runs: dict[str, Callable[[Path], list[str]]] = {
        "plain trl": lambda out: plain_trl(place, out),
        "studio": lambda out: studio(place, out),
    }
    if place.incumbent:
        runs = {"incumbent": lambda out: incumbent(place, out), **runs}
    else:
        print("no incumbent: name its venv with --incumbent or STUDIO_INCUMBENT (README.md says how)")
    show(best(place, options.repeats, runs), options.pairs)


if __name__ == "__main__":
    main()
