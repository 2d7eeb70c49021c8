"""How fast alpaca rows become tokens with a mask, beside `encode_batch_fast` on the same texts.

    python benchmarks/rendering.py [--model FOLDER] [--file ROWS.jsonl] [--rows N] [--repeats N]

One thread. Seconds are of CPU time of this process, so that a busy machine does not matter; both
sides alternate within each repeat, and the best of each counts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from studio.data.example import Example
from studio.data.render import Rendered, View, render
from studio.model.templates import Template, choose_template
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.workspace import Workspace

TARGET = 0.6


def read(file: Path, count: int) -> list[Example]:
    """`count` alpaca rows as conversations; the file begins anew when it has fewer."""
    lines = file.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return [example(row) for row in itertools.islice(itertools.cycle(rows), count)]


def example(row: dict[str, str]) -> Example:
    """An alpaca row as a question and an answer."""
    question = "\n".join(part for part in (row["instruction"], row.get("input", "")) if part)
    return Example(
        messages=(
            {"role": "user", "content": question},
            {"role": "assistant", "content": row["output"]},
        )
    )


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(rows: list[Example], tokenizer: LightTokenizer, template: Template, repeats: int) -> str:
    """One line of the table."""
    view = View(cutoff_len=2048)
    done = [part for item in render(rows, tokenizer, template, view) if isinstance(item, list) for part in item]
    texts = [row.text for row in done]
    check(done, tokenizer)
    ours, theirs = [], []
    for _ in range(repeats):
        theirs.append(seconds(lambda: tokenizer.fast.encode_batch_fast(texts, add_special_tokens=False)))
        ours.append(seconds(lambda: render(rows, tokenizer, template, view)))
    ratio = min(theirs) / min(ours)
    tokens = sum(len(row.input_ids) for row in done) / len(done)
    return (
        f"{template.name:<24}{'yes' if template.marked else 'no':<8}{len(rows):>6}{tokens:>12.0f}"
        f"{len(rows) / min(ours):>14,.0f}{len(rows) / min(theirs):>20,.0f}{ratio:>8.2f}"
        f"  {'ok' if ratio >= TARGET else f'below {TARGET}'}"
    )


def check(done: list[Rendered], tokenizer: LightTokenizer) -> None:
    """What is timed must be right: every row learns something, and ends with the end token."""
    for row in done:
        learned = [token for token, bears in zip(row.input_ids, row.loss_mask, strict=True) if bears]
        if not row.truncated and learned[-1:] != [tokenizer.eos_id]:
            raise SystemExit(f"the end token bears no loss in {row.text!r}")


def main() -> None:
    """Print the table."""
    top = Path(__file__).parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=top / "models" / "SmolLM2-135M-Instruct")
    parser.add_argument("--file", type=Path, default=top / "data" / "user_oriented_en.jsonl")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    rows = read(asked.file, asked.rows)
    print(f"{asked.model.name}, {asked.file.name}, one thread, CPU time, best of {asked.repeats}")
    print("template                marks     rows  tokens/row  render rows/s  encode_fast rows/s   ratio")
    with tempfile.TemporaryDirectory() as cache:
        tokenizer = open_tokenizer(asked.model, Path(cache))
        for name in ("auto", "default"):
            template, _ = choose_template(name, tokenizer, Workspace(top))
            print(measure(rows, tokenizer, template, asked.repeats))


if __name__ == "__main__":
    main()
