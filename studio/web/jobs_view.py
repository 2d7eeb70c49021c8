"""Jobs and runs as the page is told of them: in brief for lists, whole for one that is opened."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.jobs.job import ENDED, LIVE, Job, shell_line
from studio.jobs.lineage import Relative, checkpoints, lineage
from studio.jobs.look import card, folder_in, has_worker, progress_path, recipe_in
from studio.jobs.runs import PROGRESS, RunRow, read_json, read_run, runs, seconds
from studio.jobs.store import folder_of
from studio.model.checkpoint import steps
from studio.web.news import Curves
from studio.web.site import Site
from studio.workspace import Workspace

OUTSIDE = "outside:"
# A list asked for by ten pages a second is made about once.
KEPT_S = 0.7
LISTED = 200
# Why a button is not allowed: a key of the page's strings → the English of it.
WHY_NOT = {
    "ended": "it has ended already",
    "asked": "it was asked to already",
    "waits": "it does not run yet; Stop and save takes it out of the queue",
    "active": "it waits or runs; stop it first",
    "finished": "it has finished; there is nothing left to do",
    "not_training": "only a training saves its state and goes on",
    "no_checkpoint": "no checkpoint was saved; Start again begins anew",
    "has_checkpoint": "a checkpoint was saved; Resume goes on from it",
    "outside": "it was started in a terminal",
    "no_command": "its record does not tell the command",
    "elsewhere": "its folder lies outside saves/; remove it by hand",
}


class View:
    """What routes need to know of jobs, with what is worth keeping between two questions."""

    def __init__(self, site: Site) -> None:
        self.site, self.place, self.store = site, site.workspace, site.store
        self.curves = Curves()
        self._lock = threading.Lock()
        self._listing: tuple[float, int, bytes] = (0.0, -1, b"")
        self._outputs: tuple[int, dict[str, int]] = (-1, {})

    # Lists.

    def listing(self, before: int | None = None) -> bytes:
        """The jobs, the runs started outside, whether a worker runs: as JSON."""
        if before is not None:
            older = [self.brief(job) for job in self.store.jobs(limit=LISTED, before=before)]
            return _json(
                {"version": self.store.version(), "outside": [], "worker": has_worker(self.place), "jobs": older}
            )
        with self._lock:
            kept_until_s, version, text = self._listing
            now = self.store.version()
            began_s = time.monotonic()
            if version == now and began_s < kept_until_s:
                return text
            told = {"version": now, "worker": has_worker(self.place),
                    "jobs": [self.brief(job) for job in self.store.jobs(limit=LISTED)],
                    "outside": [self.brief_run(row) for row in self.outside()[:LISTED]]}  # fmt: skip
            told_s = time.monotonic()
            # With thousands of runs to look at, looking must not become all that the server does.
            self._listing = (told_s + max(KEPT_S, 4 * (told_s - began_s)), now, _json(told))
            return self._listing[2]

    def outside(self) -> list[RunRow]:
        """Runs that no job of the store made, as far as the page may look at them."""
        known = self._known_outputs()
        found = []
        for row in runs(self.place, known=known):
            real = os.path.realpath(row.folder)
            is_ours = real in known and (row.job is not None or row.state != "running")
            if not is_ours and self.may_see(Path(real)):
                found.append(row)
        return found

    def may_see(self, real: Path) -> bool:
        """Whether a folder, all links followed, lies in the workspace or in a root."""
        roots = [Path(os.path.realpath(part)) for part in self.site.environment["STUDIO_ROOTS"].split(os.pathsep)]
        return any(root == real or root in real.parents for root in roots)

    def _known_outputs(self) -> dict[str, int]:
        version = self.store.version()
        if self._outputs[0] != version:
            self._outputs = (version, self.store.outputs("train"))
        return self._outputs[1]

    # One of them.

    def find(self, id: str) -> Job | RunRow | None:
        """The job of a number, or the run of `outside:<folder>`; None when there is none."""
        if id.isascii() and id.isdigit():
            try:
                return self.store.get(int(id)) if len(id) < 18 else None
            except StudioError:
                return None
        if not id.startswith(OUTSIDE) or not (name := id.removeprefix(OUTSIDE)):
            return None
        try:
            folder = self.place.path(name)
        except StudioError:
            return None
        return read_run(folder) if self.may_see(Path(os.path.realpath(folder))) else None

    def brief(self, job: Job) -> dict[str, Any]:
        """A job in a list."""
        output = Path(job.output) if job.output else None
        return {
            "id": job.id, "kind": job.kind, "state": job.state, "title": job.title, "attempt": job.attempt,
            "output": self.place.shown(output) if output else "", "devices": list(job.devices),
            "created": job.created, "started": job.started, "ended": job.ended, "reason": job.reason,
            "sentence": job.sentence, "place": job.place, "wish": job.wish,
            "progress": self._progress(progress_path(job, self.place)) if job.attempt else None,
            **_can(_may(job, output)),
        }  # fmt: skip

    def brief_run(self, row: RunRow) -> dict[str, Any]:
        """A run that was started outside, in a list."""
        name = self.place.shown(row.folder)
        return {
            "id": f"{OUTSIDE}{name}", "kind": "train", "state": row.state, "title": name.removeprefix("saves/"),
            "attempt": len(row.attempts), "output": name, "devices": [], "created": row.created,
            "started": row.started, "ended": row.ended, "reason": row.reason, "sentence": row.sentence, "place": 0.0,
            "wish": "", "progress": self._progress(row.folder / PROGRESS), **_can(self._may_run(row)),
        }  # fmt: skip

    def whole(self, found: Job | RunRow) -> dict[str, Any]:
        """Everything there is to know of one."""
        folder = folder_in(found)
        row = found if isinstance(found, RunRow) else read_run(folder) if folder else None
        record = row.record if row else {}
        parents, children = lineage(self.place, folder) if folder else ([], [])
        data = record.get("data")
        told = {
            "recipe": row.recipe if row else {},
            "decisions": record.get("decisions") or [],
            "results": record.get("results") or {},
            "report": data.get("report") if isinstance(data, dict) else None,
            "packages": (row.attempts[-1].get("packages") if row and row.attempts else None) or {},
            "hardware": record.get("hardware") or {},
            "checkpoints": [each.as_dict() for each in checkpoints(folder, self.place)] if folder else [],
            "parents": [self.relative(each) for each in parents],
            "children": [self.relative(each) for each in children],
        }
        if isinstance(found, RunRow):
            return {**self.brief_run(found), **told, "argv": list(found.argv), "environment": {},
                    "shell": str(record.get("command", "")), "attempts": _attempts_of(found),
                    "failure": _card(found, self.place)}  # fmt: skip
        result = read_json(folder_of(self.place, found.id) / "result.json")
        return {**self.brief(found), **told, "argv": list(found.argv), "environment": dict(found.environment),
                "recipe": told["recipe"] or recipe_in(found.argv), "results": told["results"] or result or {},
                "shell": shell_line(found.argv, found.devices, self.place), "parent": found.parent,
                "attempts": [asdict(each) for each in self.store.attempts(found.id)],
                "failure": _card(found, self.place)}  # fmt: skip

    def relative(self, one: Relative) -> dict[str, Any]:
        """A parent or a child, with the job that made it where there is one."""
        if one.kind == "job":
            return {"id": int(one.path), "path": "", "title": one.note, "kind": "job", "role": "job"}
        id = self._known_outputs().get(os.path.realpath(self.place.root / one.path))
        is_run = one.kind in ("run", "adapter")
        return {"id": id or (f"{OUTSIDE}{one.path}" if is_run else None), "path": one.path, "title": one.path,
                "kind": one.kind, "role": " ".join(part for part in (one.kind, one.note) if part)}  # fmt: skip

    def _progress(self, path: Path) -> dict[str, Any] | None:
        row = self.curves.latest(path)
        if row is None:
            return None
        names = ("step", "loss", "reward", "eta_s", "tokens_per_s", "done", "text")
        return {**{name: row.get(name) for name in names}, "total": row.get("total_steps", row.get("total"))}

    def _may_run(self, row: RunRow) -> dict[str, str]:
        works = row.state == "running"
        inside = Path(os.path.realpath(self.place.saves)) in Path(os.path.realpath(row.folder)).parents
        again = "active" if works else "finished" if row.state == "succeeded" else "" if row.argv else "no_command"
        return {
            "stop": "" if works else "ended", "kill": "" if works else "ended", "pause": "outside", "resume": again,
            "retry": "outside", "delete": "active" if works else "" if inside else "elsewhere",
        }  # fmt: skip


def _card(found: Job | RunRow, place: Workspace) -> dict[str, str] | None:
    made = card(found, place)
    return asdict(made) if made else None


def _may(job: Job, output: Path | None) -> dict[str, str]:
    """Action → why it is not allowed, as a key of WHY_NOT; '' where it is."""
    ended, train = job.state in ENDED, job.kind == "train"
    live, asked = job.state in LIVE, "asked" if job.wish else ""
    saved = bool(ended and job.state != "succeeded" and train and output and steps(output))
    over = "finished" if job.state == "succeeded" and job.kind != "serve" else ""
    resume = over or ("not_training" if not train else "" if saved else "no_checkpoint")
    return {
        "stop": "ended" if ended else asked,
        "kill": "ended" if ended else "" if live and job.wish != "kill" else "asked" if live else "waits",
        "pause": "ended" if ended else "not_training" if live and not train else asked,
        "resume": resume if ended else "active",
        "retry": (over or ("has_checkpoint" if saved else "")) if ended else "active",
        "delete": "" if ended else "active",
    }


def _can(reasons: dict[str, str]) -> dict[str, dict[str, str]]:
    return {
        "can": {name: WHY_NOT[key] if key else "" for name, key in reasons.items()},
        "can_key": {name: f"failure.why_not.{key}" if key else "" for name, key in reasons.items()},
    }


def _attempts_of(row: RunRow) -> list[dict[str, Any]]:
    found = []
    for number, each in enumerate(row.attempts, start=1):
        state = "succeeded" if each.get("outcome") == "finished" else "stopped"
        if each.get("outcome") not in ("finished", "StoppedError", None):
            state = "failed"
        if number == len(row.attempts):
            state = row.state
        found.append({"number": number, "state": state, "started": seconds(each.get("started")),
                      "ended": seconds(each.get("ended")), "exit_code": None, "signal": 0, "reason": "",
                      "sentence": str(each.get("reason") or "").partition("\n")[0]})  # fmt: skip
    return found


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
