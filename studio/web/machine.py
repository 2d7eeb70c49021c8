"""What the machine has and how full it is, without torch: `nvidia-smi`, psutil, and the disk of `saves/`.

A machine without `nvidia-smi` has no GPU that the studio knows; one whose `nvidia-smi` does not
answer says so.
"""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from studio.model.hardware import cores, memory_bytes
from studio.workspace import Workspace

FRESH_S = 2.0
ANSWER_S = 5.0
# After a failure it is not asked at every look: a driver that hangs would hold a thread each time.
ASK_AGAIN_S = 60.0
GPU_FIELDS = (
    "index",
    "uuid",
    "name",
    "memory.total",
    "memory.used",
    "utilization.gpu",
    "temperature.gpu",
    "power.draw",
)
APP_FIELDS = ("gpu_uuid", "pid", "used_memory", "process_name")


@dataclass
class Machine:
    """The machine as last looked at; looked at again when that is two seconds old."""

    place: Workspace
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _looked_s: float = float("-inf")
    _facts: dict[str, Any] = field(default_factory=dict)
    _failed_s: float = float("-inf")
    _note: str = ""

    # psutil.cpu_percent counts anew in every thread; the page is answered by many.
    _times: tuple[float, float] = field(default_factory=lambda: _cpu_seconds())

    def look(self, sessions: Set[int] = frozenset()) -> dict[str, Any]:
        """GPUs, processor, memory, disk. A process on a GPU is ours when its session is one of `sessions`."""
        with self._lock:
            if time.monotonic() - self._looked_s > FRESH_S:
                gpus = self._gpus()
                before, self._times = self._times, _cpu_seconds()
                cpu = {"name": cpu_name(), "cores": cores(), "share": share(before, self._times)}
                self._facts = {
                    "gpus": gpus, "gpu_note": self._note, "cpu": cpu, "memory": _memory(), "disk": _disk(self.place),
                }  # fmt: skip
                self._looked_s = time.monotonic()
            facts = self._facts
        return {**facts, "gpus": [_owned(gpu, sessions) for gpu in facts["gpus"]]}

    def _gpus(self) -> list[dict[str, Any]]:
        if time.monotonic() - self._failed_s < ASK_AGAIN_S or shutil.which("nvidia-smi") is None:
            return []
        try:
            listed = _ask(f"--query-gpu={','.join(GPU_FIELDS)}")
            used = _ask(f"--query-compute-apps={','.join(APP_FIELDS)}")
        except (OSError, subprocess.SubprocessError) as error:
            self._failed_s = time.monotonic()
            self._note = f"nvidia-smi does not answer: {_why(error)}"
            return []
        self._note = ""
        return read_gpus(listed, used)


def _ask(query: str) -> str:
    """What `nvidia-smi` says, as CSV."""
    words = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    done = subprocess.run(
        words, capture_output=True, text=True, errors="replace", timeout=ANSWER_S, check=True, stdin=subprocess.DEVNULL
    )
    return done.stdout


def _why(error: Exception) -> str:
    said = getattr(error, "stdout", "") or getattr(error, "stderr", "") or ""
    lines = [line for line in str(said).splitlines() if line.strip()]
    return lines[-1] if lines else f"{type(error).__name__}"


def read_gpus(listed: str, used: str) -> list[dict[str, Any]]:
    """GPUs of two answers of `nvidia-smi`. What a driver does not say ("[N/A]") is None."""
    processes: dict[str, list[dict[str, Any]]] = {}
    for uuid, pid, memory, name in _rows(used, len(APP_FIELDS)):
        if pid.isdecimal():
            # "[Not Found]" is what a driver says of a process in another container.
            short = "?" if name.startswith("[") or not name else Path(name.split()[0]).name
            one = {"pid": int(pid), "memory": _mebibytes(memory), "name": short}
            processes.setdefault(uuid, []).append(one)
    return [
        {
            "index": index, "name": name, "memory_total": _mebibytes(total), "memory_used": _mebibytes(taken),
            "utilisation": _number(busy), "temperature": _number(heat), "power": _number(power),
            "processes": processes.get(uuid, []),
        }
        for index, uuid, name, total, taken, busy, heat, power in _rows(listed, len(GPU_FIELDS))
    ]  # fmt: skip


def _rows(text: str, width: int) -> list[list[str]]:
    """The rows that have as many cells as were asked for; a message in between has not."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), skipinitialspace=True)]
    return [row for row in rows if len(row) == width]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _mebibytes(text: str) -> int | None:
    value = _number(text)
    return None if value is None else int(value) << 20


def _owned(gpu: dict[str, Any], sessions: Set[int]) -> dict[str, Any]:
    return {**gpu, "processes": [{**one, "ours": _session(one["pid"]) in sessions} for one in gpu["processes"]]}


def _session(pid: int) -> int:
    """The session of a process: every process of a job is in that of its supervisor."""
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return -1


def _cpu_seconds() -> tuple[float, float]:
    """Seconds that all cores have worked since the machine started, and those that went by for all of them."""
    times = psutil.cpu_times()
    waited = times.idle + getattr(times, "iowait", 0.0)
    whole = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return whole - waited, whole


def share(before: tuple[float, float], now: tuple[float, float]) -> float:
    """How busy the processor was between two looks, 0 to 1."""
    passed = now[1] - before[1]
    return min(max((now[0] - before[0]) / passed, 0.0), 1.0) if passed > 0 else 0.0


def cpu_name() -> str:
    """What the processor calls itself."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "CPU"


def _memory() -> dict[str, int]:
    total, free = memory_bytes()
    return {"total": total, "used": total - free}


def _disk(place: Workspace) -> dict[str, Any]:
    folder = place.saves if place.saves.is_dir() else place.root
    usage = shutil.disk_usage(folder)
    return {"folder": place.shown(folder), "total": usage.total, "used": usage.total - usage.free, "free": usage.free}
