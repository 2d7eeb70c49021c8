"""The application: our routes, Gradio's page behind them, and the guard in front of everything."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic_core import PydanticSerializationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from studio.errors import StudioError
from studio.web.api import datasets, evaluations, export, forms, jobs, machine, models, preflight, recipe, serve, works
from studio.web.assets import add_assets
from studio.web.guard import MOST_UPLOAD, Guard
from studio.web.head import Head
from studio.web.language import for_gradio
from studio.web.reference import add_reference
from studio.web.site import Site

log = logging.getLogger(__name__)

# Each has routes(site); what they answer stands in the OpenAPI page at /api/docs.
SUBJECTS = (recipe, forms, preflight, models, datasets, jobs, machine, serve, export, works, evaluations)
# Gradio's queue looks for work that often. Its own 1 ms takes 5 % of a core for nothing.
LOOK_EVERY_S = 0.02


def make_app(site: Site) -> ASGIApp:
    """Everything the browser asks for."""
    return Guard(Head(make_inner(site), site.root_path), site)


def make_inner(site: Site) -> FastAPI:
    """The same without its guard: never to be served as it is."""
    app = FastAPI(title="studio", docs_url=None, openapi_url="/api/openapi.json", redoc_url=None)
    for subject in SUBJECTS:
        app.include_router(subject.routes(site), prefix="/api")
    add_reference(app)
    add_assets(app)

    @app.get("/health", include_in_schema=False)
    def health() -> dict[str, str]:
        """Whether the studio answers."""
        return {"status": "ok"}

    @app.api_route("/api/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    def nothing(path: str) -> Response:
        """What no subject knows: an answer in our form, not Gradio's page."""
        raise HTTPException(404, "there is nothing of this name. /api/docs lists what there is.")

    _tell(app)
    # Gradio makes a loop for each lock that it sets up where none runs, and leaves them open.
    asyncio.run(_mount_page(app, site))
    return app


def _tell(app: FastAPI) -> None:
    """Errors as sentences: {"error": ..., "complaints": [...]}, and never where in the code they were raised."""

    def answer(status: int, error: str, complaints: list[str] | None = None) -> Response:
        return JSONResponse({"error": error, "complaints": complaints or [error]}, status)

    @app.exception_handler(StudioError)
    async def wrong(_: Request, error: StudioError) -> Response:
        status = {3: 409, 11: 507}.get(error.exit_code, 422)
        return answer(status, str(error), getattr(error, "complaints", None))

    @app.exception_handler(RequestValidationError)
    async def misfit(_: Request, error: RequestValidationError) -> Response:
        told = ["{}: {}".format(".".join(map(str, each["loc"][1:])), each["msg"]) for each in error.errors()]
        return answer(422, "\n".join(told), told)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return answer(error.status_code, str(error.detail))

    @app.exception_handler(UnicodeEncodeError)
    @app.exception_handler(PydanticSerializationError)
    async def halved(request: Request, error: Exception) -> Response:
        # JSON can say half a character ("\\ud800"); no file, no table and no answer can hold one.
        if "surrogates" not in str(error):
            return await failed(request, error)
        return answer(422, "text must be whole characters of Unicode; this request holds half of one. Write it anew.")

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        # The page hears a number, the terminal the rest.
        number = secrets.token_hex(4)
        log.error("error %s", number, exc_info=error)
        return answer(500, f"the studio failed on this; its terminal says where, as error {number}.")


async def _mount_page(app: FastAPI, site: Site) -> None:
    # Read by Gradio when it is imported: nothing of ours is told to anybody.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # What it keeps of uploads lies in the workspace, not where every user of the machine may look.
    os.environ["GRADIO_TEMP_DIR"] = str(site.workspace.root / ".studio" / "cache" / "uploads")
    import gradio

    from studio.web.page import blocks, theme

    page = blocks(site)
    gradio.mount_gradio_app(
        app, page, path="/", root_path=site.root_path or None, i18n=for_gradio(), theme=theme(),
        footer_links=[], run_history=False, ssr_mode=False, mcp_server=False, pwa=False, max_file_size=MOST_UPLOAD,
        show_error=False, allowed_paths=[], enable_monitoring=False,
    )  # fmt: skip
    # Without it a mounted page lets any file of this machine be named as an upload (Gradio 6.31).
    page.has_launched = True
    with contextlib.suppress(AttributeError):
        page._queue.sleep_when_free = LOOK_EVERY_S
