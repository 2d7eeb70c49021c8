"""From datasets to the rows a model is trained on: rendered once, kept, and mapped into memory.

`prepare` is the whole way: hash the files, look for a kept result, else read, render and write
chunk by chunk, then hold the report against what was asked.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.data.catalog import DatasetEntry
from studio.data.hashes import Stamp, code_hash, file_hash, key_of, must_be_unchanged
from studio.data.render import View
from studio.data.report import Report
from studio.data.tokenise import Plan, Tell, must_fit, tokenise, use_workers
from studio.errors import DatasetError, DiskFullError, StoppedError, StudioError, counted
from studio.model.staging import MANIFEST, staged
from studio.model.templates import Template
from studio.model.tokenizer import LightTokenizer
from studio.workspace import Workspace, write_json

if TYPE_CHECKING:
    import datasets
    import numpy as np

# What of an entry says where its files are, or what they are called; the files themselves count.
_NOT_ROWS = {"origin", "base", "file_name", "hub", "folder", "subset", "split", "why"}
ROWS, REPORT = "rows.arrow", "report.json"


class Rows:
    """Rendered rows in the order of the files, on disk and mapped into memory.

    A row is a dict: `input_ids` (int32 ids), `loss_mask` (bool, as long as the ids: which of them
    bear loss), `dataset` (index into `names`), `row` (raw row number from 1), `truncated`.
    """

    def __init__(self, table: datasets.Dataset, names: tuple[str, ...], lengths: np.ndarray[Any, Any]) -> None:
        self.table, self.names, self.lengths = table, names, lengths

    @classmethod
    def open(cls, folder: Path, names: tuple[str, ...]) -> Rows:
        """The rows that lie in a folder of the cache."""
        import numpy as np
        import pyarrow.compute as pc
        from datasets import Dataset

        table = Dataset.from_file(str(folder / ROWS))
        lengths = pc.list_value_length(table.data.column("input_ids")).to_numpy()
        return cls(table, names, np.asarray(lengths, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: dict[str, Any] = self.table[index]
        return row

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def select(self, indices: Sequence[int]) -> Rows:
        """Some of the rows, in the order asked for, without copying them."""
        import numpy as np

        chosen = np.asarray(indices, dtype=np.int64)
        return Rows(self.table.select(chosen), self.names, self.lengths[chosen])


# The flow has the parts in hand one by one; a bundle made only for this call would explain nothing.
def prepare(  # noqa: PLR0913
    entries: Sequence[DatasetEntry],
    tokenizer: LightTokenizer,
    template: Template | None,
    view: View,
    place: Workspace,
    *,
    max_samples: int | None = None,
    skip_bad_rows: bool = False,
    max_bad_rows: float = 0.01,
    workers: int | None = None,
    overwrite_cache: bool = False,
    progress: Tell | None = None,
) -> tuple[Rows, Report]:
    """The rows of `entries`, one dataset after the other, and what became of each raw row.

    A kept result is used when files, columns, template, tokenizer, view, `max_samples` and the code
    are the same. A result is written whole or not at all, also when a signal ends the work.

    Raises DatasetError for a file that cannot be read, rows refused beyond what is allowed, a
    dataset that does not fit the stage, and when no row is left to train on; DiskFullError.
    """
    for entry in entries:
        must_fit(entry, view)
    files = tuple(tuple(entry.files()) for entry in entries)
    plan = Plan(tuple(entries), files, tokenizer, template, view, max_samples)
    stamps = {path: Stamp.of(path) for paths in files for path in paths}
    with _full_disk_told(place):
        shown = {place.shown(path): file_hash(path, place.cache) for path in stamps}
        folder = place.cache / "rows" / _key(plan, shown)[:32]
        if overwrite_cache:
            shutil.rmtree(folder, ignore_errors=True)
        report = _kept_report(folder)
        if report is None:
            if workers is not None:
                use_workers(workers)
            report = _make(folder, plan, stamps, place, progress)
    report.check(skip_bad_rows=skip_bad_rows, max_bad_rows=max_bad_rows)
    return Rows.open(folder, tuple(entry.name for entry in entries)), replace(report, hashes=shown)


def split(rows: Rows, size: float, seed: int, *, most: int | None = None) -> tuple[Rows, Rows, list[str]]:
    """Rows to train on, rows held out to evaluate on, and what to tell: a random choice, the same for the same seed.

    Pieces of one raw row stay together, so that nothing held out is trained on. Of the raw rows held
    out at most `most` are evaluated; the others are not trained on either, so that the number of rows
    to evaluate changes nothing in what is learned.
    """
    import numpy as np

    pairs = np.stack([np.asarray(rows.table["dataset"][:]), np.asarray(rows.table["row"][:])], axis=1)
    _, raw = np.unique(pairs, axis=0, return_inverse=True)
    raw = raw.reshape(-1)
    count = int(raw.max()) + 1
    wanted = round(size * count) if size < 1 else int(size)
    if not 1 <= wanted < count:
        raise DatasetError(
            f"--val_size {size:g} would hold out {wanted:,} of {counted(count, 'row')}; it must leave at least one on "
            "each side. Below 1 it is a share, from 1 on a number of rows."
        )
    chosen = np.random.default_rng(seed).permutation(count)[:wanted]
    train = rows.select(np.flatnonzero(~np.isin(raw, chosen)).tolist())
    held = rows.select(np.flatnonzero(np.isin(raw, chosen[:most])).tolist())
    if most is None or wanted <= most:
        return train, held, []
    note = f"of the {wanted:,} rows held out {most:,} are evaluated (max_eval_samples); the others are not used"
    return train, held, [note]


def _key(plan: Plan, hashes: Mapping[str, str]) -> str:
    """The name of the result: equal for equal content, made by the same code in the same way."""
    return key_of(
        {
            # Complaints that are kept name the files, so these are part of it.
            "files": [(entry.name, len(files)) for entry, files in zip(plan.entries, plan.files, strict=True)],
            "hashes": list(hashes.items()),
            "entries": [entry.model_dump(mode="json", exclude=_NOT_ROWS) for entry in plan.entries],
            "template": None if plan.template is None else plan.template.jinja,
            "tokenizer": plan.tokenizer.fingerprint,
            "view": asdict(plan.view),
            "max_samples": plan.max_samples,
            "code": code_hash(),
        }
    )


def _make(folder: Path, plan: Plan, stamps: Mapping[Path, Stamp], place: Workspace, progress: Tell | None) -> Report:
    """Render all rows into `folder`, which appears when they are complete."""
    try:
        with staged(folder) as beside:
            report = tokenise(plan, place, beside / ROWS, progress)
            for path, stamp in stamps.items():
                must_be_unchanged(path, stamp)
            write_json(beside / REPORT, report.as_json())
    except StudioError as error:
        # Another process may have made the same meanwhile, and its folder is as good.
        made = None if isinstance(error, StoppedError) else _kept_report(folder)
        if made is None:
            raise
        return made
    return report


def _kept_report(folder: Path) -> Report | None:
    """The report of a kept result; a result that is not whole is removed and gives None."""
    if not folder.exists():
        return None
    # Whatever is amiss with it, a kept result can be made again.
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        sizes = {each["name"]: each["size"] for each in listed}
        if all((folder / name).stat().st_size == sizes[name] for name in (ROWS, REPORT)):
            plain = json.loads((folder / REPORT).read_text(encoding="utf-8"))
            return Report.from_json(plain, cached=True)
    shutil.rmtree(folder, ignore_errors=True)
    return None


@contextlib.contextmanager
def _full_disk_told(place: Workspace) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"the rendered rows need room in {place.cache}; the disk is full ({error.strerror}). "
            "Free some space, or remove old folders in it: they are made again when needed."
        ) from error
