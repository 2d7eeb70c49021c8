"""How fast text is cleaned and freed of duplicates on two cores, beside datatrove where it is installed.

    python benchmarks/clean.py [--mib 64] [--workers 2] [--datatrove PYTHON] [--datatrove-mib 4]

Text: sentences of the shipped data (Chinese and English) drawn into new rows of about 1,500 bytes, one word in twenty
exchanged for another, so that rows share no more than rows of one field do. Of the rows 10 % are copies of an earlier
one with another case and punctuation, 10 % copies with one sentence exchanged, 5 % hold HTML, 2 % personal data and
2 % repeat themselves; what was planted is known, so the table says how much of it was found.

The studio runs as its own command with its default steps and `--languages zh,en`, imports and all passes included.
datatrove (0.10.1, in an environment of its own with its extra `processing`, spacy and jieba) does two of these steps,
Gopher's repetition rules and MinHash signatures, on the first `--datatrove-mib` of the same text, in one process after
its start: MB/CPU s is the figure that compares. Memory is that of the largest process, imports included.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROW_BYTES = 1_500
CHINESE = ("medical_qa_zh", "tcm_classics_zh", "classics_poetry_zh")

DATATROVE = """
import json, resource, sys, tempfile, time
from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
from datatrove.pipeline.filters import GopherRepetitionFilter
texts = [json.loads(line)["text"] for line in open(sys.argv[1], encoding="utf-8")]
rules = GopherRepetitionFilter(language=sys.argv[2])
hashes = MinhashDedupSignature(tempfile.gettempdir(), MinhashConfig(), language=sys.argv[2])
def one(text):
    rules.filter(Document(text=text, id=""))
    hashes.get_signature(hashes.get_shingles(text))
one(texts[0])
clock, cpu = time.monotonic(), time.process_time()
for text in texts:
    one(text)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([time.monotonic() - clock, time.process_time() - cpu, peak]))
"""


def sentences() -> tuple[list[str], list[str]]:
    """Chinese and English sentences of the shipped data."""
    lines = [json.loads(line) for name in CHINESE for line in (ROOT / f"data/{name}.jsonl").open(encoding="utf-8")]
    chinese = [part for row in lines for part in re.findall(r"[^。！？\n]{6,}[。！？]", row["text"])]
    plays = (ROOT / "data/shakespeare.txt").read_text(encoding="utf-8").replace("\n", " ")
    english = [part.strip() for part in re.findall(r"[A-Z][^.!?:]{25,}[.!?]", plays)]
    return chinese, english


class Rows:
    """Rows drawn from sentences, with what was planted in them by kind."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.pools = sentences()
        self.characters = "".join(self.pools[0])
        self.words = " ".join(self.pools[1]).split()
        self.recent: list[tuple[list[str], str]] = []
        self.planted = {"exact": 0, "near": 0, "html": 0, "personal": 0, "repeating": 0}

    def next(self) -> str:
        """One row."""
        kind = self.random.random()
        if kind < 0.2 and len(self.recent) > 100:
            return self._again("exact" if kind < 0.1 else "near")
        chinese = self.random.random() < 0.5
        parts, gap = self._parts(chinese), "" if chinese else " "
        if kind >= 0.98:
            self.planted["repeating"] += 1
            return gap.join(parts[:2] * 8)
        text = gap.join(parts)
        if kind >= 0.96:
            self.planted["personal"] += 1
            text += f"{gap}13800{self.random.randrange(10**6):06} a{self.random.randrange(10**6)}@mail.cn"
        if 0.91 <= kind < 0.96:
            self.planted["html"] += 1
            return f"<div class='x'><p>{text}</p><br/>&nbsp;</div>"
        if kind < 0.91:
            self.recent.append((parts, gap))
            if len(self.recent) > 5_000:
                del self.recent[:2_500]
        return text

    def _parts(self, chinese: bool) -> list[str]:
        parts, size = [], 0
        while size < ROW_BYTES:
            parts.append(self._varied(self.random.choice(self.pools[0 if chinese else 1]), chinese))
            size += len(parts[-1].encode())
        return parts

    def _varied(self, sentence: str, chinese: bool) -> str:
        if chinese:
            units = [self.random.choice(self.characters) if self.random.random() < 0.05 else c for c in sentence]
            return "".join(units)
        return " ".join(self.random.choice(self.words) if self.random.random() < 0.05 else w for w in sentence.split())

    def _again(self, kind: str) -> str:
        parts, gap = self.random.choice(self.recent)
        self.planted[kind] += 1
        if kind == "exact":
            return gap.join(parts).upper().replace("，", ",").replace(".", " . ")
        at = self.random.randrange(len(parts))
        return gap.join([*parts[:at], self._varied(parts[at], not gap)[::-1][:12], *parts[at + 1 :]])


def make(path: Path, size: int) -> tuple[int, dict[str, int]]:
    """Write rows of so many bytes; gives their number and what was planted."""
    rows, written, count = Rows(1), 0, 0
    with path.open("w", encoding="utf-8") as out:
        while written < size:
            line = json.dumps({"text": rows.next()}, ensure_ascii=False) + "\n"
            out.write(line)
            written += len(line.encode())
            count += 1
    return count, rows.planted


def timed(command: list[str], **more: Any) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak MB of a command's largest process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    clock = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - clock, cpu, after.ru_maxrss / 1024


def studio(folder: Path, rows: int, size: int, planted: dict[str, int], workers: int) -> None:
    """Clean it and print the row of the table, then what was found."""
    command = [
        sys.executable, "-m", "studio", "--workspace", str(folder), "data", "clean", "--train_file", "rows.jsonl",
        "--output_dir", "out", "--languages", "zh,en", "--preprocessing_num_workers", str(workers),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line("studio", rows, size, *timed(command, env=environment))
    found = json.loads((folder / "out/clean.json").read_text(encoding="utf-8"))
    steps = {step["step"]: step["changed"] + step["removed"] for step in found["steps"]}
    print(f"\nseconds by pass: {found['seconds']}; keys on the disk: {found['scratch_bytes'] / rows:.0f} bytes a row")
    for kind, step in (
        ("exact", "exact_duplicates"), ("near", "near_duplicates"), ("html", "remove_html"), ("personal", "personal"),
        ("repeating", "remove_repetition"),
    ):  # fmt: skip
        print(f"{step}: {steps[step]:,} found, {planted[kind]:,} planted")


def datatrove(python: str, folder: Path, size: int) -> None:
    """The same for datatrove, on the first bytes of the same text; the languages one after the other."""
    seconds = cpu = peak = 0.0
    rows = total = 0
    texts: dict[str, list[str]] = {"cmn_Hani": [], "eng": []}
    for each in (folder / "rows.jsonl").open(encoding="utf-8"):
        if total >= size:
            break
        total, rows = total + len(each.encode()), rows + 1
        texts["eng" if json.loads(each)["text"].isascii() else "cmn_Hani"].append(each)
    for language, lines in texts.items():
        path = folder / f"{language}.jsonl"
        path.write_text("".join(lines), encoding="utf-8")
        done = subprocess.run(
            [python, "-c", DATATROVE, str(path), language],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        told = json.loads(done.stdout)
        seconds, cpu, peak = seconds + told[0], cpu + told[1], max(peak, told[2])
    line("datatrove, two steps", rows, total, seconds, cpu, peak)


def line(who: str, rows: int, size: int, seconds: float, cpu: float, peak: float) -> None:
    """One row of the table."""
    mega = size / 1e6
    speeds = f"{rows / seconds:,.0f} | {mega / seconds:.2f} | {mega / cpu:.2f}"
    print(f"| {who} | {mega:,.1f} | {rows:,} | {seconds:.1f} | {cpu:.1f} | {speeds} | {peak:,.0f} |", flush=True)


def main() -> None:
    """Make the rows, clean them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=float, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--datatrove", default="", help="the python of an environment that has it")
    parser.add_argument("--datatrove-mib", type=float, default=4)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "data").mkdir()
        rows, planted = make(folder / "rows.jsonl", int(asked.mib * 2**20))
        size = (folder / "rows.jsonl").stat().st_size
        print("| | MB | rows | s | CPU s | rows/s | MB/s | MB/CPU s | peak MB |")
        print("|---|---|---|---|---|---|---|---|---|")
        # The studio first: the system tells the peak of the largest process so far.
        studio(folder, rows, size, planted, asked.workers)
        if asked.datatrove:
            datatrove(asked.datatrove, folder, int(asked.datatrove_mib * 2**20))


if __name__ == "__main__":
    main()
