"""Where the time of PPO goes: shares of writing, judging and learning, and tokens a second.

    python benchmarks/ppo.py [MODEL] [--steps 6] [--new 64] [--batch 4]

Trains an adapter for some steps in a workspace of its own, with the length of an answer as
the reward, and prints a table from the points of the curve. The first step, which warms up, is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
CITIES = ("Tokyo", "Paris", "Cairo", "Lima", "Oslo", "Rome", "Delhi", "Kyiv", "Quito", "Hanoi")
REWARD = "def brief(sample):\n    return -float(len(sample.answer_ids))\n"
PARTS = {"writing answers": "generation_s", "judging": "scoring_s", "learning": "update_s"}


def main() -> None:
    """Run it and print the table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("model", nargs="?", default=str(HERE / "models" / "SmolLM2-135M-Instruct"))
    asked.add_argument("--steps", type=int, default=6)
    asked.add_argument("--new", type=int, default=64)
    asked.add_argument("--batch", type=int, default=4)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        points = run(Path(folder), given)
    print(table(points, given))


def run(root: Path, given: argparse.Namespace) -> list[dict[str, float]]:
    """The points of a run, one a step."""
    (root / "data").mkdir()
    rows = [{"instruction": f"Tell me three things about {city}.", "output": "-"} for city in CITIES]
    (root / "data" / "questions.json").write_text(json.dumps(rows))
    (root / "dataset_info.json").write_text(json.dumps({"questions": {"file_name": "questions.json"}}))
    (root / "rewards.py").write_text(REWARD)
    words = {
        "stage": "ppo", "model_name_or_path": given.model, "dataset": "questions", "output_dir": "saves/run",
        "reward_function": "rewards.py:brief", "max_new_tokens": given.new, "max_steps": given.steps,
        "per_device_train_batch_size": given.batch, "ppo_buffer_size": 2, "logging_steps": 1, "save_strategy": "no",
    }  # fmt: skip
    command = [sys.executable, "-m", "studio", "train", *[f"--{name}={value}" for name, value in words.items()]]
    environment = {**os.environ, "PYTHONPATH": str(HERE), "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)
    lines = (root / "saves" / "run" / "progress.jsonl").read_text().splitlines()
    return [point for point in map(json.loads, lines) if point.get("loss") is not None]


def table(points: list[dict[str, float]], given: argparse.Namespace) -> str:
    """Seconds and shares of each part of a step, and what comes of it."""
    measured = points[1:] or points
    seconds = {part: sum(point[name] for point in measured) / len(measured) for part, name in PARTS.items()}
    whole = sum(seconds.values())
    answers = 2 * given.batch
    written = answers * sum(point["response_length"] for point in measured) / len(measured)
    lines = [f"{Path(given.model).name}: {answers} answers of up to {given.new} tokens a step, 4 epochs, mean of "
             f"{len(measured)} steps", "", "| part | seconds a step | share |", "|---|---:|---:|"]  # fmt: skip
    lines += [f"| {part} | {spent:.2f} | {spent / whole:.0%} |" for part, spent in seconds.items()]
    lines += ["", f"written: {written / seconds['writing answers']:,.0f} tokens/s; whole step: {written / whole:,.0f} "
              "answer tokens/s"]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
