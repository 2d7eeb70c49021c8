"""Checks of the place: workspace, disks, registry, models and data, and the hub."""

from __future__ import annotations

import email.utils
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from studio.data.catalog import read_catalog
from studio.doctor.finding import Finding, broken, ok, warning
from studio.errors import DatasetError, ModelError, StudioError
from studio.model.asking import Unreachable, brief, offline_by_choice, within
from studio.model.weights import ADAPTER, tensors
from studio.workspace import Workspace, lock, write_text

GIB = 2**30
LEAST_DISK_BYTES, GOOD_DISK_BYTES = 1 * GIB, 20 * GIB
HUB_S = 5
POINTER = b"version https://git-lfs"
# A pointer is a text of three lines.
POINTER_BYTES = 1024
FILES = 20_000
SHOWN = 4
CLOCK_S = 300


def workspace(place: Workspace) -> list[Finding]:
    """Whether files can be written, renamed and locked there, as every run does."""
    found: list[Finding] = []
    for folder in (place.root, *(each for each in (place.data, place.models, place.saves) if each.is_dir())):
        try:
            with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as trial, lock(Path(trial), "doctor"):
                write_text(Path(trial) / "file", "written")
        except (OSError, StudioError) as error:
            remedy = "Change its rights, free its disk, or name another workspace with --workspace."
            found += broken("workspace", f"{folder} cannot be worked in: {error}.", remedy)
    return found or ok("workspace", f"{place.root}: files are written, renamed and locked")


def disk(place: Workspace) -> list[Finding]:
    """Room where runs and downloads are kept."""
    found: list[Finding] = []
    hub = os.environ.get("HF_HUB_CACHE") or os.environ.get("HF_HOME") or "~/.cache/huggingface"
    for name, folder in (("workspace", place.root), ("hub's cache", Path(hub).expanduser())):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(there).free
        text = f"{free / GIB:.1f} GiB free on the disk of the {name} ({there})"
        remedy = "Free space, or move it to another disk. Checkpoints of a run: --save_total_limit 1."
        if free < LEAST_DISK_BYTES:
            found += broken("disk", f"{text}.", remedy)
        elif free < GOOD_DISK_BYTES:
            found += warning("disk", f"{text}, which a few checkpoints of a large model fill.", remedy)
        else:
            found += ok("disk", text)
    return found


def registry(place: Workspace) -> list[Finding]:
    """Whether dataset_info.json parses, and each entry and its files can be used."""
    try:
        catalog = read_catalog(place)
    except DatasetError as error:
        return broken("datasets", str(error), "Correct the file at that place.")
    bad = []
    for name in catalog.names:
        try:
            entry = catalog[name]
            if entry.hub is None:
                entry.files()
        except DatasetError as error:
            bad.append(f"{name}: {error}")
    if bad:
        return warning("datasets", f"of {len(catalog.names)} {len(bad)} cannot be used: {' | '.join(bad[:SHOWN])}",
                       "Correct the entries, or take them out of dataset_info.json.")  # fmt: skip
    return ok("datasets", f"{len(catalog.names)} registered, and their files are there")


def models(place: Workspace) -> list[Finding]:
    """Whether the model folders are whole, by the headers of their files."""
    folders = sorted(place.models.iterdir()) if place.models.is_dir() else []
    folders = [folder for folder in folders if folder.is_dir() and not folder.name.startswith(".")]
    bad = []
    for folder in folders:
        if (folder / ADAPTER).is_file() and not (folder / "config.json").is_file():
            continue
        try:
            tensors(folder)
        except ModelError as error:
            bad.append(f"{place.shown(folder)}: {error}")
    if bad:
        return warning("models", f"of {len(folders)} {len(bad)} cannot be loaded: {' | '.join(bad[:SHOWN])}",
                       "Do as each says, or move the folder away.")  # fmt: skip
    return ok("models", f"{len(folders)} in {place.shown(place.models)}, whole by their headers")


def pointers(place: Workspace) -> list[Finding]:
    """Files that git-LFS has not fetched: a pointer of three lines lies in their place."""
    found = [place.shown(path) for path in islice(_small_files(place), FILES) if _starts(path, POINTER)]
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        remedy = "Fetch them: git lfs install, then git lfs pull."
        return broken("git-LFS", f"only pointers, not the files: {', '.join(found[:SHOWN])}{more}.", remedy)
    return ok("git-LFS", "no pointer in place of a file under data/ and models/")


def _small_files(place: Workspace) -> Iterator[Path]:
    for folder in (place.data, place.models):
        for path in folder.rglob("*"):
            try:
                if path.is_file() and path.stat().st_size < POINTER_BYTES:
                    yield path
            except OSError:
                continue  # it went away in the meantime


def _starts(path: Path, start: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(start)) == start
    except OSError:
        return False


def hub(_: Workspace) -> list[Finding]:
    """Whether the hub answers within seconds, and whether the clock agrees with it."""
    if reason := offline_by_choice():
        return ok("hub", f"offline by choice: {reason}. Models and data on this machine are used")
    from studio.model.hub import hub_of_models

    if hub_of_models() == "ms":
        from studio.model.modelscope import endpoint
    else:
        from studio.model.huggingface import endpoint
    address = endpoint()
    try:
        seconds = within(HUB_S, lambda: _clock_ahead(address))
    except Unreachable as why:
        remedy = "Models and data on this machine need no hub: set HF_HUB_OFFLINE=1. A mirror is named by HF_ENDPOINT."
        return warning("hub", f"{address} is not reached: {why}.", remedy)
    found = ok("hub", f"{address} answers")
    if abs(seconds) > CLOCK_S:
        text = f"this machine's clock is {abs(seconds) / 60:,.0f} minutes {'ahead' if seconds > 0 else 'behind'}."
        found += warning("clock", text, "Set it: certificates and the times of runs depend on it.")
    return found


def _clock_ahead(address: str) -> float:
    """Seconds that this machine's clock is ahead of the hub's; any answer of the hub will do."""
    import httpx2

    try:
        answer = httpx2.head(address, timeout=HUB_S, follow_redirects=False)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Unreachable(brief(error)) from None
    try:
        return time.time() - email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return 0.0
