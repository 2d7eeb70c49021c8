"""`studio eval harness`: named benchmarks through lm-eval, which is an optional extra."""

from __future__ import annotations

from collections.abc import Sequence

from studio.arguments.base import Arguments, Names, Text, arg
from studio.arguments.model import ModelArguments
from studio.works.base import WORKS, Work, WorkSet
from studio.works.measured import MeasuredArguments

# What people call them → what lm-eval calls them.
BENCHMARKS = {
    "mmlu": ("mmlu",),
    "ceval": ("ceval-valid",),
    "cmmlu": ("cmmlu",),
    "agieval": ("agieval",),
    "gaokao": tuple(
        f"agieval_gaokao_{subject}"
        for subject in ("biology", "chemistry", "chinese", "english", "geography", "history", "mathqa", "physics")
    ),
    "bbh": ("bbh",),
    "gsm8k": ("gsm8k",),
    "humaneval": ("humaneval",),
}


def code_complaint(tasks: Sequence[str]) -> str:
    """What is said of tasks that run programs, where that was not asked for."""
    return (
        f"--tasks {', '.join(tasks)}: runs programs that the model writes. Set --allow_code_execution True where they "
        "can do no harm, such as in a container, or leave it out."
    )


class HarnessArguments(Arguments):
    """Which benchmarks, and how they are asked."""

    tasks: Names = arg((), level="basic")
    """Benchmarks: mmlu, ceval, cmmlu, agieval, gaokao, bbh, gsm8k, humaneval, or any task that lm-eval knows."""

    include_path: Text = arg("")
    """A folder with tasks of your own, as YAML files of lm-eval."""

    num_fewshot: int | None = arg(None, level="basic", ge=0, le=64)
    """Solved examples before each question; unset: as the task says."""

    limit: int | None = arg(None, level="basic", ge=1)
    """At most this many questions of each task, for a try."""

    apply_chat_template: bool = arg(False)
    """Ask in the model's chat template; off, the prompts are plain text."""

    allow_code_execution: bool = arg(False)
    """Run programs that the model writes, which humaneval needs. They may do anything that you may do here."""

    seed: int = arg(42, ge=0, le=2**32 - 1)
    """Decides which examples are drawn."""


class HarnessSet(WorkSet):
    """The arguments of `studio eval harness`."""

    model: ModelArguments
    measured: MeasuredArguments
    harness: HarnessArguments

    def complaints(self) -> list[str]:
        """A model and a benchmark must be named; programs are run only where that is asked for."""
        told = []
        if not self.model.model_name_or_path:
            told.append("--model_name_or_path must name a model, a run or a checkpoint; it is empty.")
        if not self.harness.tasks:
            told.append(f"--tasks must name benchmarks, such as {', '.join(BENCHMARKS)}; it is empty.")
        if "humaneval" in self.harness.tasks and not self.harness.allow_code_execution:
            told.append(code_complaint(["humaneval"]))
        return told


WORKS.add(
    "eval_harness",
    Work(
        "eval_harness",
        ("eval", "harness"),
        HarnessSet,
        "eval",
        "studio.evaluate.harness",
        "Named benchmarks through lm-eval: MMLU, C-Eval, CMMLU, AGIEval, GaoKao, BBH, GSM8K, HumanEval.\n\n"
        '  pip install "studio[harness]"\n'
        "  studio eval harness --model_name_or_path saves/X/lora/first --tasks gsm8k --limit 100\n\n"
        "Their data comes from the Hugging Face hub, where it is not in its cache. The base is measured too.\n"
        "For C-Eval, MMLU, CMMLU and AGIEval from a folder, without a network, see studio eval choice.",
    ),
)
