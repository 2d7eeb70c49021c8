"""The application: our routes, Gradio's page behind them, and the guard in front of everything."""

from __future__ import annotations

import contextlib
import os

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from studio.errors import StudioError
from studio.web.api import datasets, export, forms, jobs, machine, models, preflight, recipe, serve
from studio.web.guard import Guard
from studio.web.head import STATIC, Head
from studio.web.language import LANGUAGES, for_gradio, strings
from studio.web.site import Site

# Each has routes(site); what they answer stands in the OpenAPI page at /api/docs.
SUBJECTS = (recipe, forms, preflight, models, datasets, jobs, machine, serve, export)
UPLOAD = "512mb"
# Gradio's queue looks for work that often. Its own 1 ms takes 5 % of a core for nothing.
LOOK_EVERY_S = 0.02


def make_app(site: Site) -> ASGIApp:
    """Everything the browser asks for."""
    app = FastAPI(title="studio", docs_url="/api/docs", openapi_url="/api/openapi.json", redoc_url=None)
    for subject in SUBJECTS:
        app.include_router(subject.routes(site), prefix="/api")
    app.mount("/studio/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/studio/language/{code}.json", include_in_schema=False)
    def language(code: str) -> dict[str, str]:
        """Every string of a language."""
        return strings(code if code in LANGUAGES else next(iter(LANGUAGES)))

    @app.get("/health", include_in_schema=False)
    def health() -> dict[str, str]:
        """Whether the studio answers."""
        return {"status": "ok"}

    _tell(app)
    _mount_page(app, site)
    return Guard(Head(app, site.root_path), site)


def _tell(app: FastAPI) -> None:
    """Errors as sentences: {"error": ..., "complaints": [...]}."""

    @app.exception_handler(StudioError)
    async def wrong(_: Request, error: StudioError) -> Response:
        complaints = getattr(error, "complaints", None) or [str(error)]
        status = {3: 409, 11: 507}.get(error.exit_code, 422)
        return JSONResponse({"error": str(error), "complaints": complaints}, status)

    @app.exception_handler(RequestValidationError)
    async def misfit(_: Request, error: RequestValidationError) -> Response:
        told = ["{}: {}".format(".".join(map(str, each["loc"][1:])), each["msg"]) for each in error.errors()]
        return JSONResponse({"error": "\n".join(told), "complaints": told}, 422)


def _mount_page(app: FastAPI, site: Site) -> None:
    # Read by Gradio when it is imported: nothing of ours is told to anybody.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import gradio

    from studio.web.page import blocks

    page = blocks(site)
    gradio.mount_gradio_app(
        app, page, path="/", root_path=site.root_path or None, i18n=for_gradio(), theme=gradio.themes.Default(),
        footer_links=[], run_history=False, ssr_mode=False, mcp_server=False, pwa=False, max_file_size=UPLOAD,
        show_error=False,
    )  # fmt: skip
    # Without it a mounted page lets any file of this machine be named as an upload (Gradio 6.31).
    page.has_launched = True
    with contextlib.suppress(AttributeError):
        page._queue.sleep_when_free = LOOK_EVERY_S
