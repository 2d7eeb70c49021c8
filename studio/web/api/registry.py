"""The registry of datasets as a text, for the page: read, checked while it is written, saved by version."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from studio.data import edit
from studio.data.catalog import Unreadable
from studio.web.datasets_view import broken_as_json, registries, registry_named
from studio.web.site import Site
from studio.workspace import Workspace


class Text(BaseModel):
    """A text of a registry; `path` is one of those that the list names, "" for the usual one."""

    model_config = ConfigDict(extra="forbid")

    text: str
    path: str = ""


class Save(Text):
    """What to write over the version that was read. `broken` allows entries that cannot be used."""

    version: str
    broken: bool = False


def routes(site: Site) -> APIRouter:
    """The routes of this subject, below /api."""
    router = APIRouter()
    place = site.workspace

    @router.get("/datasets/registry")
    def read(path: str = "") -> dict[str, Any]:
        """The text on the disk with its version and complaints, the last good text if it is broken, backups."""
        origin, _ = registry_named(place, path)
        text, version = edit.read(origin)
        told = _checked(text, path, place) if version else {"error": "", "line": 0, "column": 0, "entries": []}
        kept = [
            {"name": each.name, "size_bytes": each.stat().st_size, "saved": each.stat().st_mtime}
            for each in edit.backups(origin, place)
        ]
        return {
            "path": place.shown(origin),
            "text": text,
            "version": version,
            **told,
            "good": edit.last_good(origin, place) if told["error"] else None,
            "backups": kept,
            "registries": [place.shown(each) for each, _ in registries(place)],
        }

    @router.post("/datasets/registry/check")
    def check(body: Text) -> dict[str, Any]:
        """What is wrong with a text: with the whole (line and column), or with single entries."""
        return _checked(body.text, body.path, place)

    @router.put("/datasets/registry", response_model=None)
    def save(body: Save) -> Response | dict[str, Any]:
        """Write a text over the version it was made from. 409 with the other text when that has changed."""
        origin, base = registry_named(place, body.path)
        try:
            version = edit.save(origin, base, body.text, body.version, place, broken=body.broken)
        except edit.Changed as error:
            told = {"error": str(error), "complaints": [str(error)], "text": error.text, "version": error.version}
            return JSONResponse(told, 409)
        except edit.BrokenEntries as error:
            entries = [vars(each) for each in error.entries]
            return JSONResponse({"error": str(error), "complaints": error.complaints, "entries": entries}, 422)
        except Unreadable as error:
            return JSONResponse({**broken_as_json(error, place), "complaints": [error.sentence]}, 422)
        return {"version": version}

    @router.get("/datasets/registry/backup")
    def backup(name: str, path: str = "") -> dict[str, str]:
        """The text of a backup."""
        return {"text": edit.backup(registry_named(place, path)[0], name, place)}

    return router


def _checked(text: str, path: str, place: Workspace) -> dict[str, Any]:
    origin, base = registry_named(place, path)
    try:
        entries = edit.check(text, origin, base)
    except Unreadable as error:
        return {**broken_as_json(error, place), "entries": []}
    return {"error": "", "line": 0, "column": 0, "entries": [vars(each) for each in entries]}
