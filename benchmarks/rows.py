"""From a file to packed rows: the studio beside the incumbent, rows per CPU second on one core.

    python benchmarks/rows.py [--incumbent FOLDER] [--model FOLDER] [--rows N] [--cutoff N] [--repeats N]

Both read the same JSONL file of alpaca rows, write them with the same chat template, tokenise with the same
tokenizer and pack to the same length; neither has a kept result. One process and one thread each. CPU seconds are of
user and system, children included; imports and the loading of the tokenizer are outside. The best of each counts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

from studio.data.catalog import read_catalog
from studio.data.pack import pack
from studio.data.render import View
from studio.data.rows import prepare
from studio.model.templates import choose_template
from studio.model.tokenizer import open_tokenizer
from studio.workspace import Workspace

TARGET = 3.0
HERE = Path(__file__).resolve().parent
SOURCES = ("alpaca_en_demo.jsonl", "gsm8k_train.jsonl", "medical_zh_demo.jsonl", "idiom_zh.jsonl")
# The studio's own template of this name and the incumbent's are the same text.
TEMPLATE = "chatml"


def cpu_s() -> float:
    """CPU seconds of this process and its children, of user and system."""
    return sum(os.times()[:4])


def write_rows(folder: Path, count: int) -> None:
    """`count` different alpaca rows, English and Chinese, and the registry that names them."""
    found = []
    for name in SOURCES:
        for line in (HERE.parent / "data" / name).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            question, answer = row.get("instruction", row.get("question")), row.get("output", row.get("answer"))
            found.append({"instruction": question, "input": row.get("input", ""), "output": answer})
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as out:
        for number, row in enumerate(itertools.islice(itertools.cycle(found), count)):
            # No row is another one again, so that no cache of words helps anybody more than it does in life.
            told = {**row, "instruction": f"{number}. {row['instruction']}"}
            out.write(json.dumps(told, ensure_ascii=False) + "\n")
    (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.jsonl"}}))


def ours(folder: Path, model: Path, cutoff: int) -> dict[str, Any]:
    """Read, write out, tokenise, keep on disk and pack, in a workspace without a kept result."""
    with tempfile.TemporaryDirectory() as root:
        place = Workspace(Path(root))
        tokenizer = open_tokenizer(model, place.cache)
        template, _ = choose_template(TEMPLATE, tokenizer, place)
        tokenizer.fast.encode("warm")
        start, wall = cpu_s(), time.monotonic()
        entry = read_catalog(place, str(folder))["rows"]
        rows, report = prepare([entry], tokenizer, template, View(cutoff_len=cutoff), place)
        done = cpu_s()
        packs = pack(rows.lengths.tolist(), cutoff, 42)
        end = cpu_s()
        return {"read_s": 0.0, "tokenise_s": done - start, "pack_s": end - start, "wall_s": time.monotonic() - wall,
                "packs": len(packs), "tokens": report.total.tokens}  # fmt: skip


def theirs(incumbent: Path, folder: Path, model: Path, cutoff: int) -> dict[str, Any]:
    """The same in the incumbent's environment, with an empty home and no kept result."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HF_HOME": home, "HOME": home, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        environment |= {"DISABLE_VERSION_CHECK": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        words = [
            incumbent / "bin" / "python",
            HERE / "incumbent_rows.py",
            folder,
            model,
            cutoff,
            f"{home}/out",
            TEMPLATE,
        ]
        done = subprocess.run(list(map(str, words)), env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the incumbent failed:\n{done.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def line(name: str, count: int, best: dict[str, Any]) -> str:
    """One row of the table."""
    total = best["read_s"] + best["pack_s"]
    return (f"| {name} | {best['read_s']:.2f} | {best['pack_s']:.2f} | {count / best['pack_s']:,.0f} | "
            f"{count / total:,.0f} | {best['tokens']:,} | {best['packs']:,} |")  # fmt: skip


def main() -> None:
    """Print the table and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--incumbent", type=Path, default=os.environ.get("STUDIO_INCUMBENT"))
    parser.add_argument("--model", type=Path, default=HERE.parent / "models" / "SmolLM2-135M-Instruct")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--cutoff", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        folder, model = Path(root), asked.model.resolve()
        write_rows(folder, asked.rows)
        runs: dict[str, list[dict[str, Any]]] = {"studio": [], "incumbent": []}
        for _ in range(asked.repeats):
            runs["studio"].append(ours(folder, model, asked.cutoff))
            if asked.incumbent:
                runs["incumbent"].append(theirs(Path(asked.incumbent), folder, model, asked.cutoff))
    best = {name: min(each, key=lambda run: run["read_s"] + run["pack_s"]) for name, each in runs.items() if each}
    print("| | read CPU s | tokenise and pack CPU s | rows/CPU s of that | rows/CPU s in all | tokens | packs |")
    print("|---|---|---|---|---|---|---|")
    for name, run in best.items():
        print(line(name, asked.rows, run))
    mine = best["studio"]
    print(f"\nThe studio reads while it tokenises; of its {mine['pack_s']:.2f} s packing takes "
          f"{mine['pack_s'] - mine['tokenise_s']:.2f} s.")  # fmt: skip
    if "incumbent" not in best:
        print("--incumbent names no environment, so nothing is compared.")
        return
    other = best["incumbent"]
    whole = (other["read_s"] + other["pack_s"]) / mine["pack_s"]
    print(f"from file to packs: {whole:.2f} times the incumbent's rows/s; beside its tokenising and packing alone: "
          f"{other['pack_s'] / mine['pack_s']:.2f} times "
          f"(the mark is {TARGET:g})")  # fmt: skip


if __name__ == "__main__":
    main()
