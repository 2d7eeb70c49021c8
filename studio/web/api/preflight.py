"""Preflight, for the page: `studio train … --plan --json` as a command of its own, one at a time."""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter

from studio.errors import StudioError
from studio.jobs.job import device_settings
from studio.jobs.slots import check_devices
from studio.rewards.service import HOST, KEY
from studio.web.api.recipe import Filled
from studio.web.child import Child
from studio.web.form import compose
from studio.web.site import Site

LIMIT_S = 600.0


@dataclass
class Checks:
    """The check that runs, or ran last. A newer one ends it."""

    site: Site
    limit_s: float = LIMIT_S
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _number: int = 0
    _child: Child | None = None
    _refused: list[str] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)

    def begin(
        self, argv: Sequence[str], devices: Sequence[str] = (), *, complaints: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> dict[str, Any]:  # fmt: skip
        """Start one; complaints of the form alone are its answer at once."""
        with self._lock:
            if self._child is not None:
                self._child.cancel()
            self._number, self._child = next(self._numbers), None
            self._refused, self._notes = list(complaints), list(notes)
            if not self._refused:
                words = [sys.executable, "-m", "studio", *argv, "--plan", "--json"]
                self._child = Child(words, self.site.workspace.root, _environment(self.site, devices), self.limit_s)
            return self._told(self._number)

    def look(self, number: int) -> dict[str, Any]:
        """How one stands. Raises StudioError for a number that never was."""
        with self._lock:
            return self._told(number)

    def cancel(self, number: int) -> dict[str, Any]:
        """End one, if it still runs."""
        with self._lock:
            if number == self._number and self._child is not None:
                self._child.cancel()
            return self._told(number)

    def _told(self, number: int) -> dict[str, Any]:
        if number < 1 or number > self._number:
            raise StudioError(f"there is no check {number}; check again.")
        told: dict[str, Any] = {"id": number, "elapsed_s": 0.0, "said": [], "notes": self._notes}
        if number < self._number:
            return {**told, "state": "replaced", "notes": []}
        child = self._child
        if child is None:
            return {**told, "state": "done", "exit_code": 10, "result": {"ok": False, "complaints": self._refused}}
        told |= {"elapsed_s": round(child.elapsed_s, 1), "said": list(child.said)}
        if child.running:
            return {**told, "state": "running"}
        if child.cancelled:
            return {**told, "state": "cancelled"}
        return {**told, "state": "done", "exit_code": child.exit_code, "result": _result(child, self.limit_s)}


def _environment(site: Site, devices: Sequence[str]) -> dict[str, str]:
    """That of the page without what is the page's own, with the roots and the devices asked for."""
    ours = ("STUDIO_", "GRADIO_")
    # A service for rewards is asked by the check too.
    kept = {name: value for name, value in os.environ.items() if name in (KEY, HOST) or not name.startswith(ours)}
    return {**kept, **site.environment, **device_settings(devices), "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


def _result(child: Child, limit_s: float) -> dict[str, Any]:
    """What the command printed; where that is no answer, why there is none."""
    try:
        result = json.loads(child.answer)
    except ValueError:
        result = None
    if isinstance(result, dict):
        return result
    if child.late:
        sentence = f"the check was ended after {limit_s:.0f} s. Start the run: its log shows what takes so long."
    elif child.said:
        sentence = child.said[-1].removeprefix("error: ")
    else:
        sentence = f"the check ended with exit code {child.exit_code} and said nothing. Try the command in a terminal."
    return {"ok": False, "complaints": [sentence]}


def routes(site: Site) -> APIRouter:
    """The routes of this subject, below /api."""
    router = APIRouter(tags=["preflight"])
    checks = Checks(site)

    @router.post("/preflight")
    def begin(asked: Filled) -> dict[str, Any]:
        """Check a form as a start would; ends a check that still runs. Ask for the answer by the id."""
        check_devices(asked.devices)
        made = compose(site, asked.values, asked.model_name, asked.run_name, asked.devices)
        return checks.begin(made.argv, asked.devices, complaints=made.complaints, notes=made.notes)

    @router.get("/preflight/{number}")
    def look(number: int) -> dict[str, Any]:
        """running, done (with exit_code and result), cancelled, or replaced by a newer one."""
        return checks.look(number)

    @router.delete("/preflight/{number}")
    def cancel(number: int) -> dict[str, Any]:
        """End it."""
        return checks.cancel(number)

    return router
