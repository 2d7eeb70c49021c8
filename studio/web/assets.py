"""Our scripts, styles and strings, under an address that changes with them.

A script imports another by a relative name, so all of them come from one folder with the version in its
name: a browser may keep them for ever, and after an upgrade no new script meets an old one.
"""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

from studio.web.head import STATIC, version
from studio.web.language import LANGUAGES, strings

FOR_EVER = "public, max-age=31536000, immutable"
# The browser asks each time whether it has changed.
ASK = "no-cache"


class Scripts(StaticFiles):
    """Files below a folder that begins with a version."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """One file; of another version than this one's, what there is now, to be asked for again."""
        mark, _, rest = path.partition("/")
        # Twelve characters of SHA-256; a name of a script is none.
        is_versioned = len(mark) == 12 and all(letter in "0123456789abcdef" for letter in mark)
        response = await super().get_response(rest if is_versioned else path, scope)
        asked = scope["query_string"].decode("latin-1").removeprefix("v=")
        response.headers["cache-control"] = FOR_EVER if version() in (mark, asked) else ASK
        return response


def add_assets(app: FastAPI) -> None:
    """The routes of the files."""
    app.mount("/studio/static", Scripts(directory=STATIC), name="static")

    @app.get("/studio/language/{code}.json", include_in_schema=False)
    def language(code: str, v: str = "") -> Response:
        """Every string of a language."""
        told = strings(code if code in LANGUAGES else next(iter(LANGUAGES)))
        return JSONResponse(told, headers={"cache-control": FOR_EVER if v == version() else ASK})

    @app.get("/manifest.json", include_in_schema=False)
    def manifest() -> Response:
        """What a browser asks for unasked."""
        return JSONResponse({"name": "studio", "short_name": "studio", "start_url": ".", "display": "browser"})

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        """The same."""
        return Response((STATIC / "icon.svg").read_bytes(), media_type="image/svg+xml")
