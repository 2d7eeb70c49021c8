"""What the rows of a dataset are like: languages, roles, lengths in characters, duplicates, empty answers.

Each finding names rows by their numbers, so that they can be looked at. Memory holds 24 bytes for each row and a count
for each length that occurs.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from studio.data.example import Example
from studio.data.histogram import keep_longest, percentiles
from studio.data.languages import language_of

# Rows that are named for a finding, groups of equal rows, rows of such a group, and empty answers.
_FIRST, _GROUPS, _OF_GROUP, _EMPTY = 20, 50, 10, 100


@dataclass
class Survey:
    """All that is counted in one pass; `take` hears every row that can be read, in order."""

    rows: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    roles: Counter[str] = field(default_factory=Counter)
    role_characters: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    firsts: defaultdict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    empty: int = 0
    empty_rows: list[int] = field(default_factory=list)
    longest: list[tuple[int, int]] = field(default_factory=list)
    # The two halves of a hash, and the number of the row.
    _hashes: array[int] = field(default_factory=lambda: array("Q"))
    _numbers: array[int] = field(default_factory=lambda: array("q"))

    def take(self, number: int, example: Example, most_turns: int) -> None:
        """Take note of a row."""
        self.rows += 1
        told = [*example.messages, *example.chosen]
        texts = [str(message["content"] or "") for message in told]
        for message, text in zip(told, texts, strict=True):
            self.roles[message["role"]] += 1
            self.role_characters[message["role"]] += len(text)
        whole = example.text or " ".join(texts)
        size = len(example.text) or sum(map(len, texts))
        self.lengths[size] += 1
        keep_longest(self.longest, size, number)
        self._first("language", language := language_of(whole), number)
        self.languages[language] += 1
        if turns := sum(message["role"] != "system" for message in told):
            self._first("turns", str(min(turns, most_turns)), number)
        if told and told[-1]["role"] == "assistant" and not texts[-1].strip() and not told[-1].get("tool_calls"):
            self.empty += 1
            if len(self.empty_rows) < _EMPTY:
                self.empty_rows.append(number)
        digest = hashlib.blake2b(repr(example).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self._hashes.frombytes(digest)
        self._numbers.append(number)

    def _first(self, kind: str, value: str, number: int) -> None:
        rows = self.firsts[kind, value]
        if len(rows) < _FIRST:
            rows.append(number)

    def as_json(self) -> dict[str, Any]:
        """Everything as plain values; rows by their numbers in the dataset, from 1.

        {"characters": {"total", "mean", "shortest", "p1" … "p99", "longest"},
        "languages": [{"language", "rows", "share", "first"}], "roles": [{"role", "messages", "characters"}],
        "turn_rows": {turns: first rows}, "empty_answers": {"count", "rows"},
        "longest_rows": [{"row", "characters"}], "duplicates": see `duplicates`}.
        """
        return {
            "characters": percentiles(self.lengths),
            "languages": [
                {"language": each, "rows": count, "share": count / self.rows, "first": self.firsts["language", each]}
                for each, count in self.languages.most_common()
            ],
            "roles": [
                {"role": role, "messages": count, "characters": self.role_characters[role]}
                for role, count in self.roles.most_common()
            ],
            "turn_rows": {value: rows for (kind, value), rows in self.firsts.items() if kind == "turns"},
            "empty_answers": {"count": self.empty, "rows": self.empty_rows},
            "longest_rows": [
                {"row": -number, "characters": size} for size, number in sorted(self.longest, reverse=True)
            ],
            "duplicates": self.duplicates(),
        }

    def duplicates(self) -> dict[str, Any]:
        """Rows that are another row again, letter by letter (but for two in 2**128 rows).

        {"rows": how many could be left out, "groups": how many different ones repeat, "listed": the largest groups as
        {"count", "rows": the first of them}}.
        """
        import numpy as np

        if not self._numbers:
            return {"rows": 0, "groups": 0, "listed": []}
        halves = np.frombuffer(self._hashes, dtype=np.uint64).reshape(-1, 2)
        order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable, so rows of a group stay in order
        same = (halves[order[1:]] == halves[order[:-1]]).all(axis=1)
        starts = np.flatnonzero(np.concatenate([[True], ~same]))
        sizes = np.diff(np.append(starts, len(order)))
        repeated = np.flatnonzero(sizes > 1)
        largest = repeated[np.argsort(-sizes[repeated], kind="stable")[:_GROUPS]]
        numbers = np.frombuffer(self._numbers, dtype=np.int64)
        listed = [
            {
                "count": int(sizes[group]),
                "rows": np.sort(numbers[order[starts[group] : starts[group] + sizes[group]]])[:_OF_GROUP].tolist(),
            }
            for group in largest
        ]
        listed.sort(key=lambda each: (-each["count"], each["rows"]))
        return {"rows": int((sizes[repeated] - 1).sum()), "groups": len(repeated), "listed": listed}


def as_text(found: Mapping[str, Any]) -> list[str]:
    """The findings for a terminal, a line each."""
    rows = max(sum(each["rows"] for each in found["languages"]), 1)
    said = []
    if found["languages"]:
        said.append("languages: " + ", ".join(f"{each['language']} {each['share']:.1%}" for each in found["languages"]))
    if found["roles"]:
        said.append("messages: " + ", ".join(f"{each['messages']:,} of {each['role']}" for each in found["roles"]))
    size = found["characters"]
    said.append(
        f"length in characters: median {size['p50']:,}, 5 % up to {size['p5']:,}, 95 % up to {size['p95']:,}, "
        f"99 % up to {size['p99']:,}, longest {size['longest']:,}"
        + (f" (row {found['longest_rows'][0]['row']:,})" if found["longest_rows"] else "")
    )
    twice = found["duplicates"]
    if twice["rows"]:
        said.append(
            f"{twice['rows']:,} rows ({twice['rows'] / rows:.1%}) are another row again, in {twice['groups']:,} groups"
        )
        said += [f"  {each['count']:,} times: rows {', '.join(map(str, each['rows']))}" for each in twice["listed"][:5]]
    if found["empty_answers"]["count"]:
        empty = found["empty_answers"]
        said.append(f"{empty['count']:,} answers are empty: rows {', '.join(map(str, empty['rows'][:_FIRST]))}")
    return said
