"""The API beside transformers' plain generate: one stream, eight streams, and the first token of all.

    OMP_NUM_THREADS=1 python benchmarks/api.py

Three things take turns, so that a busy machine is busy for each of them: `model.generate` in a process of
its own, one stream, eight streams. The answers are greedy and of one length. The server and the plain
process are both idle while another is measured. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

TOP = Path(__file__).resolve().parent.parent
MODEL = "models/SmolLM2-135M-Instruct"
STREAMS = 8
PLACES = ("Paris", "Rome", "Oslo", "Lima", "Kyiv", "Cairo", "Delhi", "Tokyo")


def question(number: int) -> list[dict[str, str]]:
    """Questions of one length whose answers go on for long."""
    return [{"role": "user", "content": f"Tell me a long story about a cat that travels to {PLACES[number]}."}]


class Api:
    """A server of its own. `first_s` and `first_cpu_s`: from the command to the first token."""

    def __init__(self, model: str, tokens: int) -> None:
        self._tokens = tokens
        self._name = Path(model).name
        began = time.perf_counter()
        command = [sys.executable, "-m", "studio", "api", "--model_name_or_path", model, "--port", "8790"]
        self._process = subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._url = "http://127.0.0.1:8790/v1/chat/completions"
        self._once_it_listens()
        self.first_s, self.first_cpu_s = time.perf_counter() - began, self._cpu_s()

    def _once_it_listens(self) -> None:
        while self._process.poll() is None:
            try:
                self._ask(0, 1)
            except httpx.ConnectError:
                time.sleep(0.01)
            else:
                return
        sys.exit("the server ended; start it by hand to see why.")

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _ask(self, number: int, tokens: int) -> int:
        """Read a stream to its end; the tokens it had."""
        body: dict[str, Any] = {"model": self._name, "messages": question(number), "max_tokens": tokens}
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        with httpx.stream("POST", self._url, json=body, timeout=600) as answer:
            lines = [line for line in answer.iter_lines() if line.startswith("data: {")]
        return int(json.loads(lines[-1].removeprefix("data: "))["usage"]["completion_tokens"])

    def streams(self, count: int) -> float:
        """Tokens a second of so many streams together."""
        counts: list[int] = []
        threads = [
            threading.Thread(target=lambda number=number: counts.append(self._ask(number, self._tokens)))
            for number in range(count)
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.perf_counter() - began)

    def end(self) -> None:
        """Stop it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)


class Plain:
    """transformers' own generate in a process of its own."""

    def __init__(self, model: str, tokens: int) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--plain", "--model", model, "--tokens", str(tokens)]
        self._process = subprocess.Popen(
            command, cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.rate()

    def rate(self) -> float:
        """Tokens a second of one answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("once\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def end(self) -> None:
        """Stop it."""
        self._process.communicate(timeout=60)


def plainly(model: str, tokens: int) -> None:
    """The plain process: one rate for each line it reads."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype="auto").eval()
    ids = tokenizer.apply_chat_template(question(0), add_generation_prompt=True, return_tensors="pt", return_dict=True)
    loaded.generate(**ids, max_new_tokens=2, do_sample=False)
    for _ in sys.stdin:
        began = time.perf_counter()
        with torch.inference_mode():
            answer = loaded.generate(**ids, max_new_tokens=tokens, do_sample=False)
        print((answer.shape[1] - ids["input_ids"].shape[1]) / (time.perf_counter() - began), flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if asked.plain:
        plainly(asked.model, asked.tokens)
        return
    starts = []
    for number in range(asked.starts):
        api = Api(asked.model, asked.tokens)
        starts.append((api.first_s, api.first_cpu_s))
        if number + 1 < asked.starts:
            api.end()
    plain = Plain(asked.model, asked.tokens)
    ways: dict[str, Callable[[], float]] = {
        "plain generate": plain.rate,
        "API, one stream": lambda: api.streams(1),
        f"API, {STREAMS} streams": lambda: api.streams(STREAMS),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(asked.rounds):
        for name, measure in ways.items():
            rates[name].append(measure())
    api.end()
    plain.end()
    _print(starts, rates)


def _print(starts: list[tuple[float, float]], rates: dict[str, list[float]]) -> None:
    print("| | tokens/s, each round | median | beside plain |\n|---|---|---|---|")
    middle = {name: statistics.median(each) for name, each in rates.items()}
    base, one, many = middle.values()
    for name, each in rates.items():
        rounds = " ".join(f"{rate:.1f}" for rate in each)
        print(f"| {name} | {rounds} | {middle[name]:.1f} | {middle[name] / base:.2f} |")
    print(f"\n{STREAMS} streams have {many / one:.2f} times the tokens/s of one.")
    wall, cpu = (min(each) for each in zip(*starts, strict=True))
    print(f"From the command to the first token: {wall:.1f} s, {cpu:.1f} CPU s (best of {len(starts)}).")


if __name__ == "__main__":
    main()
