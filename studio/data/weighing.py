"""How large the sources of a mix are: bytes, rows, and tokens, which are counted on a sample or on every row."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.data.catalog import DatasetEntry, entry_of_file, read_catalog
from studio.data.hashes import Stamp, key_of
from studio.data.policy import Policy, entries_of, read_policy
from studio.data.reading import counts
from studio.data.sizes import quick_size, size_of
from studio.data.source import known_count
from studio.errors import ArgumentError
from studio.workspace import Workspace, write_json

if TYPE_CHECKING:
    from studio.data.render import View
    from studio.model.templates import Template
    from studio.model.tokenizer import LightTokenizer
    from studio.works.mix import MixCount, MixSet

# A normal variable is within so many standard deviations of its mean 95 times in a hundred.
_SIGMAS = 1.96
# Bytes whose rows are counted while somebody waits for the sliders.
_COUNTED_AT_ONCE = 32 << 20
_IN_COLUMNS = (".parquet", ".arrow")


@dataclass(frozen=True)
class Weight:
    """The size of one source. `tokens` is None when none were counted, else with the interval of 95 per cent.

    `sampled_rows` is of how many rows the tokens were counted; all of them when the count is exact.
    """

    name: str
    bytes: int
    rows: int
    tokens: float | None = None
    tokens_low: float | None = None
    tokens_high: float | None = None
    sampled_rows: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Lens:
    """What tokens are counted with."""

    tokenizer: LightTokenizer
    template: Template | None
    view: View


def sources(asked: MixSet, place: Workspace) -> tuple[list[DatasetEntry], Policy | None]:
    """The sources in the order of the command, and the file of shares where one is named. Raises DatasetError."""
    if asked.shares.sample_policy_file:
        policy = read_policy(asked.shares.sample_policy_file, place)
        return entries_of(policy, place, asked.source.dataset_dir), policy
    catalog = read_catalog(place, asked.source.dataset_dir) if asked.source.dataset else None
    named = [catalog[name] for name in asked.source.dataset] if catalog is not None else []
    return [*named, *(entry_of_file(path, place) for path in asked.source.train_file)], None


def free_file(asked: MixSet, place: Workspace) -> Path | None:
    """Where the file of a mix goes; None where none is named. Raises ArgumentError where it may not."""
    if not asked.output.mix_file:
        return None
    path = place.target(asked.output.mix_file)
    if path.is_dir() or (path.exists() and not asked.output.overwrite_mix_file):
        raise ArgumentError([f"--mix_file {asked.output.mix_file}: is there already. Choose another name, or write "
                             "--overwrite_mix_file True, which moves it aside."])  # fmt: skip
    return path


def known(asked: MixSet, place: Workspace) -> dict[str, Any]:
    """Sizes of the sources without reading them, for the page; nothing heavy is imported.

    {"sources": [{"name", "bytes", "exact" (whether these are the bytes unpacked, else those on the disk), "rows" and
    "tokens" (null until they were counted once), "tokens_low", "tokens_high"}], "policy": {"source": share} or null,
    "complaints" (of a file that is there already)}.
    """
    entries, policy = sources(asked, place)
    found = []
    for entry in entries:
        files = [] if entry.hub else entry.files()
        size, exact = quick_size(files, place.cache)
        rows = entry.num_samples or _rows(entry, files, place)
        kept = _read(_kept_file(entry, files, asked.count, place)) if files else {}
        found.append({"name": entry.name, "bytes": size, "exact": exact, "rows": kept.get("rows", rows or None),
                      **{name: kept.get(name) for name in ("tokens", "tokens_low", "tokens_high")}})  # fmt: skip
    try:
        free_file(asked, place)
    except ArgumentError as error:
        # What is known of the sources is of use all the same.
        return {"sources": found, "policy": policy.shares if policy else None, "complaints": error.complaints}
    return {"sources": found, "policy": policy.shares if policy else None}


def _rows(entry: DatasetEntry, files: Sequence[Path], place: Workspace) -> int | None:
    """Rows of all files where they are known, or counted in a moment; else None."""
    if not files or any(path.suffix.lower() in _IN_COLUMNS for path in files):
        return None  # looking would cost a heavy import
    if sum(path.stat().st_size for path in files) <= _COUNTED_AT_ONCE:
        return sum(counts(entry, files, place.cache))
    each = [known_count(path, place.cache, sample_by=entry.sample_by, encoding=entry.encoding) for path in files]
    return None if None in each else sum(count or 0 for count in each)


def weigh(
    entry: DatasetEntry, count: MixCount, lens: Lens | None, place: Workspace, progress: Callable[[float], None]
) -> Weight:
    """The size of a source; `progress` hears the share done, 0 to 1. Raises DatasetError."""
    files = entry.files()
    size = size_of(entry, place.cache, progress)
    rows = entry.num_samples or sum(counts(entry, files, place.cache, progress))
    weight = Weight(entry.name, size, rows)
    if lens is not None:
        weight = _counted(weight, entry, count, lens, place, progress)
    kept = {name: value for name, value in asdict(weight).items() if name != "name"}
    write_json(_kept_file(entry, files, count, place), kept)
    return weight


def _counted(
    weight: Weight,
    entry: DatasetEntry,
    count: MixCount,
    lens: Lens,
    place: Workspace,
    progress: Callable[[float], None],
) -> Weight:
    """The same with its tokens: of every row, or from a random sample, which is the same every time."""
    from studio.data.tokenise import chunks

    whole = count.exact or weight.rows <= count.sample_rows
    drawn = entry if whole else entry.model_copy(update={"num_samples": count.sample_rows})
    wanted = weight.rows if whole else count.sample_rows
    seen, refused, total, squares = 0, 0, 0, 0
    for chunk in chunks(drawn, drawn.files(), place.cache, None):
        for tokens in _tokens_of([raw.example for raw in chunk], lens):
            seen += 1
            refused += tokens is None
            total += tokens or 0
            squares += (tokens or 0) ** 2
        progress(seen / max(wanted, 1))
    mean = total / max(seen, 1)
    if whole:
        return replace(weight, tokens=total, tokens_low=total, tokens_high=total, sampled_rows=seen, refused=refused)
    variance = max(squares / seen - mean**2, 0) * seen / max(seen - 1, 1)
    # A sample without putting back: the more of all rows it has, the less is left to chance.
    away = _SIGMAS * math.sqrt(variance / seen * (1 - seen / weight.rows)) * weight.rows
    middle = mean * weight.rows
    return replace(
        weight, tokens=middle, tokens_low=max(middle - away, 0), tokens_high=middle + away, sampled_rows=seen,
        refused=refused,
    )  # fmt: skip


def _tokens_of(examples: Sequence[Any], lens: Lens) -> list[int | None]:
    """Tokens of each row as a model learns it; None for one that is refused."""
    from studio.data.example import Example, sides
    from studio.data.render import render

    parts = [[part for _, part in sides(each)] if isinstance(each, Example) else [] for each in examples]
    done = iter(render([part for each in parts for part in each], lens.tokenizer, lens.template, lens.view))
    found: list[int | None] = []
    for each in parts:
        rendered = [next(done) for _ in each]
        good = [pieces for pieces in rendered if isinstance(pieces, list)]
        all_good = bool(rendered) and len(good) == len(rendered)
        found.append(sum(len(piece.input_ids) for pieces in good for piece in pieces) if all_good else None)
    return found


def _kept_file(entry: DatasetEntry, files: Sequence[Path], count: MixCount, place: Workspace) -> Path:
    """Where the weight is kept: by the stamps of the files and all that was asked."""
    stamps = [[str(path), asdict(Stamp.of(path))] for path in files]
    asked = count.model_dump(mode="json") if count.model_name_or_path else {}
    told = entry.model_dump(mode="json", exclude={"why"})
    return place.cache / "weights" / f"{key_of({'files': stamps, 'asked': asked, 'entry': told})[:32]}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
