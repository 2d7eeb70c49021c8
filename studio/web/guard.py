"""Who may speak to the studio: the token, host names, origins."""

from __future__ import annotations

import hmac
import urllib.parse
from http.cookies import SimpleCookie

from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from studio.web.site import Site

COOKIE = "studio_token"


class Guard:
    """An application that only answers those who know the token."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app, self._site = app, site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what passes, refuse the rest."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = urllib.parse.parse_qs(scope["query_string"].decode("latin-1"))
        if self._same(query.get("token", [""])[0]) and scope["method"] == "GET":
            response = RedirectResponse(f"{self._site.root_path}/", 303)
            response.set_cookie(COOKIE, self._site.token, httponly=True, samesite="strict", path="/")
            await response(scope, receive, send)
            return
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if scope["path"] != "/health" and not self._same(cookie.value if cookie else bearer):
            await PlainTextResponse("open the address that the terminal shows", 401)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._site.token.encode())
