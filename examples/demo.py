"""The main job on a real model: tune, merge, ask before and after. Run it with `make demo`.

Every step is a command that is shown before it runs, so that it can be typed by hand as well.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = "models/SmolLM2-135M-Instruct"
RUN = "saves/SmolLM2-135M-Instruct/lora/demo"
MERGED = "models/SmolLM2-135M-demo"
QUESTION = "Who are you?"
TRAIN = {
    "stage": "sft",
    "model_name_or_path": MODEL,
    "dataset": "identity_demo",
    "cutoff_len": 256,
    "finetuning_type": "lora",
    "lora_rank": 16,
    "learning_rate": "5e-4",
    "num_train_epochs": 3,
    "per_device_train_batch_size": 8,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "logging_steps": 5,
    "plot_loss": True,
    "output_dir": RUN,
    "overwrite_output_dir": True,
}


def main() -> int:
    """Run the steps; the exit code is that of the first one that fails."""
    took: dict[str, float] = {}
    step(took, "unpack the model", "-m", "studio.model.embedded", shown=False)
    before = step(took, "ask the base", *ask(MODEL))
    step(took, "train", "-m", "studio", "train", *(f"--{name}={value}" for name, value in TRAIN.items()))
    step(took, "merge", "-m", "studio", "export", "--model_name_or_path", RUN, "--export_dir", MERGED,
         "--overwrite_export_dir", "True")  # fmt: skip
    after = step(took, "ask the merged model", *ask(MERGED))
    points = [json.loads(line) for line in (ROOT / RUN / "progress.jsonl").read_text().splitlines()]
    print(f"\nQuestion:  {QUESTION}\nbefore:    {before}\nafter:     {after}\n")
    print(f"loss       {points[0]['loss']:.3f} → {points[-1]['loss']:.3f} in {points[-1]['step']} steps")
    each_s = points[-1]["elapsed_s"] / points[-1]["step"]
    print(f"speed      {points[-1]['tokens_per_s']:,.0f} tokens/s, {each_s:.1f} s a step")
    for name, seconds in took.items():
        print(f"{name:<22}{seconds:6.1f} s")
    print(f"{'all':<22}{sum(took.values()):6.1f} s\n\nThe run is in {RUN}, the merged model in {MERGED}.")
    if before == after:
        print("the tuned model answers as before: the demo failed")
        return 1
    return 0


def ask(model: str) -> list[str]:
    """The command that asks a model the question."""
    return ["-m", "studio", "chat", "--model_name_or_path", model, "--prompt", QUESTION, "--max_new_tokens", "48"]


def step(took: dict[str, float], name: str, *words: str, shown: bool = True) -> str:
    """Run one command in the repository, show it, take its time, and return what it printed."""
    plain = shlex.join(words[1:] if shown else ["python", *words])
    print(f"\n$ {plain}", flush=True)
    began = time.monotonic()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    took[name] = time.monotonic() - began
    if done.returncode:
        sys.exit(done.returncode)
    print(done.stdout.strip(), flush=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
