"""Versions, hardware and settings of this machine, told without importing anything heavy."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio import __version__
from studio.model.asking import shown
from studio.model.hardware import cores, memory_bytes
from studio.workspace import Workspace

PACKAGES = (
    "torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "safetensors", "bitsandbytes",
    "huggingface-hub", "numpy", "pandas", "pyarrow", "pydantic", "fastapi", "gradio",
)  # fmt: skip
# Packages that a run may use and does not need, and the extra of this package that brings each.
OPTIONAL = {
    "deepspeed": "deepspeed", "vllm": "vllm", "flash-attn": "", "liger-kernel": "gpu", "ray": "ray",
    "tensorboard": "", "wandb": "", "swanlab": "",
}  # fmt: skip
SHARED_MEMORY = Path("/dev/shm")

TOLD = re.compile(
    r"(STUDIO|HF|HUGGING_?FACE|TRANSFORMERS|MODELSCOPE|USE|CUDA|NVIDIA|NCCL|TORCH|PYTORCH|OMP|MKL|KMP|TOKENIZERS|"
    r"ACCELERATE|DEEPSPEED|DS|VLLM|RAY|WANDB|SWANLAB|MASTER|API|LC)_\w+"
    r"|(https?|all|no)_proxy|LANG|PYTHON\w+|LD_LIBRARY_PATH|RANK|LOCAL_RANK|WORLD_SIZE|TMPDIR|VIRTUAL_ENV",
    re.IGNORECASE,
)
SECRET = re.compile(r"(^|_)(TOKENS?|(API)?KEYS?|SECRETS?|PASS|PASSWORD|PASSWD|CREDENTIALS?|AUTH)(_|$)", re.IGNORECASE)
# What tokens of well-known services look like, wherever they stand.
LOOKS_SECRET = re.compile(r"\b(hf_|sk-|ms-|ghp_|gsk_)[A-Za-z0-9_-]{6,}")


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver describes it."""

    name: str
    memory_total_mib: int
    memory_free_mib: int
    driver: str
    capability: str


def everything(place: Workspace) -> dict[str, Any]:
    """All of it as plain values, in the order it is shown."""
    total, free = memory_bytes()
    found, cuda = gpus()
    return {
        "studio": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "packages": versions(),
        "optional": {name: version(name) or "not installed" for name in OPTIONAL},
        "torch_cuda": torch_cuda() or "none: torch is built for the CPU",
        "cpu": cpu_name(),
        "cores": f"{cores()} of {os.cpu_count()}",
        "memory_gib": {"total": _gib(total), "free": _gib(free)},
        "shared_memory_gib": _gib(shutil.disk_usage(SHARED_MEMORY).total) if SHARED_MEMORY.is_dir() else 0,
        "gpus": [gpu.__dict__ for gpu in found],
        "driver_cuda": cuda,
        "workspace": str(place.root),
        "disk_free_gib": _gib(shutil.disk_usage(place.root).free),
        "environment": environment(os.environ),
    }


def version(package: str) -> str:
    """The installed version of a package, or ''."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def versions() -> dict[str, str]:
    """The versions of what this studio is built on."""
    return {name: version(name) or "not installed" for name in PACKAGES}


def torch_cuda() -> str:
    """The CUDA or ROCm that torch was built for, read from its files; '' for a CPU build or no torch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return ""
    path = Path(spec.submodule_search_locations[0]) / "version.py"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    for name, title in (("cuda", "CUDA"), ("hip", "ROCm")):
        if found := re.search(rf"^{name}\b[^=]*= ?['\"]([\d.]+)", text, re.MULTILINE):
            return f"{title} {found[1]}"
    return ""


def cpu_name() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def gpus() -> tuple[list[Gpu], str]:
    """The GPUs that NVIDIA's driver shows, and the newest CUDA it can serve ('' without a driver)."""
    fields = "name,memory.total,memory.free,driver_version,compute_cap"
    listed = _said("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits")
    found = []
    for line in listed.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 5:
            found.append(Gpu(parts[0], _whole(parts[1]), _whole(parts[2]), parts[3], parts[4]))
    newest = re.search(r"CUDA (?:UMD )?Version\s*:\s*([\d.]+)", _said("nvidia-smi")) if found else None
    return found, newest[1] if newest else ""


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that change what a run does, without what must stay secret."""
    return {name: masked(name, value) for name, value in sorted(variables.items()) if TOLD.fullmatch(name)}


def masked(name: str, value: str) -> str:
    """A value that may be shown: secrets by their length, addresses without user and password."""
    if SECRET.search(name) and value:
        return f"set, {len(value)} characters, not shown"
    # A proxy may be written without its scheme.
    text = shown(value) if "://" in value else value.rpartition("@")[2] if "proxy" in name.lower() else value
    return LOOKS_SECRET.sub("…", text)


def _said(*command: str) -> str:
    """What a program prints; '' when it is not there, fails or does not end."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _whole(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _gib(nbytes: int) -> float:
    return round(nbytes / 2**30, 1)
