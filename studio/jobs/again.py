"""What the machine ended is started again by itself: a few times in a row without a new checkpoint, not for ever.

Whoever writes such an end (the supervisor, or the worker for a lost one) leaves a note with it; the worker starts
the job again when the time of its note has come. Bad arguments, bad data, a full disk, a training that diverged
and what somebody wished are never tried again: they would end the same way, or somebody wanted it so.
"""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from pathlib import Path

from studio.errors import StudioError
from studio.jobs.job import LIVE, Job
from studio.jobs.steps import Ending
from studio.jobs.store import Store, folder_of
from studio.jobs.told import RESULT
from studio.model.checkpoint import steps as checkpoints
from studio.workspace import Workspace, write_json

OF_THE_MACHINE = ("killed", "crashed", "lost")
KINDS = ("train", "eval", "export", "data")
# What passes before the first, the second, the third … time.
WAITS_S = (1, 10, 20, 40)


def planned(store: Store, place: Workspace, job: Job, end: Ending) -> Ending:
    """The end with what comes after it in its sentence; where the job is to start again, a note is left for the worker.

    `job` is as it stood in this attempt, with what was wished of it. What had told its result was done already:
    the blow fell while its process went away.
    """
    if _of_the_machine(job, end) and (folder_of(place, job.id) / RESULT).is_file():
        return replace(end, state="succeeded", reason="", sentence="")
    most = store.setting("retries")
    if not _of_the_machine(job, end) or not most:
        return end
    newest = _newest(job)
    tries = _tries(place, job, newest) + 1
    if tries > most:
        times = "once" if most == 1 else f"{most} times"
        said = f"It was started again {times} without getting to a new checkpoint; now it waits for you."
        return replace(end, sentence=f"{end.sentence} {said}".strip())
    wait_s = WAITS_S[min(tries, len(WAITS_S)) - 1]
    write_json(_count(place, job.id), {"attempt": job.attempt, "tries": tries, "newest": newest})
    write_json(_note(place, job.id), {"attempt": job.attempt, "due": time.time() + wait_s})
    said = f"It starts again by itself after {wait_s} s (try {tries} of {most})."
    return replace(end, sentence=f"{end.sentence} {said}".strip())


def start_due(store: Store, place: Workspace) -> list[str]:
    """Queue again what is due; a sentence for each."""
    folder = _note(place, 0).parent
    if not folder.is_dir():
        return []
    told = []
    for note in sorted(folder.glob("*.json")):
        if said := _look(store, note):
            told.append(said)
    return told


def _look(store: Store, note: Path) -> str:
    try:
        facts = json.loads(note.read_text(encoding="utf-8"))
        attempt, due = int(facts["attempt"]), float(facts["due"])
        job = store.get(int(note.stem))
    except (StudioError, ValueError, KeyError, TypeError, FileNotFoundError):
        note.unlink(missing_ok=True)
        return ""
    if job.attempt == attempt and job.state in LIVE:
        return ""  # its end is about to be written
    said = ""
    if job.attempt == attempt and job.state in ("failed", "lost") and store.setting("retries"):
        # A clock that was set back may not keep it waiting.
        if 0 < due - time.time() <= WAITS_S[-1]:
            return ""
        try:
            store.again(job.id)
            said = f"{job.name} starts again by itself: {job.reason}"
        except StudioError as error:
            said = f"{job.name} could not start again: {error}"
    note.unlink(missing_ok=True)
    return said


def _of_the_machine(job: Job, end: Ending) -> bool:
    if job.kind not in KINDS or job.wish or end.state not in ("failed", "lost"):
        return False
    # The kernel ends a process for want of memory that others may have taken.
    ended_for_memory = end.reason == "out_of_memory_host" and signal.SIGKILL in (end.signal, (end.exit_code or 0) - 128)
    return end.reason in OF_THE_MACHINE or ended_for_memory


def _newest(job: Job) -> int:
    """The step of the newest checkpoint; 0 where there is none."""
    found = checkpoints(Path(job.output)) if job.kind == "train" and job.output else []
    return found[-1][0] if found else 0


def _tries(place: Workspace, job: Job, newest: int) -> int:
    """How often in a row it was started again without getting further."""
    try:
        facts = json.loads(_count(place, job.id).read_text(encoding="utf-8"))
        # Of another attempt than the one before: a person started it meanwhile.
        goes_on = facts["attempt"] == job.attempt - 1 and newest <= facts["newest"]
        return int(facts["tries"]) if goes_on else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _count(place: Workspace, id: int) -> Path:
    return folder_of(place, id) / "again.json"


def _note(place: Workspace, id: int) -> Path:
    return place.root / ".studio" / "again" / f"{id}.json"
