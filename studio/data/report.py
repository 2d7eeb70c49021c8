"""What became of the rows of a file: kept, cut, refused, without a target. Nothing goes unsaid."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from studio.errors import DatasetError, RowError, counted

LISTED = 100
SHOWN = 20
# A quoted value this long is told from row to row only by what it quotes.
LONG = 27
# A value as repr writes it. An apostrophe within a word opens nothing, and one in a value is escaped
# or makes repr choose the other quotation marks.
_QUOTED = re.compile(r"""(?<!\w)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?!\w)""")


@dataclass(frozen=True)
class Refused:
    """One raw row that cannot be used; `row` counts from 1."""

    dataset: str
    file: str
    row: int
    why: str

    def __str__(self) -> str:
        return f"{self.dataset}: {self.file}, row {self.row}: {self.why}"


@dataclass
class Counts:
    """The numbers of one dataset. `rows` are raw ones; `kept` are those a model is trained on.

    `unknown` counts the tokens that stand for what the tokenizer does not know, `forgetful` the rows whose
    template leaves thinking of past answers out.
    """

    rows: int = 0
    kept: int = 0
    refused: int = 0
    truncated: int = 0
    fully_masked: int = 0
    split_rows: int = 0
    tokens: int = 0
    label_tokens: int = 0
    unknown: int = 0
    forgetful: int = 0

    def sentence(self, name: str, cutoff_len: int) -> str:
        """'tiny_sft: 40 rows, 38 kept (1,204 tokens, 310 of them targets), 2 truncated, …'."""
        parts = [
            f"{name}: {counted(self.rows, 'row')}",
            f"{self.kept:,} kept ({counted(self.tokens, 'token')}, {self.label_tokens:,} of them targets)",
            f"{self.truncated:,} truncated at cutoff_len {cutoff_len}",
            f"{self.refused:,} refused",
        ]
        if self.fully_masked:
            parts.append(f"{self.fully_masked:,} left out because no target token is within cutoff_len")
        if self.split_rows:
            parts.append(f"{self.split_rows:,} split into several")
        return ", ".join(parts)

    def warnings(self, name: str) -> list[str]:
        """What the model will not see of the rows, none when it sees everything."""
        said = []
        if self.unknown:
            said.append(
                f"warning: {name}: {self.unknown:,} of {self.tokens:,} tokens are the unknown token: the tokenizer "
                "does not know the characters there, and the model cannot tell them apart. Use a tokenizer made for "
                "such texts."
            )
        if self.forgetful:
            said.append(f"warning: {name}: {forgotten(self.forgetful)}")
        return said


def forgotten(rows: int) -> str:
    """What to tell of rows whose template leaves thinking of past answers out, though all of them is learned."""
    return (
        f"the template leaves the thinking of all answers but the last out of {counted(rows, 'row')}, as it does at "
        "inference, so that thinking is not learned. Stage sft without --train_on_prompt learns every answer with its "
        "thinking."
    )


@dataclass(frozen=True)
class Lengths:
    """Tokens of a kept row: mean, median, 95th percentile, longest."""

    mean: float = 0.0
    p50: int = 0
    p95: int = 0
    max: int = 0


@dataclass(frozen=True)
class Report:
    """All of it: numbers by dataset, the first refused rows, reasons with counts, content hashes."""

    cutoff_len: int
    datasets: Mapping[str, Counts]
    refused: tuple[Refused, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)
    lengths: Lengths = Lengths()
    hashes: Mapping[str, str] = field(default_factory=dict)
    cached: bool = False

    @property
    def total(self) -> Counts:
        """The numbers of all datasets together."""
        each = [asdict(counts) for counts in self.datasets.values()]
        return Counts(**{name: sum(counts[name] for counts in each) for name in asdict(Counts())})

    @property
    def rows(self) -> int:
        """Raw rows read."""
        return self.total.rows

    @property
    def kept(self) -> int:
        """Rows a model is trained on."""
        return self.total.kept

    @property
    def truncated(self) -> int:
        """Kept rows that were cut at cutoff_len."""
        return self.total.truncated

    @property
    def fully_masked(self) -> int:
        """Rendered rows without any target token; not trained on."""
        return self.total.fully_masked

    @property
    def split_rows(self) -> int:
        """Raw rows that became several."""
        return self.total.split_rows

    @property
    def tokens(self) -> int:
        """Tokens of all kept rows."""
        return self.total.tokens

    @property
    def label_tokens(self) -> int:
        """Tokens that bear loss."""
        return self.total.label_tokens

    def sentences(self) -> list[str]:
        """Lines for the log: one a dataset, one on lengths, then refused rows and their reasons."""
        said = [counts.sentence(name, self.cutoff_len) for name, counts in self.datasets.items()]
        said += [told for name, counts in self.datasets.items() for told in counts.warnings(name)]
        long = self.lengths
        said.append(
            f"length of a row in tokens: mean {long.mean:.0f}, median {long.p50:,}, "
            f"95 % up to {long.p95:,}, longest {long.max:,}" + (" (rows from the cache)" if self.cached else "")
        )
        said += [f"refused {count:,} times: {reason}" for reason, count in self.reasons.items()]
        return said + [f"refused: {each}" for each in self.refused[:SHOWN]]

    def check(self, *, skip_bad_rows: bool, max_bad_rows: float) -> None:
        """Raise DatasetError when rows were refused and that is not allowed, or none is left.

        `max_bad_rows` below 1 is a share of the raw rows, from 1 on a number of rows.
        """
        total = self.total
        allowed = max_bad_rows * total.rows if max_bad_rows < 1 else max_bad_rows
        if total.refused and not (skip_bad_rows and total.refused <= allowed):
            raise DatasetError(self._refusal(skip_bad_rows, max_bad_rows, allowed))
        if not total.kept:
            raise DatasetError(self._nothing_left())

    def _refusal(self, skip_bad_rows: bool, max_bad_rows: float, allowed: float) -> str:
        total = self.total
        if skip_bad_rows:
            head = (
                f"max_bad_rows {max_bad_rows:g} allows {int(allowed):,} refused rows of {total.rows:,}; "
                f"refused: {total.refused:,}."
            )
            remedy = "Mend these rows in the data file, or raise max_bad_rows."
        else:
            head = f"every row must be usable; refused: {total.refused:,} of {total.rows:,}."
            remedy = (
                "Mend these rows in the data file, or leave up to max_bad_rows of them out with --skip_bad_rows True."
            )
        lines = [head, *(f"  {each}" for each in self.refused[:SHOWN])]
        if total.refused > SHOWN:
            lines.append(f"  … and {total.refused - min(SHOWN, len(self.refused)):,} more")
        if total.refused > 1:
            lines += ["By reason:", *(f"  {count:,} × {reason}" for reason, count in self.reasons.items())]
        return "\n".join([*lines, remedy])

    def _nothing_left(self) -> str:
        total, names = self.total, ", ".join(self.datasets)
        if not total.rows:
            return f"a run needs rows; {names} has none. Fill the data file or name another dataset."
        return (
            f"0 of {counted(total.rows, 'row')} of {names} have target tokens at cutoff_len {self.cutoff_len}"
            + (f", and {total.refused:,} were refused" if total.refused else "")
            + ". Raise cutoff_len, shorten the prompts, or check that the answers are not empty."
        )

    def as_json(self) -> dict[str, Any]:
        """As plain values; `from_json` takes them back. Whether it was cached is not part of it."""
        plain = asdict(self)
        del plain["cached"]
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], *, cached: bool) -> Report:
        """The report that `as_json` gave."""
        return cls(
            cutoff_len=plain["cutoff_len"],
            datasets={name: Counts(**counts) for name, counts in plain["datasets"].items()},
            refused=tuple(Refused(**each) for each in plain["refused"]),
            reasons=dict(plain["reasons"]),
            lengths=Lengths(**plain["lengths"]),
            hashes=dict(plain["hashes"]),
            cached=cached,
        )


class RefusedRows:
    """The refused rows of a pass: the first hundred by name, all of them by reason."""

    def __init__(self) -> None:
        self.first: list[Refused] = []
        self._reasons: Counter[str] = Counter()

    def add(self, dataset: str, error: RowError) -> None:
        """Take note of one row; `error` knows its file and row."""
        where = f"column {error.column!r}: " if error.column else ""
        if len(self.first) < LISTED:
            self.first.append(Refused(dataset, error.file, error.row, where + error.why))
        reason = alike(where + error.why)
        # Reasons that quote a value of each row would otherwise fill the memory.
        known = reason in self._reasons or len(self._reasons) < 1_000
        self._reasons[reason if known else "other reasons"] += 1

    def reasons(self) -> dict[str, int]:
        """The most frequent reasons, the values of single rows taken out."""
        return dict(self._reasons.most_common(SHOWN))


def alike(why: str) -> str:
    """A reason without what differs from row to row: numbers and long quoted values become '…'."""
    return re.sub(r"\b\d+(?:[.,]\d+)*\b", "…", _QUOTED.sub(_shortened, why))


def _shortened(quoted: re.Match[str]) -> str:
    return quoted[0] if len(quoted[0]) < LONG else "'…'"
