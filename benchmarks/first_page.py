"""Time and memory of a page of a large file, in a fresh process: `python benchmarks/first_page.py --gib 1`.

Makes a JSON array, JSON lines (plain, packed, in GB18030), a Parquet and an Arrow file in a temporary folder,
reads the first page, a far page for the first time (an index is made) and again, and every row; prints a
table; deletes the files.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GIB = 1 << 30
PAGE = 20
MEASURE = """
import json, sys, time
begin = time.perf_counter()
from pathlib import Path
from studio.data.source import page, rows
path, cache, start, encoding = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
how = {"encoding": encoding}
count = sum(1 for _ in rows(path, **how)) if start < 0 else len(page(path, start, 20, cache, **how))
seconds = time.perf_counter() - begin
status = Path("/proc/self/status").read_text()
peak_kib = int(status.partition("VmHWM:")[2].split()[0])
heavy = [name for name in ("datasets", "pandas", "torch") if name in sys.modules]
print(json.dumps([count, seconds, time.process_time(), peak_kib, heavy]))
"""


def texts(size: int) -> Iterator[dict[str, str]]:
    """Alpaca rows of about 800 bytes, `size` bytes in all; no two alike."""
    words = [
        "a",
        "model",
        "learns",
        "to",
        "answer",
        "from",
        "rows",
        "of",
        "plain",
        "text",
        "学习",
        "回答",
        "问题",
        "数据",
    ]
    for number in range(size // 800):
        spin = words[number % len(words) :] + words[: number % len(words)]
        body = " ".join(spin * 8)
        yield {"instruction": f"Question {number}: {body[:200]}?", "input": "", "output": f"{number} {body}"}


def write_array(path: Path, size: int) -> None:
    """A JSON list, one row a line."""
    with path.open("w", encoding="utf-8") as out:
        mark = "[\n"
        for row in texts(size):
            out.write(mark + json.dumps(row, ensure_ascii=False))
            mark = ",\n"
        out.write("\n]\n")


def write_lines(path: Path, size: int) -> None:
    """One object a line."""
    with path.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in texts(size))


def write_converted(path: Path, size: int) -> None:
    """The same in GB18030."""
    with path.open("w", encoding="gb18030") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in texts(size))


def write_packed(path: Path, size: int) -> None:
    """The same in a zstd or gzip archive; `size` is that of the content."""
    import gzip

    import zstandard

    with path.open("wb") as file, (gzip.open if path.suffix == ".gz" else zstandard.open)(file, "wb") as out:
        for row in texts(size):
            out.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def write_arrow(path: Path, size: int) -> None:
    """A stream of batches of a thousand rows, as `save_to_disk` writes its shards."""
    import pyarrow as pa

    held = list[dict[str, str]]()
    schema = pa.schema({name: pa.string() for name in ("instruction", "input", "output")})
    with path.open("wb") as file, pa.ipc.new_stream(file, schema) as out:
        for row in texts(size):
            held.append(row)
            if len(held) == 1000:
                out.write_batch(pa.RecordBatch.from_pylist(held, schema=schema))
                held.clear()
        out.write_batch(pa.RecordBatch.from_pylist(held, schema=schema))


def write_parquet(path: Path, size: int) -> None:
    """Uncompressed, so that the file has the size asked for, in row groups of 100,000."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer, held = None, list[dict[str, str]]()
    for row in texts(size):
        held.append(row)
        if len(held) == 100_000:
            table = pa.Table.from_pylist(held)
            writer = writer or pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False)
            writer.write_table(table)
            held.clear()
    table = pa.Table.from_pylist(held)
    writer = writer or pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False)
    writer.write_table(table)
    writer.close()


def measure(path: Path, cache: Path, start: int, encoding: str) -> tuple[int, float, float, float, list[str]]:
    """Rows, seconds, CPU seconds, peak MB and heavy modules of one read in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), str(cache), str(start), encoding],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    count, seconds, cpu, peak_kib, heavy = json.loads(done.stdout)
    return count, seconds, cpu, peak_kib * 1024 / 1e6, heavy


FILES = (
    ("a.json", write_array, ""),
    ("a.jsonl", write_lines, ""),
    ("a.jsonl.zst", write_packed, ""),
    ("a.jsonl.gz", write_packed, ""),
    ("gb.jsonl", write_converted, "gb18030"),
    ("a.parquet", write_parquet, ""),
    ("a.arrow", write_arrow, ""),
)


def main() -> None:
    """Make the files one after the other and print a line a reading."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=0.3, help="size of each file (default 0.3)")
    size = int(parser.parse_args().gib * GIB)
    far = size // 800 - PAGE
    print(f"{'file':<12}{'read':<20}{'rows':>9}{'seconds':>9}{'CPU s':>8}{'MB/s':>7}{'peak MB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for name, write, encoding in FILES:
            path, cache = Path(folder) / name, Path(folder) / "cache"
            write(path, size)
            mega = path.stat().st_size / 1e6
            print(f"{name}: {mega:,.0f} MB")
            for label, start in (("first page", 0), ("far page, first", far), ("far page, again", far), ("all", -1)):
                count, seconds, cpu, peak, heavy = measure(path, cache, start, encoding)
                speed = f"{mega / seconds:.0f}" if count > PAGE else ""
                print(f"{'':<12}{label:<20}{count:>9}{seconds:>9.2f}{cpu:>8.2f}{speed:>7}{peak:>9.0f}", *heavy)
            path.unlink()


if __name__ == "__main__":
    main()
