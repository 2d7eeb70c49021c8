"""A job: what was asked of the machine, where it stands, how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

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
