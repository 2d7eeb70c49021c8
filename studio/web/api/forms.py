"""Forms that are kept in the workspace: .studio/forms/<name>.json, with a version, read without trust in their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from studio.errors import SchemaError, StudioError
from studio.recipe import arguments_of_all
from studio.web.form import EXTRA
from studio.web.naming import checked, read_object
from studio.web.site import Site
from studio.workspace import write_json

SCHEMA = 1


class Form(BaseModel):
    """A form, filled or half filled; nothing in it is checked when it is kept."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    schema_version: int = Field(SCHEMA, alias="schema")
    values: dict[str, Any] = {}
    model_name: str = Field("", max_length=200)
    run_name: str = Field("", max_length=1000)


def routes(site: Site) -> APIRouter:
    """The routes of this subject, below /api."""
    router = APIRouter(tags=["forms"])
    folder = site.workspace.root / ".studio" / "forms"

    @router.get("/forms")
    def forms() -> list[dict[str, Any]]:
        """The forms that are kept, the newest first."""
        paths = sorted(folder.glob("*.json"), key=lambda path: -path.stat().st_mtime)
        return [{"name": path.stem, "changed": path.stat().st_mtime} for path in paths if path.is_file()]

    @router.get("/forms/{name}")
    def form(name: str) -> dict[str, Any]:
        """One form, with notes on what in it this studio does not know."""
        found = read(_path(folder, name))
        known = {*arguments_of_all(), EXTRA}
        unknown = [key for key in found["values"] if key not in known]
        values = {key: value for key, value in found["values"].items() if key in known}
        notes = [f"{name} holds {', '.join(unknown)}, which this studio does not know: left out."] if unknown else []
        return {"form": {**found, "values": values}, "notes": notes}

    @router.put("/forms/{name}")
    def keep(name: str, form: Form) -> dict[str, Any]:
        """Keep a form under a name, in place of what was kept there."""
        write_json(_path(folder, name), form.model_dump(by_alias=True))
        return {"name": name}

    @router.delete("/forms/{name}")
    def forget(name: str) -> dict[str, Any]:
        """Delete a form."""
        path = _path(folder, name)
        if not path.is_file():
            raise StudioError(f"no form is named {name!r}.")
        path.unlink()
        return {"name": name}

    return router


def _path(folder: Path, name: str) -> Path:
    return folder / f"{checked(name, 'name of a form')}.json"


def read(path: Path) -> dict[str, Any]:
    """A kept form. Raises StudioError when there is none, SchemaError when a newer studio wrote it."""
    if not path.is_file():
        raise StudioError(f"no form is named {path.stem!r}.")
    found = read_object(path)
    schema, values = found.get("schema"), found.get("values")
    if not isinstance(schema, int) or not isinstance(values, dict):
        raise StudioError(f"{path} must hold a form as the studio keeps it; it does not. Delete it, or write it anew.")
    if schema > SCHEMA:
        raise SchemaError(f"{path} was written by a newer studio (form {schema}; this one reads {SCHEMA}). Update.")
    names = {key: found[key] for key in ("model_name", "run_name") if isinstance(found.get(key), str)}
    return {"schema": SCHEMA, "values": values, "model_name": "", "run_name": "", **names}
