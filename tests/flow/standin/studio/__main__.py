"""A trainer without weights: it holds its folder, takes steps, saves, goes on, and does what it is told to.

train --output_dir DIR --steps N --step_s S --children N --deaf --dies CODE --says WORDS --escapes
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

SAVE_EVERY = 5


def main() -> int:
    asked = read(sys.argv[2:])
    folder = Path(asked.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "starts.txt").open("a") as out:
        out.write(f"{os.getpid()} attempt\n")
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.stderr.write("the folder is in use\n")
            return 3
        return learn(folder, asked)


def read(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--step_s", type=float, default=0.02)
    parser.add_argument("--children", type=int, default=0)
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--dies", type=int, default=0)
    parser.add_argument("--says", default="")
    parser.add_argument("--escapes", action="store_true")
    return parser.parse_args(words)


def learn(folder: Path, asked: argparse.Namespace) -> int:
    stop = []

    def note(number: int, _frame: FrameType | None) -> None:
        stop.append(number)

    signal.signal(signal.SIGTERM, signal.SIG_IGN if asked.deaf else note)
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    for _ in range(asked.children):
        subprocess.Popen(sleeper)
    if asked.escapes:
        subprocess.Popen(sleeper, start_new_session=True)
    begun = saved(folder)
    path = folder / "progress.jsonl"
    lines = path.read_text().splitlines(keepends=True) if begun else []
    part = folder / "progress.jsonl.part"
    part.write_text("".join(line for line in lines if line.endswith("}\n") and json.loads(line)["step"] <= begun))
    part.rename(path)
    with path.open("a") as curve:
        for step in range(begun + 1, asked.steps + 1):
            time.sleep(asked.step_s)
            curve.write(json.dumps({"step": step, "total_steps": asked.steps, "loss": 1 / step}) + "\n")
            curve.flush()
            if step % SAVE_EVERY == 0 or stop:
                save(folder, step)
            if stop:
                sys.stdout.write(f"stopped at step {step}\n")
                return 14
    if asked.says:
        sys.stderr.write(asked.says + "\n")
    return asked.dies


def saved(folder: Path) -> int:
    try:
        return int(json.loads((folder / "checkpoint.json").read_text())["step"])
    except FileNotFoundError:
        return 0


def save(folder: Path, step: int) -> None:
    part = folder / "checkpoint.json.part"
    part.write_text(json.dumps({"step": step}))
    part.rename(folder / "checkpoint.json")


if __name__ == "__main__":
    sys.exit(main())
