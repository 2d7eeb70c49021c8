"""Run a training program as it is and note the time of every optimizer step.

    python probe.py STEPS.jsonl MODULE_OR_FILE [ARGUMENTS ...]

All contenders train with transformers' Trainer, so its callback handler is one place to stand for
all of them: a line is written when the training loop begins and after every optimizer step, with
the CPU seconds of the process (its children included) and the wall clock. It writes to a file and
changes nothing. Only the standard library and transformers are used: the incumbent's environment
is not ours.
"""

from __future__ import annotations

import json
import resource
import runpy
import sys
import time
from pathlib import Path
from typing import Any


def cpu_s() -> float:
    """CPU seconds so far, user and system, of this process and of its ended children."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def watch(out: Path) -> None:
    """From now on every beginning and every step of a Trainer adds a line to `out`."""
    from transformers.trainer_callback import CallbackHandler

    def noting(event: str) -> Any:
        original = getattr(CallbackHandler, event)

        def noted(self: Any, args: Any, state: Any, control: Any, *rest: Any, **more: Any) -> Any:
            line = {"event": event, "step": state.global_step, "cpu_s": cpu_s(), "wall_s": time.monotonic()}
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            return original(self, args, state, control, *rest, **more)

        return noted

    for event in ("on_train_begin", "on_step_end"):
        setattr(CallbackHandler, event, noting(event))


def main() -> None:
    """Watch, then become the program asked for."""
    out, program, *arguments = sys.argv[1:]
    watch(Path(out))
    sys.argv = [program, *arguments]
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
