"""What the machine has, and what follows from it when nothing was asked: precision and threads."""

from __future__ import annotations

import logging
import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from studio.arguments.training import TrainingArguments

Precision = Literal["bf16", "fp16", "fp32"]


@dataclass(frozen=True)
class Choice:
    """Something that was decided: its value and the reason, for the log and for run.json."""

    name: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.value} ({self.reason})"


@dataclass(frozen=True)
class Hardware:
    """One device of the kind a run will use, and the machine around it."""

    device: Literal["cuda", "cpu"]
    name: str
    count: int
    fast_bf16: bool
    memory_total_bytes: int
    memory_free_bytes: int
    cores: int


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0))


def memory_bytes() -> tuple[int, int]:
    """Total and available memory of the machine, the container's limit included."""
    facts = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        facts[name] = int(rest.split()[0]) * 1024
    total, free = facts["MemTotal"], facts.get("MemAvailable", facts["MemFree"])
    limit = Path("/sys/fs/cgroup/memory.max")
    used = Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()) != "max":
        total = min(total, int(text))
        free = min(free, int(text) - int(used.read_text()))
    return total, max(free, 0)


def detect(*, use_cpu: bool) -> Hardware:
    """Look at the device a run will use. Imports torch."""
    import torch

    if torch.cuda.is_available() and not use_cpu:
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return Hardware("cuda", name, torch.cuda.device_count(), fast, total, free, cores())
    total, free = memory_bytes()
    flags = _cpu_flags()
    fast = bool({"amx_bf16", "avx512_bf16"} & flags)
    return Hardware("cpu", _cpu_name(), 1, fast, total, free, cores())


def _cpu_flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return set(line.split(":", 1)[1].split())
    return set()


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "CPU"


def choose_precision(asked: TrainingArguments, hardware: Hardware) -> tuple[Precision, Choice]:
    """The precision of the computation: what was asked, else what the hardware does fast."""
    if asked.bf16:
        return "bf16", Choice("precision", "bf16", "asked for")
    if asked.fp16:
        return "fp16", Choice("precision", "fp16", "asked for")
    if asked.bf16 is False:
        return "fp32", Choice("precision", "fp32", "bf16 was switched off")
    if hardware.fast_bf16:
        return "bf16", Choice("precision", "bf16", f"{hardware.name} computes bfloat16 fast")
    return "fp32", Choice("precision", "fp32", f"{hardware.name} has no fast bfloat16")


def precision_complaint(asked: TrainingArguments, hardware: Hardware) -> str | None:
    """Why the asked precision cannot be, with what to use instead; None when it can."""
    if asked.fp16 and hardware.device == "cpu":
        return "--fp16 True: float16 needs a GPU, and there is none. Use --bf16 True, or leave both out."
    if asked.bf16 and hardware.device == "cuda" and not hardware.fast_bf16:
        return f"--bf16 True: {hardware.name} has no bfloat16. Use --fp16 True, or leave both out."
    return None


def before_torch(environment: MutableMapping[str, str]) -> Choice:
    """Set what torch and its libraries read when they are imported; return the choice of threads.

    Waiting threads must sleep: with the default spinning, two busy processes on one machine slow
    each other down many times over.
    """
    if "OMP_NUM_THREADS" in environment:
        choice = Choice("threads", environment["OMP_NUM_THREADS"], "OMP_NUM_THREADS is set")
    else:
        environment["OMP_NUM_THREADS"] = str(cores())
        choice = Choice("threads", str(cores()), "one for each core this process may use")
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    # It warns at import of a package that only its 4-bit kernels would use.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    return choice
