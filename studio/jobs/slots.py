"""Who may start: devices are taken alone by training and shared by chats; light work goes on beside everything."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from studio.errors import ArgumentError, WorkspaceError
from studio.jobs.job import LIVE, Job
from studio.jobs.store import DEFAULTS, Store

HEAVY, LIGHT = ("train", "eval"), ("export", "data")
CPU = ""


@dataclass
class Plan:
    """What comes of the queue now."""

    start: list[Job] = field(default_factory=list)
    waits: dict[int, str] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)


def settings(store: Store) -> dict[str, int]:
    """The numbers that decide, as a person set them."""
    return {name: store.setting(name) for name in DEFAULTS}


def plan(waiting: Sequence[Job], live: Sequence[Job], limits: Mapping[str, int]) -> Plan:
    """Who of those that wait, in their order, starts beside those that work.

    One that must wait keeps later ones from the devices it needs, or it would wait for ever.
    """
    made, busy = Plan(), list(live)
    kept: set[str] = set()
    for job in waiting:
        if job.kind == "serve":
            why = _refusal(job.devices, busy, limits)
            if why:
                made.refused[job.id] = why
                continue
        elif job.kind in LIGHT:
            why = _light(busy, limits)
        else:
            why = _heavy(job, busy, kept, limits)
        if why:
            made.waits[job.id] = why
            continue
        made.start.append(job)
        busy.append(job)
    return made


def check_devices(devices: Sequence[str]) -> None:
    """Raise ArgumentError unless these are GPUs, each by its own number and once: another spelling would hide one."""
    for name in devices:
        if not re.fullmatch(r"0|[1-9][0-9]{0,2}", name):
            raise ArgumentError([f"devices must be numbers of GPUs, such as 0; got {name[:40]!r}."])
    if len(set(devices)) < len(devices):
        raise ArgumentError([f"devices must name each GPU once; got {', '.join(devices)}."])


def refuse_serve(store: Store, devices: Sequence[str]) -> None:
    """Raise WorkspaceError when no model can be loaded for chat on these devices now: that never waits."""
    active = store.jobs(states=LIVE) + [job for job in store.queue() if job.kind == "serve"]
    if why := _refusal(devices, active, settings(store)):
        raise WorkspaceError(why)


def _spots(devices: Sequence[str]) -> tuple[str, ...]:
    return tuple(devices) or (CPU,)


def _called(device: str) -> str:
    return f"GPU {device}" if device else "the processor"


def _on(device: str, busy: Sequence[Job], kinds: Sequence[str]) -> list[Job]:
    return [job for job in busy if job.kind in kinds and device in _spots(job.devices)]


def _light(busy: Sequence[Job], limits: Mapping[str, int]) -> str:
    at_work = [job for job in busy if job.kind in LIGHT]
    return f"waits for {at_work[0].name} to end" if len(at_work) >= limits["light_jobs"] else ""


def _heavy(job: Job, busy: Sequence[Job], kept: set[str], limits: Mapping[str, int]) -> str:
    for device in _spots(job.devices):
        limit = limits["jobs_per_gpu" if device else "cpu_jobs"]
        workers = _on(device, busy, HEAVY)
        holders = _on(device, busy, ("serve",)) or (workers if len(workers) >= limit else [])
        if holders or device in kept:
            chat = " for chat until it is unloaded" if holders and holders[0].kind == "serve" else ""
            first = f"waits for {_called(device)}: {holders[0].name} holds it{chat}" if holders else ""
            turn = f"waits its turn for {_called(device)}"
            said = turn if device in kept else first
            kept.update(_spots(job.devices))
            return said
    return ""


def _refusal(devices: Sequence[str], busy: Sequence[Job], limits: Mapping[str, int]) -> str:
    for device in _spots(devices):
        if workers := _on(device, busy, HEAVY):
            return (
                f"a model for chat needs a device that no training job has; {workers[0].name} has {_called(device)}. "
                "Wait for it to end, stop it, or choose another device."
            )
        servers = _on(device, busy, ("serve",))
        if len(servers) >= limits["serve_jobs_per_device"]:
            names = ", ".join(job.name for job in servers)
            return (
                f"{_called(device)} holds at most {limits['serve_jobs_per_device']} models for chat at a time; "
                f"it has {names}. Unload one first."
            )
    return ""
