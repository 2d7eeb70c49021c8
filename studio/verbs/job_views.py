"""What `studio jobs` shows: the list, one of them, what it said."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studio.errors import UsageError
from studio.jobs.failure import readable
from studio.jobs.job import ENDED, Job, shell_line
from studio.jobs.lineage import checkpoints, lineage
from studio.jobs.look import card, folder_in, has_worker, last_point, log_path, progress_path, recipe_in
from studio.jobs.runs import RunRow, read_run, runs
from studio.jobs.store import Store
from studio.verbs.job_words import find, flag, nothing_more, one, value
from studio.workspace import Workspace

LISTED, LINES = 30, 200
FOLLOW_S = 0.3


def list_jobs(words: list[str], place: Workspace, store: Store) -> int:
    """Jobs and runs, the newest first."""
    everything, as_json = flag(words, "--all"), flag(words, "--json")
    nothing_more(words, "list")
    jobs = store.jobs(limit=1_000_000 if everything else LISTED)
    outside = _outside(place, store)
    if as_json:
        _print_json({
            "jobs": [_plain(job, place) for job in jobs], "worker": has_worker(place),
            "outside": [_plain(row, place) for row in outside],
        })  # fmt: skip
        return 0
    if not jobs and not outside:
        print("no job was ever started in this workspace. studio train and the page start them.")
    for job in jobs:
        print(_line(str(job.id), job, place))
    if outside:
        print("started outside the queue:")
    for row in outside if everything else outside[:LISTED]:
        print(_line("", row, place))
    if any(job.state == "queued" for job in jobs):
        say_worker(place)
    return 0


def show(words: list[str], place: Workspace, store: Store) -> int:
    """One of them: how it stands, why it failed, its command, what hangs together with it."""
    as_json = flag(words, "--json")
    found = find(one(words, "show"), place, store)
    folder = folder_in(found)
    failed = card(found, place)
    kept = checkpoints(folder, place) if folder else []
    parents, children = lineage(place, folder) if folder else ([], [])
    if as_json:
        attempts = [asdict(each) for each in store.attempts(found.id)] if isinstance(found, Job) else found.attempts
        _print_json({
            **_plain(found, place), "shell": command_of(found, place), "recipe": _recipe(found), "attempts": attempts,
            "failure": asdict(failed) if failed else None, "checkpoints": [each.as_dict() for each in kept],
            "parents": [each.as_dict() for each in parents], "children": [each.as_dict() for each in children],
        })  # fmt: skip
        return 0
    print(_line(str(found.id) if isinstance(found, Job) else "", found, place))
    if failed:
        evidence = failed.evidence.replace("\n", "\n          ")
        print(f"cause:    {failed.cause}\nevidence: {evidence}\nremedy:   {failed.remedy}")
    elif found.sentence:
        print(found.sentence)
    for each in kept:
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in each.metrics.items())
        print(f"{each.path}  {numbers}" + ("" if each.complete else "  (not complete)"))
    for title, relatives in (("made from", parents), ("used by", children)):
        for relative in relatives:
            print(f"{title} {relative.path} ({' '.join((relative.kind, relative.note)).strip()})")
    print(command_of(found, place))
    return 0


def logs(words: list[str], place: Workspace, store: Store) -> int:
    """What it said, and with --follow what it says until it ends."""
    follows, lines = flag(words, "--follow"), value(words, "--lines")
    if lines and not lines.isdecimal():
        raise UsageError(f"--lines must be a number; got {lines!r}.")
    found = find(one(words, "logs"), place, store)
    path = log_path(found, place)
    if not path.is_file() and not follows:
        sys.stderr.write("it has said nothing yet.\n")
        return 0
    offset = _print_end(path, int(lines or LINES))
    if not follows:
        return 0
    try:
        while True:
            # Asked before the file is read: what came before the end is shown then.
            ended = _state(found, store) in ENDED
            offset = _print_from(path, offset)
            if ended:
                return 0
            time.sleep(FOLLOW_S)
    except KeyboardInterrupt:
        return 0


def _print_end(path: Path, lines: int) -> int:
    """Show the last lines; where the file ended."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start, found = size, 0
            while start > 0 and found <= lines:
                start = max(0, start - 2**16)
                file.seek(start)
                found = file.read(size - start).count(b"\n")
            file.seek(start)
            text = readable(file.read(size - start).decode("utf-8", "replace"))
    except FileNotFoundError:
        return 0
    sys.stdout.write("".join(text.splitlines(keepends=True)[-lines:] if lines else []))
    sys.stdout.flush()
    return size


def _print_from(path: Path, offset: int) -> int:
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) < offset:  # it was begun anew
                offset = 0
            file.seek(offset)
            block = file.read()
    except FileNotFoundError:
        return 0
    sys.stdout.write(readable(block.decode("utf-8", "replace")))
    sys.stdout.flush()
    return offset + len(block)


def _outside(place: Workspace, store: Store) -> list[RunRow]:
    known = {job.output for job in store.jobs(limit=1_000_000) if job.output}
    return [row for row in runs(place) if str(row.folder.resolve()) not in known or
            (row.state == "running" and row.job is None)]  # fmt: skip


def _state(found: Job | RunRow, store: Store) -> str:
    if isinstance(found, Job):
        return store.get(found.id).state
    row = read_run(found.folder)
    return row.state if row else "lost"


def _plain(found: Job | RunRow, place: Workspace) -> dict[str, Any]:
    """As JSON has it."""
    progress = last_point(progress_path(found, place))
    if isinstance(found, RunRow):
        return {"id": None, "kind": "train", "state": found.state, "output": place.shown(found.folder),
                "attempt": len(found.attempts), "started": found.started, "ended": found.ended,
                "reason": found.reason, "sentence": found.sentence, "argv": list(found.argv),
                "progress": progress}  # fmt: skip
    values = asdict(found)
    for name in ("supervisor", "process", "request"):
        del values[name]
    output = place.shown(Path(found.output)) if found.output else ""
    return {**values, "output": output, "progress": progress if found.attempt else None}


def _line(number: str, found: Job | RunRow, place: Workspace) -> str:
    folder = folder_in(found)
    kind, title = (found.kind, found.title) if isinstance(found, Job) else ("train", "")
    where = place.shown(folder) if folder else title
    point = last_point(progress_path(found, place)) if isinstance(found, RunRow) or found.attempt else None
    at, total = (point or {}).get("step"), (point or {}).get("total_steps")
    parts = [f"{number:>4}", f"{found.state:<9}", f"{kind:<6}", where]
    if at is not None:
        parts.append(f"step {at}/{total}" if total else f"step {at}")
    if point and point.get("loss") is not None:
        parts.append(f"loss {point['loss']:.4f}")
    if found.state in ("queued", "failed", "lost", "paused") and found.sentence:
        parts.append(found.sentence.partition(". ")[0].rstrip("."))
    return "  ".join(parts).rstrip()


def command_of(found: Job | RunRow, place: Workspace) -> str:
    """The exact command, to paste."""
    if isinstance(found, Job):
        return shell_line(found.argv, found.devices, place)
    return shell_line(found.argv, (), place) if found.argv else str(found.record.get("command", ""))


def _recipe(found: Job | RunRow) -> dict[str, str]:
    if isinstance(found, RunRow):
        return found.recipe
    row = read_run(Path(found.output)) if found.output else None
    return row.recipe if row else recipe_in(found.argv)


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def say_worker(place: Workspace) -> None:
    """Say whether what waits will start."""
    if has_worker(place):
        print("a worker runs and takes it as soon as its device is free")
    else:
        sys.stderr.write("no worker runs, so nothing starts yet: start one with studio worker, or open studio webui\n")
