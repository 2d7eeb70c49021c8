"""What is known of a stream before it is trained on: how it is taken, its first rows, what its files are."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from studio.data.asked import mix_of
from studio.data.entry import DatasetEntry
from studio.data.example import Example
from studio.data.hashes import Stamp, file_hash
from studio.data.mixing import Mix
from studio.data.reading import counts, dataset_page
from studio.data.render import View, render
from studio.data.report import Report
from studio.data.rows import ROWS, Rows
from studio.data.shards import INDEX, index_of, listed
from studio.data.sizes import size_of
from studio.data.stream import Stream
from studio.data.tokenise import Plan, example_of, must_fit, tokenise
from studio.data.windows import Way
from studio.errors import DatasetError, RowError, counted
from studio.model.templates import Template
from studio.model.tokenizer import LightTokenizer
from studio.recipe import Recipe
from studio.workspace import Workspace

# So many rows of each dataset show whether template, columns and masks are right.
FIRST_ROWS = 64
# A larger file that stands in no index is known by its size and time: hashing a terabyte takes an hour.
HASHED_BYTES = 256 << 20


@dataclass(frozen=True)
class Beginning:
    """A stream that can be opened by each process, and what identifies the files it reads.

    `rows` is how many there are where an index tells it for all of them.
    """

    plan: Plan
    way: Way
    hashes: Mapping[str, str]
    rows: int | None

    def open(self, rank: int, world: int, batch: int, place: Workspace) -> Stream:
        """The stream of one of `world` processes. Without packing, rows are dealt out a batch at a time."""
        per_turn = 1 if self.way.packing else batch
        return Stream(self.plan, replace(self.way, rank=rank, world=world, per_turn=per_turn), place)

    def sentences(self) -> list[str]:
        """What to tell of it before it begins."""
        known = f"{self.rows:,} rows by their index" if self.rows is not None else "a number of rows nobody has counted"
        files = counted(sum(map(len, self.plan.files)), "file")
        many = self.way.buffer_size
        order = f"{many:,} of them shuffled together" if many > 1 else "in their order"
        return [f"streaming: {known} in {files}, {order}; rows are checked as they come, the first ones now"]


def streamed(
    recipe: Recipe, entries: Sequence[DatasetEntry], tokenizer: LightTokenizer, template: Template | None, view: View,
    place: Workspace,
) -> tuple[Beginning, Rows, Report, dict[str, str], list[str]]:  # fmt: skip
    """What `begin` gives for a recipe, the hash of its file of shares, and what to tell."""
    data, training = recipe.data, recipe.training
    in_order = recipe.flat()["train_sampling_strategy"] == "sequential"
    way = Way(
        buffer_size=1 if in_order else data.buffer_size, packing=recipe.packing, seed=training.seed,
        skip_bad_rows=data.skip_bad_rows, max_bad_rows=data.max_bad_rows,
    )  # fmt: skip
    files = tuple(tuple(each.files()) for each in entries)
    plan = Plan(tuple(entries), files, tokenizer, template, view, data.max_samples)
    mix, policy, notes = mix_of(data, entries, place)
    stream, rows, report = begin(plan, way, mix, place)
    told = [f"the first rows of the stream: {sentence}" for sentence in report.sentences()]
    return stream, rows, report, policy, [*notes, *stream.sentences(), *told]


def begin(plan: Plan, way: Way, mix: Mix, place: Workspace) -> tuple[Beginning, Rows, Report]:
    """A stream that has not begun, its first rows as training gets them, and what became of these.

    Nothing but the first rows of each dataset is read. Raises DatasetError for a dataset that does not fit the stage or
    cannot be streamed, and for first rows that cannot be used.
    """
    for entry in plan.entries:
        must_fit(entry, plan.view)
        if entry.num_samples:
            raise DatasetError(
                f"dataset {entry.name!r}: its num_samples are drawn from all of its rows, and a stream knows of no row "
                "before it comes. Take num_samples out and use --max_samples, or leave --streaming out."
            )
    way = replace(way, strategy=mix.strategy, probabilities=mix.probabilities)
    if mix.asked:
        way = replace(way, strategy="interleave_over", probabilities=_by_bytes(plan.entries, mix.asked, place))
    limit = min(FIRST_ROWS, plan.max_samples or FIRST_ROWS)
    place.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="first-rows-", dir=place.cache) as folder:
        report = tokenise(replace(plan, max_samples=limit), place, Path(folder) / ROWS, None)
        # Of so few rows one is a large share: how many may be refused is for the stream to say.
        report.check(skip_bad_rows=way.skip_bad_rows, max_bad_rows=report.rows)
        rows = Rows.open(Path(folder), tuple(entry.name for entry in plan.entries))
    hashes = identities([path for files in plan.files for path in files], place)
    return Beginning(plan, way, hashes, _known_rows(plan)), rows, replace(report, hashes=hashes)


def identities(files: Sequence[Path], place: Workspace) -> dict[str, str]:
    """What identifies each file without reading much: of shards the hash of their index, once; of a file its hash,
    or, above 256 MiB, its size and when it was written.
    """
    found: dict[str, str] = {}
    for path in files:
        if listed(path) is not None and (index := index_of(path.parent)) is not None:
            found[place.shown(path.parent / INDEX)] = index.sha256
        else:
            stamp = Stamp.of(path)
            large = stamp.size > HASHED_BYTES
            known = f"{stamp.size} bytes, written {stamp.mtime_ns}" if large else file_hash(path, place.cache)
            found[place.shown(path)] = known
    return found


def _known_rows(plan: Plan) -> int | None:
    total = 0
    for files in plan.files:
        shards = [listed(path) for path in files]
        if any(shard is None for shard in shards):
            return None
        rows = sum(shard.rows for shard in shards if shard is not None)
        total += min(rows, plan.max_samples or rows)
    return total


def _by_bytes(entries: Sequence[DatasetEntry], asked: Sequence[float], place: Workspace) -> tuple[float, ...]:
    """How likely the next row comes from each, so that the shares of bytes come true."""
    rows = [share / max(_row_bytes(entry, place), 1) for entry, share in zip(entries, asked, strict=True)]
    return tuple(each / sum(rows) for each in rows)


def _row_bytes(entry: DatasetEntry, place: Workspace) -> float:
    """The mean bytes of a row: of all rows where an index counts them or the files are small, else of the first ones.

    Rows of one file often get longer or shorter, so the first ones are taken only where counting would take long.
    """
    files = entry.files()
    shards = [listed(path) for path in files]
    plain = [path for path, shard in zip(files, shards, strict=True) if shard is None]
    if all(path.stat().st_size <= HASHED_BYTES for path in plain):
        rows = sum(shard.rows for shard in shards if shard) + sum(counts(entry, plain, place.cache))
        return size_of(entry, place.cache) / max(rows, 1)
    page = dataset_page(entry, 0, FIRST_ROWS, place.cache)
    sizes = [len(json.dumps(row.value, ensure_ascii=False, default=str).encode())
             for row in page if not isinstance(row.value, RowError)]  # fmt: skip
    return sum(sizes) / max(len(sizes), 1)


def sample_texts(
    entry: DatasetEntry, tokenizer: LightTokenizer, template: Template | None, view: View, place: Workspace
) -> list[str]:
    """The texts of the first rows as the model will read them, to hold two tokenizers against each other."""
    found = [example_of(row.value, entry) for row in dataset_page(entry, 0, FIRST_ROWS, place.cache)]
    examples = [example for example in found if isinstance(example, Example)]
    rendered = render(examples, tokenizer, template, view)
    return [each.text for rows in rendered if isinstance(rows, list) for each in rows]
