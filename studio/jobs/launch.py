"""How the command becomes processes: itself, or one for each device through torchrun."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def visible_devices(environment: Mapping[str, str]) -> int:
    """Number of NVIDIA devices a run would use, without loading torch."""
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return len([part for part in listed.split(",") if part.strip() and part.strip() != "-1"])
    devices = Path("/proc/driver/nvidia/gpus")
    return len(list(devices.iterdir())) if devices.is_dir() else 0


def processes(environment: Mapping[str, str], *, use_cpu: bool) -> int:
    """How many processes train: one a device, or NPROC_PER_NODE when that is set."""
    if asked := environment.get("NPROC_PER_NODE"):
        return max(int(asked), 1) if asked.isdigit() else 1
    return 1 if use_cpu else max(visible_devices(environment), 1)


def is_worker(environment: Mapping[str, str]) -> bool:
    """Whether this process was started by torchrun."""
    return "LOCAL_RANK" in environment and "WORLD_SIZE" in environment


def is_main(environment: Mapping[str, str]) -> bool:
    """Whether this process writes the run's files and speaks to the user."""
    return environment.get("RANK", "0") == "0"


def torchrun(count: int, arguments: Sequence[str]) -> list[str]:
    """The command that runs `studio` with these arguments once a device, on this machine."""
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        "--nproc_per_node", str(count), "-m", "studio", *arguments,
    ]  # fmt: skip


def become(command: Sequence[str]) -> None:
    """Replace this process, so that signals and the exit code stay those of the command."""
    os.execv(command[0], list(command))
