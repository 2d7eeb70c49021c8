"""Which process is which: a pid is given again, a pid with its start and the machine's boot never is.

Read from /proc, without a library. A process that ended and was not waited for yet (a zombie) counts as gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from studio.jobs.job import Identity
from studio.workspace import Workspace

BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Seen:
    """A process as /proc shows it now."""

    pid: int
    session: int
    start_ticks: int


def boot_id() -> str:
    """The mark of this start of the machine; `STUDIO_BOOT_ID` names another one, to try what a restart does."""
    if asked := os.environ.get("STUDIO_BOOT_ID"):
        return asked
    try:
        return BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def see(pid: int) -> Seen | None:
    """A living process, or None."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The name in brackets may hold blanks and brackets; what follows the last one is plain.
    words = text[text.rindex(b")") + 2 :].split()
    return None if words[0] in (b"Z", b"X", b"x") else Seen(pid, int(words[3]), int(words[19]))


def identity_of(pid: int) -> Identity | None:
    """The identity of a process that lives, or None."""
    seen = see(pid)
    return Identity(boot_id(), pid, seen.start_ticks) if seen else None


def alive(identity: Identity | None) -> bool:
    """Whether exactly this process lives."""
    return identity is not None and identity_of(identity.pid) == identity


def everyone() -> list[Seen]:
    """Every living process that can be seen."""
    found = (see(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208  several times faster
    return [seen for seen in found if seen is not None]


def marked(place: Workspace, id: int) -> list[Seen]:
    """The living processes that were started for a job of this workspace, wherever they went since."""
    wanted = {f"STUDIO_JOB_ID={id}".encode(), b"STUDIO_WORKSPACE=" + os.fsencode(place.root)}
    found = []
    for seen in everyone():
        with contextlib.suppress(OSError):
            if wanted <= set(Path(f"/proc/{seen.pid}/environ").read_bytes().split(b"\0")):
                found.append(seen)
    return found


def session_of(leader: Identity) -> list[Seen]:
    """The living processes of the session that `leader` began, as long as the number still means that session.

    A number is not given again while a process has it as its session, so a session whose first process is
    another one began later and is none of ours.
    """
    if leader.boot_id != boot_id():
        return []
    members = [seen for seen in everyone() if seen.session == leader.pid]
    foreign = any(seen.pid == leader.pid and seen.start_ticks != leader.start_ticks for seen in members)
    return [] if foreign else members


def send(who: Seen | Identity, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; False when it is gone, whatever has its pid now."""
    try:
        handle = os.pidfd_open(who.pid)
    except OSError:
        return False
    try:
        now = see(who.pid)  # the handle was opened before, so it means the process that is looked at here
        if now is None or now.start_ticks != who.start_ticks:
            return False
        if isinstance(who, Identity) and who.boot_id != boot_id():
            return False
        signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def end_all(find: Callable[[], Iterable[Seen]], within_s: float = 5.0) -> int:
    """Kill what `find` finds until it finds nothing any more; how many are left after `within_s`."""
    until = time.monotonic() + within_s
    while found := list(find()):
        for seen in found:
            send(seen, signal.SIGKILL)
        if time.monotonic() > until:
            return len(found)
        time.sleep(0.02)
    return 0
