"""What goes wrong in learning from rewards without failing, each with the rule that tells it.

kl_blowup       the mean KL of an answer over the last 5 steps is above 3 times ppo_target
length_hacking  over the last 10 steps answers are half as long again as in the first 10, and within a step the
                longer ones get the higher scores (correlation above 0.3)
value_collapse  after 30 steps, the value head explains the returns worse than their mean does: explained variance
                below -0.2 over the last 10 steps
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FEW, MANY, LATE = 5, 10, 30
KL_TIMES, LONGER, TOGETHER, WORTHLESS = 3.0, 1.5, 0.3, -0.2
# Steps in which an alarm that was raised is not raised again.
QUIET = 20

SENTENCES = {
    "kl_blowup": "the answers have left the reference far behind (mean KL {kl:.1f}, ppo_target {target:g}): raise "
    "--ppo_kl_coef, lower --learning_rate, or end the epochs of a step early with --ppo_target_kl",
    "length_hacking": "answers grow ({first:.0f} tokens at first, {length:.0f} now) and the longer ones are rewarded: "
    "look whether they are better, limit --max_new_tokens, or give --ppo_missing_end_penalty",
    "value_collapse": "the value head says less about the returns than their mean does (explained variance "
    "{explained:.2f}): lower --ppo_value_learning_rate or raise --ppo_clip_range_value",
}


class Alarms:
    """Looks at the numbers of each step; what it has seen goes into a checkpoint."""

    def __init__(self, target: float) -> None:
        self.target = target
        self.steps = 0
        self.first: list[float] = []
        self.recent: dict[str, list[float]] = {name: [] for name in ("kl", "length", "together", "explained")}
        self.raised: dict[str, int] = {}

    def look(self, seen: Mapping[str, float]) -> dict[str, str]:
        """The alarms that a step raises, each with its sentence; `seen` has kl, length, together and explained."""
        self.steps += 1
        if len(self.first) < MANY:
            self.first.append(seen["length"])
        for name, kept in self.recent.items():
            self.recent[name] = [*kept, seen[name]][-MANY:]
        told = {
            "kl": _mean(self.recent["kl"][-FEW:]), "target": self.target, "first": _mean(self.first),
            "length": _mean(self.recent["length"]), "explained": _mean(self.recent["explained"]),
        }  # fmt: skip
        holds = {
            "kl_blowup": self.steps >= FEW and told["kl"] > KL_TIMES * self.target,
            "length_hacking": self.steps >= 2 * MANY
            and told["length"] > LONGER * told["first"]
            and _mean(self.recent["together"]) > TOGETHER,
            "value_collapse": self.steps >= LATE and told["explained"] < WORTHLESS,
        }
        due = [name for name, there in holds.items() if there and self.steps - self.raised.get(name, -QUIET) >= QUIET]
        self.raised |= dict.fromkeys(due, self.steps)
        return {name: SENTENCES[name].format(**told) for name in due}

    def state(self) -> dict[str, Any]:
        """As plain values."""
        return {"steps": self.steps, "first": self.first, "recent": self.recent, "raised": self.raised}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.steps, self.first = state["steps"], list(state["first"])
        self.recent = {name: list(values) for name, values in state["recent"].items()}
        self.raised = dict(state["raised"])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
