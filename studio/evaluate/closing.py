"""The end of an evaluation: its numbers are kept, exported, and told to page and terminal. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from studio.evaluate.kept import ALL, Differences, Result, export, keep, read_kept
from studio.works.measured import MeasuredArguments
from studio.workspace import Workspace

# What the result of a job has no use for: a number for each row.
_ONLY_IN_FILE = ("values", "members")
# Measures that are shares, told in percent.
_SHARES = ("exact_match", "number", "repetition", "distinct_2", "cut", "judge_wins", "accuracy",
           "likelihood_accuracy")  # fmt: skip
_WIDE = 100


def close(
    results: Sequence[Result], differences: Differences, run: Path | None, measured: MeasuredArguments,
    place: Workspace, settings: Mapping[str, Any],
) -> tuple[dict[str, Any], Path]:  # fmt: skip
    """Keep and export; what the page is told, and the path of the kept file.

    {"name", "task", "time", "settings", "results" (the base first), "differences", "kept": path, "exported": [path]}
    """
    if len(results) < 2 or not results[0].base:
        # A model that came from no other is its own base in name only.
        results = [replace(each, base=False) for each in results]
    path = keep(results, differences, run, place, settings=dict(settings))
    kept = read_kept(path)
    exported = export(measured.export, kept, place, overwrite=measured.overwrite_export)
    plain = [{name: value for name, value in each.items() if name not in _ONLY_IN_FILE} for each in kept["results"]]
    told = {name: kept[name] for name in ("name", "task", "time", "settings", "differences")}
    files = [place.shown(each) for each in exported]
    return {**told, "results": plain, "kept": place.shown(path), "exported": files}, path


def as_table(found: Mapping[str, Any]) -> str:
    """A block for each model with its measures, intervals and differences from the base, by group where there are."""
    lines: list[str] = []
    for result in found["results"]:
        lines.append(result["model"] + (" (base)" if result["base"] else ""))
        apart = found["differences"].get(result["model"], {})
        for group, measures in {ALL: result["measures"], **result["groups"]}.items():
            lines += [f"  {group}:"] if result["groups"] else []
            wide = max(map(len, measures), default=0)
            lines += [f"  {name:<{wide}}  {_line(name, each, apart.get(group, {}))}" for name, each in measures.items()]
        lines += [f"  {note}" for note in result["notes"]]
        lines.append("")
    lines += [f"written: {path}" for path in found["exported"]]
    return "\n".join([*lines, f"kept: {found['kept']}"])


def side_by_side(found: Mapping[str, Any], most: int) -> str:
    """The first prompts with the answer of every model below each."""
    lines: list[str] = []
    results = found["results"]
    for rows in list(zip(*(result["rows"] for result in results), strict=True))[:most]:
        lines.append(f"> {_short(rows[0]['prompt'])}")
        lines += [f"  = {_short(rows[0]['label'])}"] if rows[0]["label"] is not None else []
        lines += [f"  {result['model']}: {_short(row['predict'])}" for result, row in zip(results, rows, strict=True)]
    return "\n".join(lines)


def _line(name: str, each: Mapping[str, Any], apart: Mapping[str, Any]) -> str:
    text = f"{_number(name, each['value'])}{_interval(name, each)}"
    if name not in apart:
        return text
    return f"{text}, {_number(name, apart[name]['value'], '+')} from the base{_interval(name, apart[name], '+')}"


def _interval(name: str, each: Mapping[str, Any], sign: str = "") -> str:
    if each["low"] is None or each["high"] is None:
        return ""
    return f" ({_number(name, each['low'], sign)} to {_number(name, each['high'], sign)})"


def _number(name: str, value: float | None, sign: str = "") -> str:
    if value is None:
        return "no value"
    return f"{value:{sign}.1%}" if name in _SHARES else f"{value:{sign}.4g}"


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _WIDE else plain[: _WIDE - 1] + "…"
