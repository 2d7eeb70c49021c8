"""`studio data shard`: rows of any form of file → shards with an index, registered as one dataset."""

from __future__ import annotations

import datetime
import decimal
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from studio.data.blocks import MAX_ROW, START, Row
from studio.data.catalog import DatasetEntry, entry_of_file, name_complaint, read_catalog
from studio.data.compressed import PACKINGS
from studio.data.example import FORMATS, TAGS
from studio.data.hashes import Stamp, file_hash, must_be_unchanged
from studio.data.kinds import kind_of
from studio.data.readers import no_rows, reader_of
from studio.data.reading import chosen_rows
from studio.data.register import place_of, register
from studio.data.report import SHOWN, RefusedRows
from studio.data.shard_writer import Scattered, ShardWriter
from studio.data.shards import listed, must_be_as_listed, must_have_given
from studio.data.textfile import TextFile
from studio.errors import DatasetError, RowError, StudioError, counted
from studio.model.staging import refuse_nested, staged
from studio.works.base import Ear
from studio.works.shard import ShardSet
from studio.workspace import Workspace

# A packed text of this many bytes is about this many times as large.
_UNPACKED = 4
_TELL_EVERY = 1_000


def run(asked: ShardSet, place: Workspace, ear: Ear) -> dict[str, Any]:
    """Write the shards and their index, and register the folder where a name is asked for.

    The result: `folder`, `name` ("" where nothing was registered), `registry`, `rows`, `shards`, `unpacked` and
    `packed` bytes, `columns` of the first row, `refused` rows and `reasons` {why: count} with the first of them in
    `examples` [{dataset, file, row, why}], `as_text` (values without a word in JSON that were written as text),
    `shuffled`, `seconds`, `largest` and `smallest` shard in unpacked bytes, `streams` (a stage streams such rows).
    Raises DatasetError for a file that cannot be read, rows refused beyond what is allowed, or datasets whose rows
    are not read alike; StudioError where the folder stands already.
    """
    began = time.monotonic()
    output = asked.output
    folder = place.target(output.output_dir)
    entries = _entries(asked, place)
    entry = _one_way(entries)
    files = [tuple(each.files()) for each in entries]
    refuse_nested(folder, [path for paths in files for path in paths])
    if output.name:
        _must_be_free(output.name, asked, place)
    work = _Work(asked, entries, files, place, ear)
    with staged(folder, replace=output.overwrite_output_dir, lists=False) as beside:
        writer = ShardWriter(beside, output.shard_bytes, output.shard_rows, output.zstd_level, output.zstd_threads)
        with writer:
            for line in work.lines(beside / ".scattered"):
                writer.add(line)
        work.check()
        writer.write_index(
            {
                "shuffled": {"seed": output.seed} if output.shuffle else None,
                "entry": entry,
                "columns": work.columns,
                "refused": work.refused_count,
                "sources": work.sources(),
            }
        )
    registry = ""
    if output.name:
        raw = {**place_of(str(folder), place, dataset_dir=asked.source.dataset_dir), **entry}
        try:
            registry = place.shown(register(output.name, raw, place, asked.source.dataset_dir))
        except StudioError as error:
            raise DatasetError(
                f"{folder} is written and whole, but it is not registered: {error} It is read with --train_file "
                f"{place.shown(folder)}, too."
            ) from None
    sizes = [shard.unpacked for shard in writer.shards]
    return {
        "folder": place.shown(folder), "name": output.name, "registry": registry,
        "rows": work.rows - work.refused_count, "streams": kind_of(entries[0]) in ("text", "conversation"),
        "shards": len(writer.shards), "unpacked": sum(sizes), "packed": sum(shard.packed for shard in writer.shards),
        "columns": work.columns, "refused": work.refused_count, "reasons": work.refused.reasons(),
        "examples": [each.__dict__ for each in work.refused.first[:SHOWN]], "as_text": work.as_text,
        "shuffled": output.shuffle, "seconds": round(time.monotonic() - began, 2),
        "largest": max(sizes, default=0), "smallest": min(sizes, default=0),
    }  # fmt: skip


def as_text(found: dict[str, Any]) -> str:
    """What came of it, for a terminal."""
    ratio = found["unpacked"] / max(found["packed"], 1)
    speed = found["unpacked"] / 1e6 / max(found["seconds"], 0.01)
    lines = [
        f"{counted(found['rows'], 'row')} in {counted(found['shards'], 'shard')}: {found['unpacked']:,} bytes packed "
        f"to {found['packed']:,} ({ratio:.1f} to 1), {speed:,.0f} MB/s",
        f"columns: {', '.join(found['columns'])}",
    ]
    if found["as_text"]:
        lines.append(f"{counted(found['as_text'], 'value')} that JSON has no word for (dates, decimal numbers; NaN as "
                     "null) were written as text")  # fmt: skip
    lines += [f"refused {count:,} times: {why}" for why, count in found["reasons"].items()]
    where = f"registered as {found['name']!r} in {found['registry']}" if found["name"] else "not registered"
    way = f"--dataset {found['name']}" if found["name"] else f"--train_file {found['folder']}"
    way += " --streaming True --max_steps N" if found["streams"] else ""
    return "\n".join([*lines, f"{found['folder']}, {where}; train on it with {way}"])


class _Work:
    """The rows of all sources as lines, with what became of them."""

    def __init__(
        self, asked: ShardSet, entries: Sequence[DatasetEntry], files: Sequence[Sequence[Path]], place: Workspace,
        ear: Ear,
    ) -> None:  # fmt: skip
        self.output, self.entries, self.files, self.place, self.ear = asked.output, entries, files, place, ear
        self.rows = self.refused_count = self.as_text = 0
        self.columns: list[str] = []
        self.refused = RefusedRows()
        self._stamps = {path: Stamp.of(path) for paths in files for path in paths}
        self._bytes = sum(stamp.size for stamp in self._stamps.values())
        self._encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=self._plain).encode

    def lines(self, scattered: Path) -> Iterator[bytes]:
        """Every good row as a line, in the order that is asked for."""
        if not self.output.shuffle:
            yield from self._in_order("sharding")
            return
        sizes = sum(size * (_UNPACKED if path.suffix.lower() in PACKINGS else 1) for path, size in self._sizes())
        parts = Scattered(scattered, sizes, self.output.seed)
        for line in self._in_order("scattering"):
            parts.add(line)
        total = self.rows - self.refused_count
        for done, line in enumerate(parts.lines()):
            if done % _TELL_EVERY == 0:
                self.ear.tell(done, total, "sharding")
            yield line

    def _sizes(self) -> list[tuple[Path, int]]:
        return [(path, stamp.size) for path, stamp in self._stamps.items()]

    def _in_order(self, doing: str) -> Iterator[bytes]:
        before = 0
        for entry, files in zip(self.entries, self.files, strict=True):
            for file, share, row, value in _placed(entry, files, self.place):
                if self.rows % _TELL_EVERY == 0:
                    done = before + sum(self._stamps[path].size for path in files[: files.index(file)])
                    self.ear.tell(done + share * self._stamps[file].size, self._bytes, f"{doing} {entry.name}")
                self.rows += 1
                line = self._line(value)
                if isinstance(line, bytes):
                    yield line
                else:
                    self._refuse(entry, line.at(self.place.shown(file), row))
            before += sum(self._stamps[path].size for path in files)

    def _line(self, value: dict[str, Any] | RowError) -> bytes | RowError:
        if isinstance(value, RowError):
            return value
        before = self.as_text
        try:
            text = self._encode(value)
        except RowError as error:
            return error
        if "NaN" in text or "Infinity" in text:
            self.as_text = before  # the words may stand in a text; what is written is counted once
            text = self._encode(self._without_nan(value))
        line = text.encode() + b"\n"
        if len(line) > MAX_ROW:
            return RowError(f"as a line of JSON it has {len(line):,} bytes; at most {MAX_ROW:,} are read. Split it.")
        self.columns = self.columns or list(value)
        return line

    def _plain(self, value: Any) -> Any:
        """What JSON has no word for, as text."""
        if isinstance(value, datetime.date | datetime.time | datetime.timedelta | decimal.Decimal):
            self.as_text += 1
            return value.isoformat() if hasattr(value, "isoformat") else str(value)
        raise RowError(f"it holds {type(value).__name__}, which JSON has no word for; take that column out.")

    def _without_nan(self, value: Any) -> Any:
        if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
            self.as_text += 1
            return None
        if isinstance(value, dict):
            return {key: self._without_nan(each) for key, each in value.items()}
        return [self._without_nan(each) for each in value] if isinstance(value, list | tuple) else value

    def _refuse(self, entry: DatasetEntry, error: RowError) -> None:
        self.refused_count += 1
        self.refused.add(entry.name, error)
        if not self.output.skip_bad_rows:
            said = str(self.refused.first[0]).rstrip(".")
            raise DatasetError(
                f"every row must be readable; {said}. Mend it, or leave up to max_bad_rows of such rows out with "
                "--skip_bad_rows True."
            )

    def check(self) -> None:
        """Raise DatasetError where more rows were refused than is allowed, or a source changed meanwhile."""
        most = self.output.max_bad_rows
        allowed = most * self.rows if most < 1 else most
        if self.refused_count > allowed:
            listed = "\n".join(f"  {each}" for each in self.refused.first[:SHOWN])
            raise DatasetError(
                f"max_bad_rows {most:g} allows {int(allowed):,} refused rows of {self.rows:,}; refused: "
                f"{self.refused_count:,}.\n{listed}\nMend these rows, or raise max_bad_rows."
            )
        if self.rows == self.refused_count:
            raise DatasetError("no row could be read, so there is nothing to shard.")
        for path, stamp in self._stamps.items():
            must_be_unchanged(path, stamp)

    def sources(self) -> list[dict[str, Any]]:
        """What was read, with hashes."""
        found = []
        for done, (path, size) in enumerate(self._sizes()):
            self.ear.tell(done, len(self._stamps), "hashing what was read")
            found.append({"path": self.place.shown(path), "size": size, "sha256": file_hash(path, self.place.cache)})
        return found


def _placed(
    entry: DatasetEntry, files: Sequence[Path], place: Workspace
) -> Iterator[tuple[Path, float, int, dict[str, Any] | RowError]]:
    """Each row to write: its file, the share of it that is read, its number in it, and the row."""
    if entry.num_samples:
        for placed in chosen_rows(entry, files, place.cache, None):
            yield placed.file, 0.0, placed.row, placed.value
        return
    for path in files:
        for share, (row, value) in _rows(entry, path):
            yield path, share, row, value


def _rows(entry: DatasetEntry, path: Path) -> Iterator[tuple[float, Row]]:
    """As `source.rows` does, with the share of the file that is read."""
    given, shard = 0, must_be_as_listed(path)
    file = TextFile(path, entry.encoding)
    for block in reader_of(file, entry.sample_by)(file, START):
        given += block.length
        share = min(file.share(block.mark.offset), 1.0)
        yield from ((share, row) for row in block.rows)
    if not given:
        raise no_rows(path)
    must_have_given(path, shard, given)


def facts(asked: ShardSet, place: Workspace) -> dict[str, Any]:
    """For the page before the start: `files` that would be read, their `bytes` on the disk, `rows` where an index says.

    No hub is asked. Raises DatasetError for what can be told already.
    """
    entries = _entries(asked, place)
    _one_way(entries)
    files = [path for entry in entries if entry.hub is None for path in entry.files()]
    shards = [listed(path) for path in files]
    known = None if None in shards else sum(shard.rows for shard in shards if shard is not None)
    return {"files": len(files), "bytes": sum(path.stat().st_size for path in files), "rows": known}


def _entries(asked: ShardSet, place: Workspace) -> list[DatasetEntry]:
    source = asked.source
    catalog = read_catalog(place, source.dataset_dir) if source.dataset else None
    named = [catalog[name] for name in source.dataset] if catalog is not None else []
    return [*named, *(entry_of_file(path, place) for path in source.train_file)]


def _one_way(entries: Sequence[DatasetEntry]) -> dict[str, Any]:
    """How the rows of all are read, as an entry says it. Raises DatasetError where they differ."""
    ways = [_way(entry) for entry in entries]
    for entry, way in zip(entries, ways, strict=True):
        if way != ways[0]:
            differing = ", ".join(sorted(key for key in {**way, **ways[0]} if way.get(key) != ways[0].get(key)))
            raise DatasetError(
                f"the rows of one folder of shards must be read alike, but {entry.name!r} has other {differing} than "
                f"{entries[0].name!r}. Shard them one by one, and name both when you train."
            )
    return ways[0]


def _way(entry: DatasetEntry) -> dict[str, Any]:
    known = FORMATS[entry.formatting]
    usual = {**TAGS, **known.tags}
    tags = {tag: word for tag, word in entry.tags.items() if usual.get(tag) != word}
    columns = dict(entry.columns) if entry.listed or entry.columns != known.columns else {}
    return {
        **({"formatting": entry.formatting} if entry.formatting != "alpaca" else {}),
        **({"columns": columns} if columns else {}),
        **({"tags": tags} if tags else {}),
        **({"ranking": True} if entry.ranking else {}),
    }


def _must_be_free(name: str, asked: ShardSet, place: Workspace) -> None:
    if complaint := name_complaint(name):
        raise DatasetError(f"--name {name!r}: {complaint}.")
    if name in read_catalog(place, asked.source.dataset_dir):
        raise DatasetError(f"--name {name}: a dataset of this name is registered. Choose another.")
