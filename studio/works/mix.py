"""Mixing: how much of each source a training sees, and the file that says so to the training command."""

from __future__ import annotations

import importlib
import math
from typing import Any, Literal

from studio.arguments.base import Arguments, Names, Text, arg
from studio.works.base import WORKS, SourceOfRows, Work, WorkSet
from studio.workspace import Workspace


class MixShares(Arguments):
    """In which shares the sources are seen."""

    mix_strategy: Literal["concat", "interleave_under", "interleave_over", "interleave_once"] = arg(
        "concat", level="basic"
    )
    """What an epoch has of several datasets: every row once (concat, interleave_once), or draws until the first
    (interleave_under) or every one (interleave_over; short ones repeat) has given all its rows."""

    interleave_probs: Names = arg((), level="basic")
    """How likely the next row comes from each dataset, such as `0.7,0.3`; else they take turns."""

    mix_temperature: Text = arg("", level="basic")
    """Probabilities from sizes to the power of 1/T: 1 as the sizes are, 2 or 5 lift small sources, `uniform` all the
    same; in place of interleave_probs."""

    mix_by: Literal["rows", "bytes", "tokens"] = arg("rows")
    """What the sizes for mix_temperature are counted in; tokens need a model."""

    sample_policy_file: Text = arg("", level="basic")
    """A JSON file, `{"source": share of all bytes}`, to look at: what one epoch of it has."""


class MixAmount(Arguments):
    """For how much training the epochs over each source are told; one of these."""

    num_train_epochs: float = arg(1.0, level="basic", gt=0, le=1e6)
    """So many epochs of the mix."""

    total_rows: int | None = arg(None, ge=1, le=10**15)
    """So many rows in all."""

    total_tokens: int | None = arg(None, ge=1, le=10**18)
    """So many tokens in all; needs a model."""

    max_steps: int | None = arg(None, ge=1, le=10**12)
    """So many steps of rows_per_step rows."""

    rows_per_step: int = arg(16, ge=1, le=10**9)
    """Rows that one optimizer step learns from: batch times accumulation times devices."""


class MixCount(Arguments):
    """How tokens are counted."""

    model_name_or_path: Text = arg("", level="basic")
    """The model whose tokenizer counts; unset: no tokens are counted."""

    template: Text = arg("")
    """Chat template the rows are written with; unset: the model's own."""

    stage: Literal["pt", "sft"] = arg("pt")
    """How rows are read: pt as texts, sft as conversations."""

    cutoff_len: int = arg(2048, ge=4, le=1 << 24)
    """Longest row in tokens; what is beyond is not counted with stage sft."""

    sample_rows: int = arg(2_000, ge=2, le=10**9)
    """Rows drawn from each source to count their tokens; more make the interval narrower."""

    exact: bool = arg(False)
    """Count the tokens of every row."""


class MixOutput(Arguments):
    """The file that is written."""

    mix_file: Text = arg("", level="basic")
    """The file for the training command: .yaml with datasets and probabilities, or .json with shares of bytes."""

    overwrite_mix_file: bool = arg(False)
    """Move a file that is already there aside (it gets a date)."""


class MixSet(WorkSet):
    """The arguments of `studio data mix`."""

    source: SourceOfRows
    shares: MixShares
    amount: MixAmount
    count: MixCount
    output: MixOutput

    def complaints(self) -> list[str]:
        """Sources, and shares that can be."""
        source, asked, told = self.source, self.shares, []
        named = len(source.dataset) + len(source.train_file)
        if asked.sample_policy_file:
            beside = {"--dataset": source.dataset, "--train_file": source.train_file,
                      "--interleave_probs": asked.interleave_probs, "--mix_temperature": asked.mix_temperature,
                      "--mix_strategy": asked.mix_strategy != "concat"}  # fmt: skip
            told += [f"{name} beside --sample_policy_file: the file says it all. Leave one of them out."
                     for name, given in beside.items() if given]  # fmt: skip
        elif not named:
            told.append("--dataset must name the datasets to mix, or --train_file files; both are empty.")
        told += [*self._of_shares(named), *self._of_amount()]
        ending = self.output.mix_file.rpartition(".")[2].lower()
        if self.output.mix_file and ending not in ("yaml", "yml", "json"):
            told.append(f"--mix_file {self.output.mix_file}: must end in .yaml (datasets and probabilities) or .json "
                        "(shares of bytes).")  # fmt: skip
        return told

    def _of_shares(self, named: int) -> list[str]:
        asked, told = self.shares, []
        given, strategy = asked.interleave_probs, asked.mix_strategy
        said = f"--interleave_probs {','.join(given)}: "
        if given and not all(map(_above_zero, given)):
            told.append(f"{said}must be numbers above 0 with commas between, such as 0.7,0.3.")
        elif given and not asked.sample_policy_file and len(given) != named:
            told.append(f"{said}must be as many as there are sources; they are {len(given)} for {named}.")
        if given and asked.mix_temperature:
            told.append(f"--mix_temperature {asked.mix_temperature}: beside --interleave_probs it would be unclear "
                        "which counts. Keep one.")  # fmt: skip
        if (given or asked.mix_temperature) and strategy == "concat" and not asked.sample_policy_file:
            name = "interleave_probs" if given else "mix_temperature"
            told.append(f"--{name}: needs --mix_strategy interleave_over or interleave_under; concat takes every row "
                        "once.")  # fmt: skip
        if asked.mix_temperature not in ("", "uniform") and not _above_zero(asked.mix_temperature):
            told.append(f"--mix_temperature {asked.mix_temperature}: must be a number above 0, or uniform.")
        if asked.mix_by == "tokens" and not self.count.model_name_or_path:
            told.append("--mix_by tokens: needs --model_name_or_path, whose tokenizer counts them.")
        return told

    def _of_amount(self) -> list[str]:
        amount = self.amount
        given = [f"--{name}" for name in ("total_rows", "total_tokens", "max_steps") if getattr(amount, name)]
        given += ["--num_train_epochs"] if amount.num_train_epochs != 1 else []
        told = [f"{' and '.join(given)} say different amounts. Keep one."] if len(given) > 1 else []
        if amount.total_tokens and not self.count.model_name_or_path:
            told.append("--total_tokens: needs --model_name_or_path, whose tokenizer counts them.")
        return told


def _above_zero(text: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isfinite(value) and value > 0


def _facts(asked: Any, place: Workspace) -> dict[str, Any]:
    """Sizes of the sources as far as they are known without reading them (`studio.data.weighing.known`)."""
    found: dict[str, Any] = importlib.import_module("studio.data.weighing").known(asked, place)
    return found


WORKS.add(
    "mix",
    Work(
        name="mix",
        words=("data", "mix"),
        asked=MixSet,
        kind="data",
        does="studio.data.mixture",
        about="How much of each source a training sees: sizes, shares, epochs over each; writes the file for the\n"
        "training command.",
        output="mix_file",
        facts=_facts,
    ),
)
