"""Runs the command in forked processes: the libraries are loaded once, each run is a process of its own.

Reads one request a line from stdin, answers one line each. A request may ask for a signal at the
n-th call of a function of the system or of torch, so that a run ends at an exact place, and for a
small disk of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial, wraps
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
        if noted := os.environ.get("STUDIO_TEST_SYNCS"):
            note_syncs(Path(noted))
        if confined := request.get("confined"):
            confine(**confined)
        if calls := request.get("poison"):
            poison(calls)
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
    """What torch raises, by its name, what the system says (EIO, ENOSPC …), or any other error."""
    import torch

    if raises in errno.errorcode.values():
        number = getattr(errno, raises)
        raise OSError(number, os.strerror(number), text)
    raise {"OutOfMemoryError": torch.OutOfMemoryError, "MemoryError": MemoryError}.get(raises, RuntimeError)(text)


def confine(documents: int, raises: str, text: str) -> None:
    """As soon as it learns, memory runs out where more documents than these go through the model at a time."""
    from transformers import Qwen2Model

    forward, learns = Qwen2Model.forward, False

    @wraps(forward)
    def confined(self: Any, input_ids: Any = None, *args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
        import torch

        nonlocal learns
        learns |= torch.is_grad_enabled()  # before that, its attention is tried
        laid = position_ids is not None and position_ids.shape[0] == 1
        count = int((position_ids == 0).sum()) if laid else len(input_ids)
        if learns and count > documents:
            fail(raises, text)
        return forward(self, *args, input_ids=input_ids, position_ids=position_ids, **kwargs)

    Qwen2Model.forward = confined


def poison(calls: list[int]) -> None:
    """What the model says is no number in these passes of its that learn, counted from 1."""
    from transformers import Qwen2Model

    forward, seen = Qwen2Model.forward, 0

    @wraps(forward)
    def poisoned(*args: Any, **kwargs: Any) -> Any:
        import torch

        nonlocal seen
        made = forward(*args, **kwargs)
        if torch.is_grad_enabled():
            seen += 1
            if seen in calls:
                made.last_hidden_state = made.last_hidden_state * float("nan")
        return made

    Qwen2Model.forward = poisoned


def note_syncs(path: Path) -> None:
    """Write down for each sync which file it is for."""
    sync = os.fsync

    def noted(handle: int) -> None:
        with path.open("a") as out:
            out.write(str(Path(f"/proc/self/fd/{handle}").readlink()) + "\n")
        sync(handle)

    os.fsync = noted


def arm(event: str, call: int, what: int | Callable[[], None]) -> None:
    """Send this process a signal (or do `what`) at the n-th call of an event, before the call is made.

    Events: `backward` of a loss; a step of the `optimizer`; `evaluate`, a forward pass without gradients; `save` of
    anything by torch; `disk`, a rename, removal or sync; `fsync` alone; `write` by Python, safetensors or torch into
    a file; `encode`, the tokenizing of rows; `token`, the choice of the next one while answers are written.
    """
    seen = 0

    def counted(function: Callable[..., Any], counts: Callable[[], bool] = lambda: True) -> Callable[..., Any]:
        @wraps(function)  # what looks at a signature must see the same one
        # Who asks for the parameters of a function must see its own.
        @wraps(function)
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

    _watch(event, counted)


def _watch(event: str, counted: Callable[..., Any]) -> None:
    """Put the counting into the place of what an event is."""
    import torch

    if event == "backward":
        torch.Tensor.backward = counted(torch.Tensor.backward)  # type: ignore[method-assign]
    elif event == "optimizer":
        torch.optim.AdamW.step = counted(torch.optim.AdamW.step)  # type: ignore[method-assign]
    elif event == "save":
        torch.save = counted(torch.save)
    elif event == "evaluate":
        from transformers import Qwen2ForCausalLM

        Qwen2ForCausalLM.forward = counted(Qwen2ForCausalLM.forward, lambda: not torch.is_grad_enabled())
    elif event == "encode":
        import studio.data.rows as rows

        rows.tokenise = counted(rows.tokenise)
    elif event == "token":
        import studio.loop.rollout as rollout

        rollout.choose = counted(rollout.choose)
    elif event == "fsync":
        os.fsync = counted(os.fsync)
    elif event == "write":
        _count_writes(counted)
    else:
        assert event == "disk", event
        for name in ("rename", "replace", "unlink", "rmdir", "fsync"):
            setattr(os, name, counted(getattr(os, name)))


def _count_writes(counted: Callable[..., Any]) -> None:
    """Every write by Python into a file, and every file that safetensors or torch write."""
    import builtins
    import io

    import safetensors.torch
    import torch

    opened, both = io.open, counted(lambda write, *args: write(*args))

    def open_counted(*args: Any, **kwargs: Any) -> Any:
        file = opened(*args, **kwargs)
        if not file.writable():
            return file
        return _Counted(file, both)

    io.open = builtins.open = open_counted  # type: ignore[assignment]
    torch.save = counted(torch.save)
    safetensors.torch.save_file = counted(safetensors.torch.save_file)
    for module in list(sys.modules.values()):
        for name in ("save_file", "safe_save_file"):
            if module and module.__name__.partition(".")[0] in ("transformers", "peft") and hasattr(module, name):
                setattr(module, name, safetensors.torch.save_file)


class _Counted:
    """An open file whose writes are counted."""

    def __init__(self, file: Any, both: Callable[..., Any]) -> None:
        self._file, self._both = file, both

    def write(self, what: Any) -> Any:
        """One write; it is on its way to the system when it was counted."""
        made = self._both(self._file.write, what)
        self._file.flush()
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Any:
        self._file.__enter__()
        return self

    def __exit__(self, *what: Any) -> Any:
        return self._file.__exit__(*what)

    def __iter__(self) -> Any:
        return iter(self._file)


if __name__ == "__main__":
    main()
