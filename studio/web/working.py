"""A work before it starts: its command, where it writes, and what stands in its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.command import to_argv, to_yaml
from studio.errors import ArgumentError, StudioError
from studio.jobs.job import Job, shell_line
from studio.recipe import make_set
from studio.web.exporting import by_field
from studio.web.site import Site
from studio.works.base import WORKS, Work, WorkSet
from studio.workspace import Workspace


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
        return f"{what}: {place.shown(self.target)}" if self.target else what

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
    if made.asked.flat().get("trust_remote_code") and not site.trusts_code:
        made.complaints.append(
            "--trust_remote_code: this studio was started without it. Start it with studio webui --trust_remote_code "
            "when you have read the model's code."
        )
    if made.complaints:
        return made
    try:
        made.target = work.target(made.asked, place)
        made.facts = work.facts(made.asked, place)
    except StudioError as error:
        made.complaints += getattr(error, "complaints", None) or [str(error)]
    return made


def work_of(job: Job) -> Work | None:
    """The work that a job does; None for another kind of job."""
    found = (WORKS[name] for name in WORKS)
    return next((work for work in found if job.argv[: len(work.words)] == work.words), None)
