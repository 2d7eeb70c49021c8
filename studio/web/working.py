"""A work before it starts: its command, where it writes, and what stands in its way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.command import to_argv, to_yaml
from studio.errors import ArgumentError, StudioError
from studio.jobs.job import Job, shell_line
from studio.recipe import make_set
from studio.web.exporting import by_field
from studio.web.site import Site
from studio.web.trust import code_complaints
from studio.works.base import WORKS, Work, WorkSet
from studio.workspace import Workspace

# Arguments that name something on this machine, by the end of their names.
_PLACES = re.compile(
    r"(^|_)(files?|dir|path|folder|models?|tokenizer|base|runs?|adapters?|template|policy|compare_with|tokens_map"
    r"|held_out|export)$"
)


@dataclass
class Draft:
    """What a form asks for; it may start when `complaints` is empty."""

    work: Work
    asked: WorkSet | None = None
    target: Path | None = None
    complaints: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def argv(self) -> list[str]:
        """The words after `studio`."""
        return [*self.work.words, *to_argv(self.asked)] if self.asked else []

    def title(self, place: Workspace) -> str:
        """What its job is called in lists."""
        what = " ".join(self.work.words[1:])
        model = str(self.asked.flat().get("model_name_or_path") or "") if self.asked else ""
        named = place.shown(self.target) if self.target else model
        return f"{what}: {named}" if named else what

    def told(self, place: Workspace) -> dict[str, Any]:
        """As the page reads it."""
        return {
            "ok": self.asked is not None and not self.complaints,
            "argv": self.argv,
            "shell": shell_line(self.argv, (), place) if self.asked else "",
            "yaml": to_yaml(self.asked) if self.asked else "",
            "target": place.shown(self.target) if self.target else "",
            "complaints": self.complaints, "by_field": by_field(self.complaints), "notes": self.notes,
            "facts": self.facts,
        }  # fmt: skip


def draft(site: Site, work: Work, values: Mapping[str, Any]) -> Draft:
    """Check what a form says; nothing heavy is imported and no hub is asked."""
    place, made = site.workspace, Draft(work)
    try:
        made.asked, made.notes = make_set(work.asked, values)
    except ArgumentError as error:
        made.complaints = error.complaints
        return made
    made.complaints = made.asked.complaints()
    made.complaints += code_complaints(site, made.asked.flat())
    made.complaints += _outside(made.asked, place)
    if made.complaints:
        return made
    try:
        made.target = work.target(made.asked, place)
        made.facts = work.facts(made.asked, place)
        made.complaints += made.facts.pop("complaints", [])
    except StudioError as error:
        made.complaints += getattr(error, "complaints", None) or [str(error)]
    return made


def _outside(asked: WorkSet, place: Workspace) -> Iterator[str]:
    """A complaint for each path that the studio may not use."""
    for name, value in asked.flat().items():
        if not _PLACES.search(name):
            continue
        for path in value if isinstance(value, list | tuple) else [value]:
            if isinstance(path, str) and path and "://" not in path:
                try:
                    place.path(path)
                except StudioError as error:
                    yield f"--{name}: {error}"


def work_of(job: Job) -> Work | None:
    """The work that a job does; None for another kind of job."""
    found = (WORKS[name] for name in WORKS)
    return next((work for work in found if job.argv[: len(work.words)] == work.words), None)
