"""What more tokens give a model before it has learned anything, and how fast they are found.

    OMP_NUM_THREADS=1 python benchmarks/vocabulary.py
    OMP_NUM_THREADS=1 python benchmarks/vocabulary.py --sentencepiece_model chinese_sp.model --speed

For the embedded model and shipped Chinese texts it prints tokens per character and, for each way in which new rows
may begin, bits per character of held-out texts at step 0: the negative log-likelihood of a text in bits, without its
first token, divided by its characters. `--speed` makes ten million characters of their sentences and times the merges
alone. See docs/vocabulary.md.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parent.parent
MODEL = "models/SmolLM2-135M-Instruct"
DATASETS = "wiki_zh,medical_zh_demo,medical_qa_zh,classics_poetry_zh,tcm_classics_zh,counsel_zh"
STARTS = ("subtokens", "mean", "random")
SPEED_CHARACTERS = 10_000_000


def extended(target: Path, **values: Any) -> dict[str, Any]:
    """The result of `studio tokenizer extend` in a process of its own."""
    asked = {"model_name_or_path": MODEL, "dataset": DATASETS, "output_dir": target, **values}
    words = [word for name, value in asked.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "studio", "tokenizer", "extend", *words, "--json"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def held_out(most: int, longest: int) -> list[str]:
    """Texts that no extension learns from, the same as the command holds out."""
    from studio.vocabulary import texts
    from studio.workspace import Workspace

    class Ear:
        def tell(self, *_: Any) -> None: ...
        def say(self, *_: Any) -> None: ...

    asked = texts.Asked(tuple(DATASETS.split(",")), (), "data", 20_000_000, None, 42)
    read = texts.read(asked, Workspace.find(str(TOP)), Ear())
    found = [text[:longest] for several in read.held_out.values() for text in several if len(text) > 40]
    return found[:: max(len(found) // most, 1)][:most]


def bits_per_character(folder: Path, several: list[str]) -> tuple[float, float]:
    """Bits and tokens per character of texts under a model."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    tokenizer = AutoTokenizer.from_pretrained(folder)
    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    bits = tokens = 0.0
    for text in several:
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            logits = model(ids).logits[0, :-1].float()
        nll = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
        bits += float(nll) / math.log(2)
        tokens += ids.shape[1]
    characters = sum(map(len, several))
    return bits / characters, tokens / characters


def speed(wanted: int) -> None:
    """Time of splitting and merging ten million characters, most of them not seen before."""
    import random

    from studio.model.tokenizer import open_tokenizer
    from studio.vocabulary import merging
    from studio.vocabulary.scripts import Rule
    from studio.vocabulary.tokenfile import TokenFile
    from studio.workspace import Workspace

    light = open_tokenizer(TOP / MODEL, Workspace.find(str(TOP)).cache)
    file, rule, chance = TokenFile(light), Rule(("han",), 16), random.Random(1)
    pieces = [part for text in held_out(10**6, 10**6) for part in text.replace("，", "。").split("。") if part]
    texts: list[str] = []
    total = 0
    while total < SPEED_CHARACTERS:
        texts.append("，".join(chance.sample(pieces, 8)))
        total += len(texts[-1])
    began = time.perf_counter()
    ids = merging.runs(texts, light.fast, merging.usable_ids(file, rule), lambda _: None)
    split = time.perf_counter()
    merged = merging.continued(ids, file, rule, wanted, 2, tell=lambda _: None)
    ended = time.perf_counter()
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(
        f"{total:,} characters ({megabytes:.0f} MB, {merged.before:,} tokens): split {split - began:.1f} s, "
        f"{len(merged.tokens):,} merges {ended - split:.1f} s"
    )


def main() -> None:
    """Extend, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_new_tokens", type=int, default=6000)
    parser.add_argument("--texts", type=int, default=30)
    parser.add_argument("--longest", type=int, default=300)
    parser.add_argument("--sentencepiece_model", default="")
    parser.add_argument("--speed", action="store_true")
    asked = parser.parse_args()
    if asked.speed:
        speed(20_000)
        return
    several = held_out(asked.texts, asked.longest)
    print(f"{len(several)} held-out texts, {sum(map(len, several)):,} characters")
    print(f"{'vocabulary':<34}{'tokens':>8}{'tokens/char':>13}{'bits/char':>11}")

    def line(name: str, tokens: int, folder: Path) -> None:
        bits, density = bits_per_character(folder, several)
        print(f"{name:<34}{tokens:>8,}{density:>13.3f}{bits:>11.2f}", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch)
        for number, start in enumerate(STARTS):
            found = extended(target / start, num_new_tokens=asked.num_new_tokens, init_new_rows=start)
            if not number:
                line("as it is", found["tokens"]["before"], TOP / MODEL)
            line(f"merges continued, {start}", found["tokens"]["after"], target / start)
        if asked.sentencepiece_model:
            path = Path(asked.sentencepiece_model).resolve()
            found = extended(target / "pieces", sentencepiece_model=path)
            line("pieces of SentencePiece, subtokens", found["tokens"]["after"], target / "pieces")
            found = extended(target / "few", sentencepiece_model=path, num_new_tokens=asked.num_new_tokens)
            line("the likeliest of these pieces", found["tokens"]["after"], target / "few")


if __name__ == "__main__":
    main()
