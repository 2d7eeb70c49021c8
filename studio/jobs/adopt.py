"""What became of a job whose supervisor is not a child of this worker, or is no more."""

from __future__ import annotations

import json
import time
from typing import Literal

from studio.jobs import steps
from studio.jobs.again import planned
from studio.jobs.identity import Seen, alive, boot_id, end_all, marked, see, session_of
from studio.jobs.job import STATES, Job
from studio.jobs.steps import Ending
from studio.jobs.store import Store, folder_of
from studio.workspace import Workspace

# A supervisor that was started and did not claim its job that long will not do it any more.
UNCLAIMED_S = 60.0


def settle(store: Store, place: Workspace, job: Job) -> Literal["leave", "start", "ended"]:
    """Leave a job that is looked after, give it the end that it came to, or say that it was never started.

    An attempt is claimed by its supervisor before the command starts, so one that nobody claimed did not begin.
    """
    if job.supervisor is None:
        on_their_way = marked(place, job.id)
        if on_their_way and 0 <= time.time() - (job.started or 0) < UNCLAIMED_S:
            return "leave"
        end_all(lambda: marked(place, job.id))
        return "start"
    if alive(job.supervisor):
        return "leave"
    end = told_end(place, job) or planned(store, place, job, _lost(place, job))
    steps.finish(store, job.id, job.attempt, end)
    return "ended"


def told_end(place: Workspace, job: Job) -> Ending | None:
    """The end that the supervisor wrote down before it could write the list; None when it wrote none."""
    try:
        facts = json.loads((folder_of(place, job.id) / "exit.json").read_text(encoding="utf-8"))
        if facts["attempt"] != job.attempt or facts["state"] not in STATES:
            return None
        return Ending(**{name: facts[name] for name in Ending.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _lost(place: Workspace, job: Job) -> Ending:
    """The end of a job whose supervisor is gone without a word; what it left behind is ended."""
    assert job.supervisor is not None
    again = "Resume goes on from the last checkpoint." if job.kind == "train" else "Retry starts it again."
    if job.supervisor.boot_id != boot_id():
        # Its processes ended with the machine. Whatever has their numbers now is somebody else's.
        return Ending("lost", reason="lost", sentence=f"The machine was restarted while it ran. {again}")
    left = end_all(lambda: orphans(place, job))
    if job.wish == "kill":
        return Ending("killed", sentence="It was killed on request.")
    said = f"The process that watched it was ended from outside, so nobody heard how it ended. {again}"
    if left:
        said += f" {left} of its processes could not be ended."
    return Ending("lost", reason="lost", sentence=said)


def orphans(place: Workspace, job: Job) -> list[Seen]:
    """The processes of a job that live on without their supervisor."""
    found = {seen.pid: seen for seen in marked(place, job.id)}
    if job.supervisor is not None:
        found |= {seen.pid: seen for seen in session_of(job.supervisor)}
    if job.process is not None and alive(job.process) and (seen := see(job.process.pid)):
        found[seen.pid] = seen
    return list(found.values())
