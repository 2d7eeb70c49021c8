"""Reading a shard beside `zstd -dc FILE > /dev/null`: its bytes, its lines, its rows; and packing it.

Prints a table of MB/s of unpacked bytes, wall and CPU, the best of several turns that the readers take one after the
other. Also what it costs to open a folder of very many shards.

    python benchmarks/shards.py --mib 256
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from studio.data import source  # noqa: E402
from studio.data.blocks import lines_of  # noqa: E402
from studio.data.compressed import Unpacked  # noqa: E402
from studio.data.shard_writer import ShardWriter  # noqa: E402
from studio.data.shards import INDEX, KEY, SCHEMA, index_of, shard_files  # noqa: E402
from studio.data.textfile import TextFile  # noqa: E402

TEXTS = ("medical_qa_zh", "oasst_en", "classics_poetry_zh", "smalltalk_en", "alpaca_en_demo")
LEAST = 0.8
"""The share of zstd's speed at which bytes are to be read."""


def seconds() -> float:
    """CPU seconds of this process and of those it waited for."""
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def by_zstd(path: Path) -> None:
    """What the command does."""
    with Path(os.devnull).open("wb") as nothing:
        subprocess.run(["zstd", "-dc", str(path)], stdout=nothing, check=True)


def as_bytes(path: Path) -> None:
    """The unpacked bytes, a MiB at a time."""
    with Unpacked(path) as stream:
        while stream.read(1 << 20):
            pass


def as_lines(path: Path) -> None:
    """Blocks of whole lines, checked to be UTF-8."""
    for _ in lines_of(TextFile(path)):
        pass


def as_rows(path: Path) -> None:
    """Rows, parsed and checked."""
    for _ in source.rows(path):
        pass


READERS: dict[str, Callable[[Path], None]] = {
    "zstd -dc > /dev/null": by_zstd, "bytes": as_bytes, "lines": as_lines, "rows": as_rows,
}  # fmt: skip


def write(folder: Path, size: int) -> tuple[Path, int]:
    """One shard of about so many bytes, of rows of the shipped data in random order; and its bytes unpacked."""
    lines = [line for name in TEXTS for line in (ROOT / "data" / f"{name}.jsonl").read_bytes().splitlines(True)]
    chance, written = random.Random(1), 0
    began, cpu = time.perf_counter(), seconds()
    with ShardWriter(folder, size * 2) as writer:
        while written < size:
            line = chance.choice(lines)
            # A number of its own keeps whole rows from repeating, as no corpus does.
            line = b'{"id": %d, ' % chance.getrandbits(64) + line[1:]
            writer.add(line)
            written += len(line)
    writer.write_index({})
    wall, used = time.perf_counter() - began, seconds() - cpu
    print(f"packed {written / 1e6:,.0f} MB to {writer.shards[0].packed / 1e6:,.0f} MB at level 3: "
          f"{written / 1e6 / wall:,.0f} MB/s wall, {written / 1e6 / used:,.0f} MB/s CPU\n")  # fmt: skip
    return folder / writer.shards[0].name, written


def compare(path: Path, size: int, turns: int) -> float:
    """Print the table; gives the speed of bytes by that of zstd, in CPU time."""
    best: dict[str, tuple[float, float]] = {}
    for _ in range(turns):
        for name, read in READERS.items():
            began, cpu = time.perf_counter(), seconds()
            read(path)
            wall, used = time.perf_counter() - began, seconds() - cpu
            before = best.get(name, (wall, used))
            best[name] = min(wall, before[0]), min(used, before[1])
    wall_of, used_of = best["zstd -dc > /dev/null"]
    print("| reader | MB/s wall | MB/s CPU | of zstd, wall | of zstd, CPU |\n|---|---|---|---|---|")
    for name, (wall, used) in best.items():
        print(f"| {name} | {size / 1e6 / wall:,.0f} | {size / 1e6 / used:,.0f} | {wall_of / wall:.0%} | "
              f"{used_of / used:.0%} |")  # fmt: skip
    return min(used_of / best["bytes"][1], 9.99)


def many(folder: Path, count: int) -> None:
    """What opening a folder of very many shards takes; they are empty, so that only the opening counts."""
    folder.mkdir()
    for number in range(count):
        (folder / f"shard-{number:06}.jsonl.zst").touch()
    lines = [[f"shard-{number:06}.jsonl.zst", 1000, 0, 0, f"{number:064x}", f"{number:08x}"] for number in range(count)]
    (folder / INDEX).write_text(json.dumps({KEY: SCHEMA, "rows": 0, "shards": lines}))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    index = index_of(folder)
    assert index is not None
    shard_files(index)
    took = time.perf_counter() - began
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"\nopening {count:,} shards: {took:.2f} s, {more / 1024:,.0f} MiB more memory, index of "
          f"{(folder / INDEX).stat().st_size / 2**20:,.1f} MiB")  # fmt: skip


def main() -> None:
    """Write, read, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--shards", type=int, default=100_000)
    asked = parser.parse_args()
    if shutil.which("zstd") is None:
        sys.exit("there is no zstd command to compare with; install it")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        many(folder / "many", asked.shards)
        path, size = write(folder, asked.mib << 20)
        share = compare(path, size, asked.turns)
    print(f"\nbytes are read at {share:.0%} of zstd's speed per CPU second; the target is {LEAST:.0%}")


if __name__ == "__main__":
    main()
