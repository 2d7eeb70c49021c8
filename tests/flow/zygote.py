"""Runs the command in forked processes: the libraries are loaded once, each run is a process of its own.

Reads one request a line from stdin, answers one line each. A request may ask for a signal at the
n-th call of a function of the system or of torch, so that a run ends at an exact place, and for a
small disk of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

NO_DISK = 77


def main() -> None:
    """Answer requests until stdin ends."""
    import studio.train  # the heavy part, shared by every run that is forked from here
    from studio.assemble import learner, parts_of
    from studio.loop import causal, settings, trackers
    from studio.model import adapt, load

    assert all((studio.train, learner, parts_of, causal, settings, trackers, adapt, load))
    import peft
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer

    assert all((peft, torch, AutoModelForCausalLM, AutoTokenizer, Trainer))
    tell("ready")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _child(json.loads(line))
        _, status = os.waitpid(child, 0)
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        tell(json.dumps({"code": code}))


def tell(line: str) -> None:
    """Answer the test."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _child(request: dict[str, Any]) -> None:
    code = 1
    try:
        for number, name in ((1, "out"), (2, "err")):
            handle = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, number)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.environ.update(request["environment"])
        os.chdir(request["cwd"])
        disk = request.get("disk")
        if disk:
            mount(Path(disk["folder"]), disk["bytes"])
        for event, call, what in request.get("at", ()):
            if isinstance(what, dict) and "raises" in what:
                what = partial(fail, **what)
            elif isinstance(what, dict):
                what = partial(starve, **what) if "memory" in what else partial(fill, Path(disk["folder"]), **what)
            arm(event, call, what)
        from studio.__main__ import main as command

        code = command(request["words"])
        if disk:
            shutil.copytree(disk["folder"], disk["copy"], symlinks=True)
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        # Whatever came, a child must never fall back into the loop of its parent.
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def mount(folder: Path, size: int) -> None:
    """A disk of `size` bytes at `folder`, seen by this process alone; ends with 77 where that may not be."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_mounts, new_user, private = 0x00020000, 0x10000000, 1 << 18 | 1 << 14
    user, group = os.getuid(), os.getgid()
    if user and libc.unshare(new_mounts | new_user) == 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    elif user or libc.unshare(new_mounts) != 0:
        os._exit(NO_DISK)
    libc.mount(b"none", b"/", None, private, None)
    folder.mkdir(parents=True, exist_ok=True)
    if libc.mount(b"none", str(folder).encode(), b"tmpfs", 0, f"size={size}".encode()) != 0:
        os._exit(NO_DISK)


def fill(folder: Path, leave: int) -> None:
    """Somebody else's file takes all room on the disk but `leave` bytes."""
    stats = os.statvfs(folder)
    (folder / "film.mp4").write_bytes(bytes(stats.f_bavail * stats.f_frsize - leave))


def starve(memory: int) -> None:
    """Let this process have no more than `memory` bytes beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def fail(raises: str, text: str) -> None:
    """What torch raises, by its name, or any other error."""
    import torch

    raise {"OutOfMemoryError": torch.OutOfMemoryError}.get(raises, RuntimeError)(text)


def arm(event: str, call: int, what: int | Callable[[], None]) -> None:
    """Send this process a signal (or do `what`) at the n-th call of an event, before the call is made.

    Events: `backward` of a loss; `evaluate`, a forward pass without gradients; `save` of anything by
    torch; `disk`, a rename, removal or sync; `encode`, the tokenizing of rows.
    """
    import torch

    seen = 0

    def counted(function: Callable[..., Any], counts: Callable[[], bool] = lambda: True) -> Callable[..., Any]:
        def call_it(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            if counts():
                seen += 1
                if seen == call and not isinstance(what, int):
                    what()
                elif seen == call:
                    os.kill(os.getpid(), what)
                    if what == signal.SIGKILL:
                        signal.pause()
            return function(*args, **kwargs)

        return call_it

    if event == "backward":
        torch.Tensor.backward = counted(torch.Tensor.backward)  # type: ignore[method-assign]
    elif event == "save":
        torch.save = counted(torch.save)
    elif event == "evaluate":
        from transformers import Qwen2ForCausalLM

        Qwen2ForCausalLM.forward = counted(Qwen2ForCausalLM.forward, lambda: not torch.is_grad_enabled())
    elif event == "encode":
        import studio.data.rows as rows

        rows.tokenise = counted(rows.tokenise)
    else:
        assert event == "disk", event
        for name in ("rename", "replace", "unlink", "rmdir", "fsync"):
            setattr(os, name, counted(getattr(os, name)))


if __name__ == "__main__":
    main()
