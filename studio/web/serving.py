"""Models that are loaded for the Chat tab: what is asked becomes a job, and how such a job stands."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import BaseModel, ConfigDict

from studio.command import read_set, to_argv
from studio.errors import ArgumentError, StudioError, WorkspaceError
from studio.jobs.failure import classify, readable
from studio.jobs.job import LIVE, Job
from studio.jobs.slots import check_devices, refuse_serve
from studio.jobs.store import folder_of
from studio.model.classifier import is_reward_model
from studio.recipe import ApiSet, make_set
from studio.web.proxy import read_endpoint
from studio.web.site import Site

# Models that ended longer ago are no news; they stay in the Jobs tab.
NEWS_S = 3600
TOLD_LINES = 8
TAIL_BYTES = 32 * 1024


class Load(BaseModel):
    """A model to load; the same `request` twice is one job."""

    model_config = ConfigDict(extra="forbid")

    model: str
    adapters: list[str] = []
    template: str = ""
    quantization_bit: Literal[4, 8] | None = None
    infer_dtype: str = "auto"
    enable_thinking: bool | None = None
    default_system: str = ""
    trust_remote_code: bool = False
    devices: list[str] = []
    request: str = ""


def command_of(site: Site, asked: Load) -> list[str]:
    """The command that serves a model. Raises ArgumentError with all complaints, StudioError for a foreign path."""
    check_devices(asked.devices)
    values: dict[str, Any] = {
        "model_name_or_path": asked.model.strip(),
        "adapter_name_or_path": asked.adapters,
        "template": asked.template,
        "quantization_bit": asked.quantization_bit,
        "infer_dtype": asked.infer_dtype,
        "enable_thinking": asked.enable_thinking,
        "default_system": asked.default_system,
        "trust_remote_code": asked.trust_remote_code,
        "port": 0,
    }
    made, _ = make_set(ApiSet, {name: value for name, value in values.items() if value is not None})
    if not made.model.model_name_or_path:
        raise ArgumentError(["choose a model to load: a folder in models/ or saves/, or a name on the hub."])
    if len(made.model.adapter_name_or_path) > 1:
        raise ArgumentError(["one adapter is loaded beside its base; merge several in the Export tab first."])
    if asked.trust_remote_code and not site.trusts_code:
        raise ArgumentError(["trust_remote_code: this studio was started without --trust_remote_code."])
    template = made.template.template
    paths = [template] if "/" in template or template.endswith(".jinja") else []
    for path in (made.model.model_name_or_path, *made.model.adapter_name_or_path, *paths):
        site.workspace.path(path)
    return ["api", *to_argv(made)]


def why_not(site: Site, devices: list[str]) -> tuple[str, int | None] | None:
    """Why no model may be loaded there now, and the job that is in the way; None when one may."""
    try:
        refuse_serve(site.store, devices)
    except WorkspaceError as error:
        active = site.store.jobs(states=(*LIVE, "queued"))
        return str(error), next((job.id for job in active if job.name in str(error)), None)
    return None


def title_of(asked: Load) -> str:
    """What the job is called: the model, and the adapter on it."""
    names = [path.strip().rstrip("/") for path in (asked.model, *asked.adapters)]
    return " + ".join(_short(name) for name in names)


def _short(path: str) -> str:
    """The part of a path that tells models apart: a checkpoint needs the name of its run."""
    parts = path.split("/")
    return "/".join(parts[-2:]) if parts[-1].startswith("checkpoint-") else parts[-1]


def told(site: Site, job: Job) -> dict[str, Any]:
    """A loaded model as the page shows it."""
    folder = folder_of(site.workspace, job.id)
    endpoint = read_endpoint(folder) if job.state == "running" else None
    model, adapters = _parts(job)
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "active": job.active,
        "title": job.title,
        "model": model,
        "adapters": adapters,
        "head": _head(site, [model, *adapters]),
        "devices": list(job.devices),
        "ready": endpoint is not None,
        "name": endpoint.names[0] if endpoint else "",
        "created": job.created,
        "started": job.started,
        "ended": job.ended,
        "sentence": job.sentence,
        "memory": _memory(job) if job.active else 0,
        "tail": _last_lines(folder / "log.txt") if endpoint is None else [],
        "failure": _failure(job, folder / "log.txt"),
    }


def is_news(job: Job) -> bool:
    """Whether the Chat tab shows it: loaded, being loaded, or ended a short while ago."""
    return job.active or (job.ended or 0) > time.time() - NEWS_S


def _parts(job: Job) -> tuple[str, list[str]]:
    try:
        asked, _ = read_set(ApiSet, job.argv[1:])
    except ArgumentError:
        return job.title, []
    return asked.model.model_name_or_path, list(asked.model.adapter_name_or_path)


def _head(site: Site, paths: list[str]) -> str:
    """ "score" for a reward model, which writes nothing, else "tokens"."""
    with contextlib.suppress(StudioError):
        if any(is_reward_model(site.workspace.path(path)) for path in paths):
            return "score"
    return "tokens"


def _memory(job: Job) -> int:
    """Bytes that the process holds; 0 when there is none."""
    try:
        return int(psutil.Process(job.process.pid).memory_info().rss) if job.process else 0
    except psutil.Error:
        return 0


def _last_lines(log: Path) -> list[str]:
    return [line for line in _tail(log).splitlines() if line.strip()][-TOLD_LINES:]


def _tail(log: Path) -> str:
    """The end of what the process has said."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - TAIL_BYTES, 0))
            return readable(file.read().decode("utf-8", "replace"))
    except OSError:
        return ""


def _failure(job: Job, log: Path) -> dict[str, str] | None:
    if job.state not in ("failed", "killed", "lost"):
        return None
    found = classify(job.exit_code or 0, job.signal, _tail(log), job.wish)
    return {"kind": found.kind, "cause": found.cause, "evidence": found.evidence, "remedy": found.remedy}
