"""The form's fields, and what a filled form says as a command."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from studio.web.form import compose
from studio.web.pasted import read_pasted
from studio.web.schema import schema
from studio.web.site import Site


class Filled(BaseModel):
    """A filled form: the values that differ from the defaults, and what names the run's folder."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    values: dict[str, Any] = {}
    model_name: str = Field("", max_length=200)
    run_name: str = Field("", max_length=1000)
    devices: list[str] = Field([], max_length=64)


class Pasted(BaseModel):
    """A command or a settings file as text."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=1 << 20)


def routes(site: Site) -> APIRouter:
    """The routes of this subject, below /api."""
    router = APIRouter(tags=["recipe"])

    @router.get("/form")
    def form(verb: str = "train") -> dict[str, Any]:
        """The arguments of a verb, as a form shows them."""
        return schema(verb)

    @router.post("/recipe")
    def recipe(asked: Filled) -> dict[str, Any]:
        """The command that a form says, with its complaints."""
        return compose(site, asked.values, asked.model_name, asked.run_name, asked.devices).as_json()

    @router.post("/recipe/read")
    def read(pasted: Pasted) -> dict[str, Any]:
        """What a pasted command, YAML or JSON says, as values for the form."""
        return asdict(read_pasted(pasted.text, site.workspace))

    return router
