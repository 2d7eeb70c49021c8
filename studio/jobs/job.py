"""A job: what was asked of the machine, where it stands, how it ended."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from studio.workspace import Workspace

Kind = Literal["train", "export", "eval", "serve", "data"]
State = Literal[
    "queued", "starting", "running", "stopping", "succeeded", "failed", "stopped", "killed", "lost", "paused"
]
Wish = Literal["", "stop", "kill", "pause"]
KINDS: tuple[Kind, ...] = get_args(Kind)
STATES: tuple[State, ...] = get_args(State)
# A process works on it, or is about to.
LIVE: tuple[State, ...] = ("starting", "running", "stopping")
# An attempt that stands in one of these never changes any more; resume and retry make another attempt.
ENDED: tuple[State, ...] = ("succeeded", "failed", "stopped", "killed", "lost", "paused")


@dataclass(frozen=True)
class Identity:
    """One process for ever: a pid alone is given again, with its start and the machine's boot it is not."""

    boot_id: str
    pid: int
    start_ticks: int


@dataclass(frozen=True)
class Attempt:
    """One start of a job, counted from 1, and how it ended."""

    number: int
    state: State
    started: float
    ended: float | None = None
    exit_code: int | None = None
    signal: int = 0
    reason: str = ""
    sentence: str = ""


@dataclass(frozen=True)
class Job:
    """One row of the store. Times are seconds since 1970; `attempt` counts from 1, 0 before the first start."""

    id: int
    kind: Kind
    argv: tuple[str, ...]
    """The words after `studio`: ("train", "--stage", "sft", …)."""
    state: State
    attempt: int = 0
    title: str = ""
    devices: tuple[str, ...] = ()
    """Names of GPUs by index ("0", "1"); empty is the processor."""
    output: str = ""
    """The folder it writes, with all links followed; "" for none. No two active jobs share one."""
    wish: Wish = ""
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    signal: int = 0
    reason: str = ""
    """Why it ended badly, a kind of `jobs.failure`, or why it waits; "" for nothing to say."""
    sentence: str = ""
    place: float = 0.0
    """Its place in the queue: lower starts first."""
    parent: int | None = None
    request: str = ""
    """A mark that whoever asked chose: the same mark again gives the same job, not a second one."""
    supervisor: Identity | None = None
    process: Identity | None = None
    environment: dict[str, str] = field(default_factory=dict)
    """What stands in front of the command: no secrets."""

    @property
    def active(self) -> bool:
        """Whether it waits or works."""
        return self.state not in ENDED

    @property
    def name(self) -> str:
        """How sentences speak of it."""
        return f"job {self.id} ({self.title})" if self.title else f"job {self.id}"


def device_settings(devices: Sequence[str]) -> dict[str, str]:
    """The environment that gives a command these devices; none of them is the processor alone."""
    if devices:
        return {"CUDA_VISIBLE_DEVICES": ",".join(devices)}
    # Only a machine that has GPUs needs to hide them; elsewhere the line stays as short as it can be.
    return {"CUDA_VISIBLE_DEVICES": ""} if _has_gpus() else {}


def _has_gpus() -> bool:
    return any(Path("/proc/driver/nvidia/gpus").glob("*")) or Path("/dev/nvidia0").exists()


def shell_line(argv: Sequence[str], devices: Sequence[str], place: Workspace) -> str:
    """What a person pastes into a shell to do what the job does: devices, workspace, command."""
    settings = device_settings(devices) | {"STUDIO_WORKSPACE": str(place.root)}
    words = [f"{name}={shlex.quote(value) if value else ''}" for name, value in settings.items()]
    return " ".join([*words, shlex.join(["studio", *argv])])
