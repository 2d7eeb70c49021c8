"""Statistics of a dataset for the page: kept numbers, or the job that counts them."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping
from typing import Any

from studio.data.entry import DatasetEntry
from studio.data.hashes import known_hash
from studio.data.statistics import Question, entry_mark, kept_statistics
from studio.errors import DatasetError, StudioError
from studio.jobs.job import ENDED, Job
from studio.jobs.store import folder_of
from studio.web.datasets_rows import asked_words, lens_of
from studio.web.site import Site

_LOOKED_AT = 50
# Two clicks at the same moment are one job.
_begins = threading.Lock()


def ask(
    site: Site, entry: DatasetEntry, name: str, encoding: str, values: Mapping[str, Any], *, begin: bool
) -> dict[str, Any]:
    """`result` where the numbers are known, else `job`, the one that counts them, or None of both.

    With `begin` a job is started where none is at work.
    """
    lens = lens_of(values, site.workspace)
    if name.startswith("-"):
        raise DatasetError(f"a dataset that is counted must not begin with a dash; {name!r} does. Rename its entry.")
    words = ["data", "statistics", name, *(("--encoding", encoding) if encoding else ()), *asked_words(values)]
    job = _job(site, tuple(words))
    # Without the tokenizer here, or with files on a hub, only the job itself knows the answer.
    blind = entry.hub is not None or (lens.tokenizer is None and lens.hint != "no_model")
    if not blind:
        found = kept_statistics(Question(entry, lens.view, lens.tokenizer, lens.template), site.workspace)
    else:
        found = _result(site, job, entry) if job is not None and job.state == "succeeded" else None
    if found is not None:
        return {"result": found, "job": None, "hint": lens.hint}
    if begin:
        with _begins:
            job = _job(site, tuple(words))
            if job is None or job.state in ENDED:
                title = f"statistics: {entry.name}"
                job = site.store.submit("data", words, title=title, environment=site.environment)
    return {"result": None, "job": _as_json(site, job) if job else None, "hint": lens.hint}


def _job(site: Site, words: tuple[str, ...]) -> Job | None:
    """The last job that was asked the same."""
    jobs = site.store.jobs(kinds=["data"], limit=_LOOKED_AT)
    return next((job for job in jobs if job.argv == words), None)


def _result(site: Site, job: Job, entry: DatasetEntry) -> dict[str, Any] | None:
    """What a job left behind, where entry and files are still those that it counted."""
    place, found = site.workspace, None
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder_of(place, job.id) / "result.json").read_text(encoding="utf-8"))
    if not isinstance(found, dict) or found.get("entry") != entry_mark(entry):
        return None
    if entry.hub is None:
        hashes = {place.shown(path): known_hash(path, place.cache) for path in entry.files()}
        return found if hashes == found.get("hashes") else None
    return found


def _as_json(site: Site, job: Job) -> dict[str, Any]:
    """Where a job stands, with the last line of its progress."""
    told = {"done": 0, "total": 0, "text": ""}
    with contextlib.suppress(OSError, ValueError, IndexError, StudioError):
        lines = (folder_of(site.workspace, job.id) / "progress.jsonl").read_bytes()[-4096:].splitlines()
        told |= json.loads(lines[-1])
    ended = job.state in ENDED
    return {"id": job.id, "state": job.state, "ended": ended, "reason": job.reason, "sentence": job.sentence, **told}
