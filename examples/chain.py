"""The whole chain on a real model: pt → sft → rm → ppo, and → dpo, → export → chat. Run it with `make demo-chain`.

A small English model learns to write Chinese reviews, and then good ones rather than bad ones. Every step is a command
that is shown before it runs. Each stage is measured before and after on rows that no stage learns from; the exit code
is 1 when a stage did not improve its measure. `--quick` makes a few steps each and judges nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROMPT = "下面是一条正面的评论："  # "The following is a positive review:"
# What the KL between the policy of ppo and the one it began with may be, in nats for a whole answer.
MOST_KL = 10.0
# How many new answers the policy is measured on, before ppo and after.
ANSWERS = 96
# How long the answers are that ppo learns on, in tokens, and those that the models are asked for at the end.
LENGTH = 12
ALL: dict[str, Any] = {
    "cutoff_len": 96,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 8,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "num_train_epochs": 1,
    "eval_strategy": "no",
    "save_strategy": "no",
    "overwrite_output_dir": True,
}
LORA = {"template": "chatml", "finetuning_type": "lora", "lora_rank": 16, "logging_steps": 5}
MEASURED = {"eval_on_start": True}
OWN: dict[str, dict[str, Any]] = {
    "pt": {"finetuning_type": "full", "learning_rate": "5e-5", "cutoff_len": 256, "per_device_train_batch_size": 4,
           "logging_steps": 5, **MEASURED},
    "sft": {**LORA, "learning_rate": "5e-4", **MEASURED},
    "rm": {**LORA, "learning_rate": "3e-4", "num_train_epochs": 2, **MEASURED},
    "dpo": {**LORA, "learning_rate": "3e-4", "num_train_epochs": 2, "precompute_ref_log_probs": True, **MEASURED},
    # Short answers, many of them: what a step learns must stand out from chance. With a KL coefficient of 0.2 it did
    # with one seed of two, with 0.1 with both, and with 0.05 at almost twice the KL.
    "ppo": {**LORA, "learning_rate": "1e-3", "lr_scheduler_type": "constant_with_warmup", "max_steps": 11,
            "per_device_train_batch_size": 16, "ppo_buffer_size": 3, "ppo_epochs": 2, "ppo_kl_coef": 0.1,
            "ppo_score_norm": True, "max_new_tokens": LENGTH, "max_eval_samples": ANSWERS, "logging_steps": 1,
            **MEASURED},
}  # fmt: skip
# How many texts pt learns from and is measured on, and how many pairs the others.
WHOLE, QUICK = ((40, 12), (255, 120)), ((16, 4), (16, 8))


@dataclass(frozen=True)
class Outcome:
    """What a stage was measured in, before and after, and whether that is better."""

    stage: str
    measure: str
    before: float
    after: float
    better: bool
    note: str = ""


class Chain:
    """The commands one after another, in one folder; what they took and what came out."""

    def __init__(self, folder: Path, model: str, *, quick: bool) -> None:
        self.folder, self.model, self.quick = folder, model, quick
        # Seconds by the clock and of the processors, by name.
        self.took: dict[str, float] = {}
        self.used: dict[str, float] = {}
        self.outcomes: list[Outcome] = []
        # What the model of a stage answers, by the stage's name.
        self.answers: dict[str, str] = {}

    def path(self, *names: str) -> str:
        """A path in the chain's folder, as short as it can be written."""
        whole = self.folder.joinpath(*names)
        return str(whole.relative_to(ROOT) if whole.is_relative_to(ROOT) else whole)

    def command(self, name: str, *words: str, shown: bool = True) -> str:
        """Run one command of the studio, show it and what it prints, take its time, and return what it printed."""
        print(f"\n$ {shlex.join(['studio', *words])}", flush=True)
        began, used = time.monotonic(), processor_s()
        done = subprocess.run(
            [sys.executable, "-m", "studio", *words],
            cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        self.took[name] = self.took.get(name, 0.0) + time.monotonic() - began
        self.used[name] = self.used.get(name, 0.0) + processor_s() - used
        if done.returncode:
            sys.exit(done.returncode)
        if shown:
            print(done.stdout.strip(), flush=True)
        return done.stdout.strip()

    def train(self, stage: str, model: str, rows: str, held_out: str = "", **more: Any) -> None:
        """One run of a stage, on rows and measured on others."""
        values = {
            "stage": stage, "model_name_or_path": model, "train_file": self.path("data", rows + ".jsonl"),
            **({"validation_file": self.path("data", held_out + ".jsonl")} if held_out else {}),
            **ALL, **OWN[stage], **more, **({"max_steps": 3} if self.quick else {}), "output_dir": self.path(stage),
        }  # fmt: skip
        self.command(stage, "train", *(f"--{name}={value}" for name, value in values.items()))

    def merge(self, run: str, name: str) -> str:
        """The adapter of a run in the weights of its base, as a model folder."""
        words = ["--model_name_or_path", self.path(run), "--export_dir", self.path(name)]
        self.command("export", "export", *words, "--overwrite_export_dir", "True")
        return self.path(name)

    def ask(self, stage: str, model: str) -> None:
        """Keep what the model of a stage writes, by the likeliest tokens, when a good review is asked of it."""
        self.answers[stage] = self.command(
            "chat", "chat", "--model_name_or_path", model, "--prompt", PROMPT, "--max_new_tokens", str(LENGTH),
            "--do_sample", "False",
        )  # fmt: skip

    def points(self, stage: str) -> list[dict[str, Any]]:
        """The curve of a stage's run."""
        return [json.loads(line) for line in (self.folder / stage / "progress.jsonl").read_text().splitlines()]

    def measured(self, stage: str, name: str) -> tuple[float, float]:
        """A measure of the held-out rows before the first step and after the last."""
        first = next(point for point in self.points(stage) if name in point)
        record = json.loads((self.folder / stage / "run.json").read_text())
        assert first["step"] == 0, "the first evaluation must come before the first step"
        return first[name], record["results"][name]


def main() -> int:
    """Run the chain; the exit code is that of the first command that fails, or 1 when a stage is not better."""
    parser = argparse.ArgumentParser(description="pt → sft → rm → ppo, and → dpo, → export → chat")
    parser.add_argument("--model", default="models/SmolLM2-135M-Instruct", help="the model that the chain begins with")
    parser.add_argument("--folder", type=Path, default=Path("saves/chain"), help="where everything goes")
    parser.add_argument("--quick", action="store_true", help="a few steps each, and nothing is judged")
    asked = parser.parse_args()
    if not (ROOT / asked.model).is_dir():
        subprocess.run([sys.executable, "-m", "studio.model.embedded"], cwd=ROOT, check=True)
    chain = Chain(ROOT / asked.folder, asked.model, quick=asked.quick)
    pairs = write_rows(chain.folder / "data", *(QUICK if asked.quick else WHOLE))
    learn(chain, pairs)
    return told(chain)


def write_rows(folder: Path, texts: tuple[int, int], pairs: tuple[int, int]) -> int:
    """Split the texts and the pairs into rows to learn from and rows held out; return how many pairs are held out."""
    folder.mkdir(parents=True, exist_ok=True)
    for source, counts, name in (("medical_qa_zh", texts, "texts"), ("sentiment_pairs_zh", pairs, "pairs")):
        rows = [json.loads(line) for line in (ROOT / "data" / f"{source}.jsonl").read_text("utf-8").splitlines()]
        rows = [row for row in rows if row.get("prompt", PROMPT) == PROMPT]  # of the pairs, the good reviews
        random.Random(0).shuffle(rows)
        parts = {"train": rows[: counts[0]], "held_out": rows[counts[0] : sum(counts)]}
        for part, chosen in parts.items():
            write_lines(folder / f"{name}_{part}.jsonl", chosen)
            if name == "pairs":
                answers = ({"instruction": row["prompt"], "output": row["selected"]} for row in chosen)
                write_lines(folder / f"answers_{part}.jsonl", answers)
    return pairs[1]


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def learn(chain: Chain, pairs: int) -> None:
    """Every stage, each on the model of the one before, and what it was measured in."""
    chain.train("pt", chain.model, "texts_train", "texts_held_out")
    chain.train("sft", chain.path("pt"), "answers_train", "answers_held_out")
    for stage, of in (("pt", "Chinese texts"), ("sft", "reviews")):
        before, after = chain.measured(stage, "eval_loss")
        chain.outcomes.append(Outcome(stage, f"loss of held-out {of}", before, after, after < before))
    policy = chain.merge("sft", "sft_merged")
    chain.ask("sft", policy)
    chain.train("rm", policy, "pairs_train", "pairs_held_out")
    chain.train("dpo", policy, "pairs_train", "pairs_held_out")
    for stage in ("rm", "dpo"):
        before, after = chain.measured(stage, "eval_accuracy")
        if stage == "dpo":
            before = 0.5  # the policy is its own reference yet, so no pair is decided
        low, high = wilson(after, pairs)
        note = f"95 % interval {low:.3f} to {high:.3f}"
        measure = f"accuracy on {pairs} held-out pairs"
        chain.outcomes.append(Outcome(stage, measure, before, after, low > 0.5, note))
    more = {"reward_model": chain.path("rm"), "reward_model_type": "lora"}
    chain.train("ppo", policy, "answers_train", "answers_held_out", **more)
    chain.outcomes.append(rewarded(chain))
    for stage in ("ppo", "dpo"):
        chain.ask(stage, chain.merge(stage, f"{stage}_merged"))


def rewarded(chain: Chain) -> Outcome:
    """The mean reward of new answers; better is what chance does not explain, at a bounded KL."""
    before, after = chain.measured("ppo", "eval_reward")
    _, kl = chain.measured("ppo", "eval_kl")
    spreads = [point["reward_std"] for point in chain.points("ppo") if "reward_std" in point]
    least = 1.96 * math.hypot(spreads[0], spreads[-1]) / math.sqrt(ANSWERS)
    note = f"chance explains {least:.3f}; KL {kl:.2f}, at most {MOST_KL:g}"
    better = after - before > least and kl <= MOST_KL
    return Outcome("ppo", f"mean reward of {ANSWERS} new answers", before, after, better, note)


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share that was seen `count` times (Wilson, 1927)."""
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def processor_s() -> float:
    """Processor time of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def told(chain: Chain) -> int:
    """The table of the whole chain; 1 when a stage is not better."""
    print(f"\n{'stage':<7}{'measure':<33}{'before':>9}{'after':>9}  {'better':<7}{'seconds':>8}{'of CPU':>8}")
    for outcome in chain.outcomes:
        better = "yes" if outcome.better else "NO"
        line = f"{outcome.stage:<7}{outcome.measure:<33}{outcome.before:>9.3f}{outcome.after:>9.3f}  {better:<7}"
        times = f"{chain.took[outcome.stage]:>8.0f}{chain.used[outcome.stage]:>8.0f}"
        print(f"{line}{times}   {outcome.note}".rstrip())
    for name in ("export", "chat"):
        print(f"{name:<67}{chain.took[name]:>8.0f}{chain.used[name]:>8.0f}")
    print(f"{'all':<67}{sum(chain.took.values()):>8.0f}{sum(chain.used.values()):>8.0f}")
    print(f"\nThe likeliest {LENGTH} tokens after {PROMPT}")
    for stage, answer in chain.answers.items():
        print(f"{stage:<7}{' '.join(answer.split())}")
    print(f"\nEverything is in {chain.path()}.")
    worse = [outcome.stage for outcome in chain.outcomes if not outcome.better]
    if worse and not chain.quick:
        print(f"not better: {', '.join(worse)}; the chain failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
