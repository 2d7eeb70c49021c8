"""Datasets, for the page: the list, rows, new entries, statistics. The registry as a text is in registry.py."""

from __future__ import annotations

import urllib.parse
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from studio.web import datasets_add, datasets_count
from studio.web.api import registry
from studio.web.datasets_rows import entry_for, lens_of, page_of
from studio.web.datasets_view import list_datasets, version_of
from studio.web.site import Site


class Named(BaseModel):
    """A dataset of the registry by name, or a file below data/ by path and encoding."""

    model_config = ConfigDict(extra="forbid")

    dataset: str = Field("", max_length=300)
    path: str = Field("", max_length=4096)
    encoding: str = Field("", max_length=40)


class Page(Named):
    """Which rows, and how they are looked at; `mapping` reads a file as an entry would that is not written yet."""

    start: int = Field(1, ge=1, le=10**12)
    count: int = Field(5, ge=1, le=50)
    whole: bool = False
    values: dict[str, Any] = {}
    mapping: dict[str, Any] | None = None


class Count(Named):
    """What is to be counted, and whether to begin when it is not known yet."""

    values: dict[str, Any] = {}
    begin: bool = False


class New(Named):
    """An entry to write for a file."""

    name: str = Field(max_length=300)
    mapping: dict[str, Any] = {}


def routes(site: Site) -> APIRouter:
    """The routes of this subject, below /api."""
    router = APIRouter(tags=["datasets"])
    place = site.workspace

    @router.get("/datasets")
    def datasets(dataset_dir: str = "data", known: str = "") -> dict[str, Any]:
        """Every dataset of the registry: what it is, whether it can be used, which stages it fits, why not others.

        With `known`, a version, the answer is short when nothing has changed.
        """
        if known and known == version_of(place, dataset_dir):
            return {"version": known, "same": True}
        return list_datasets(place, dataset_dir)

    @router.post("/datasets/rows")
    def rows(body: Page) -> dict[str, Any]:
        """Rows as they are, as conversations, and as tokens with their loss mask where a model is chosen."""
        entry = entry_for(site, body.dataset, body.path, body.encoding, body.mapping)
        count = 1 if body.whole else body.count
        return page_of(entry, lens_of(body.values, place), place, body.start, count, whole=body.whole)

    @router.get("/datasets/files")
    def files() -> list[dict[str, Any]]:
        """Data files below data/ that no entry names."""
        return datasets_add.free_files(place)

    @router.post("/datasets/look")
    def look(body: Named) -> dict[str, Any]:
        """What a file seems to hold, and every way to read it."""
        return datasets_add.look(site, body.path, body.encoding)

    @router.post("/datasets/try")
    def attempt(body: Page) -> dict[str, Any]:
        """How many of a file's first rows a mapping reads, with a few of them to see."""
        entry = entry_for(site, "", body.path, body.encoding, body.mapping or {})
        page = page_of(entry, lens_of({}, place), place, 1, body.count, whole=False)
        return {**datasets_add.reads(entry), "rows": page["rows"], "notes": page["notes"]}

    @router.post("/datasets/add")
    def add(body: New) -> dict[str, Any]:
        """Write the entry of a file into the registry, under a new name."""
        datasets_add.add(site, body.name, body.path, body.encoding, body.mapping)
        return {"name": body.name.strip(), "version": version_of(place)}

    @router.post("/datasets/statistics")
    def statistics(body: Count) -> dict[str, Any]:
        """The numbers of a dataset where they are known, else the job that counts them."""
        entry = entry_for(site, body.dataset, body.path, body.encoding)
        return datasets_count.ask(site, entry, body.dataset or body.path, body.encoding, body.values, begin=body.begin)

    _upload(router, site)
    router.include_router(registry.routes(site))
    return router


def _upload(router: APIRouter, site: Site) -> None:
    @router.post("/datasets/upload", response_model=None)
    async def upload(
        request: Request,
        x_file_name: Annotated[str, Header(max_length=4096)],
        content_length: Annotated[int | None, Header()] = None,
    ) -> Response:
        """Keep the body as a new file in data/. X-File-Name is its name, percent-encoded; it is made safe."""
        asked = urllib.parse.unquote(x_file_name, errors="replace")
        try:
            path = await datasets_add.receive(site.workspace, asked, content_length, request.stream())
        except ClientDisconnect:
            # Nobody hears the answer; what had come is gone already.
            return Response(status_code=400)
        except datasets_add.TooLarge as error:
            return JSONResponse({"error": str(error), "complaints": [str(error)]}, 413)
        except datasets_add.WrongEnding as error:
            return JSONResponse({"error": str(error), "complaints": [str(error)]}, 415)
        return JSONResponse({"path": site.workspace.shown(path), "size_bytes": path.stat().st_size})
