"""How somebody gets in: the token once, in the address, as a form or as a bearer token; then a cookie."""

from __future__ import annotations

import hashlib
import hmac
import html
import time
import urllib.parse
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie

from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from studio.web.audit import Audit
from studio.web.language import LANGUAGES, TAGS, strings
from studio.web.site import Site
from studio.web.visitor import Visitor

COOKIE = "studio_{port}"
COOKIE_S = 400 * 24 * 3600
# Wrong tokens from one address in that time; then another wrong one is answered by how long to wait.
MOST_WRONG, WINDOW_S = 10, 60.0
# Addresses that are remembered: an attacker with many of them must not fill the memory.
MOST_ADDRESSES = 1000


class Login:
    """Tells who knows the token."""

    def __init__(self, site: Site, audit: Audit) -> None:
        self._site, self._audit = site, audit
        self._token = _digest(site.token)
        session = (site.session or site.token).encode()
        # Not the token itself: what a browser keeps opens this workspace's page and nothing else.
        self._cookie = hmac.new(session, b"cookie " + site.token.encode(), "sha256").hexdigest()
        self.cookie_name = COOKIE.format(port=site.port)
        # Only where every way to the page is said to be TLS: elsewhere the browser would not send it back.
        self._is_secure = bool(site.public_hosts) and all(name.startswith("https://") for name in site.public_hosts)
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    def answer(self, visitor: Visitor) -> Response | None:
        """None for somebody who is known; else what is answered in place of what was asked."""
        given = visitor.query.get("token", [])
        if given and visitor.path in ("", "/") and visitor.method == "GET":
            return self._enter(visitor, given[0])
        if visitor.bearer:
            return None if self._is_right(visitor, visitor.bearer) else self._refuse(visitor)
        return None if self._has_cookie(visitor) else self._unknown(visitor)

    def _has_cookie(self, visitor: Visitor) -> bool:
        try:
            found = SimpleCookie(visitor.headers.get("cookie", "")).get(self.cookie_name)
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(_digest(found.value), _digest(self._cookie))

    def _is_right(self, visitor: Visitor, token: str) -> bool:
        # A right one always counts: nobody guesses it at any speed, and behind a proxy, or from a page that sends
        # the browser here with wrong ones, whoever errs has the owner's address.
        right = hmac.compare_digest(_digest(token), self._token)
        if not right and not self._must_wait(visitor.address):
            self._wrong.setdefault(visitor.address, []).append(time.monotonic())
            self._wrong.move_to_end(visitor.address)
            while len(self._wrong) > MOST_ADDRESSES:
                self._wrong.popitem(last=False)
        return right

    def _must_wait(self, address: str) -> bool:
        since = time.monotonic() - WINDOW_S
        recent = [moment for moment in self._wrong.get(address, []) if moment > since]
        if recent:
            self._wrong[address] = recent
        else:
            self._wrong.pop(address, None)
        return len(recent) >= MOST_WRONG

    def _enter(self, visitor: Visitor, token: str) -> Response:
        """The token in the address: kept as a cookie, and gone from the address."""
        if self._has_cookie(visitor) and hmac.compare_digest(_digest(token), self._token):
            return self._home(visitor)
        waits = self._must_wait(visitor.address)
        if not self._is_right(visitor, token):
            # Whoever goes on while it waits must not fill the disk.
            if not waits:
                self._audit.write("login refused", visitor)
            return self._refuse(visitor)
        self._audit.write("login", visitor)
        response = self._home(visitor)
        response.set_cookie(
            self.cookie_name, self._cookie, max_age=COOKIE_S, path=self._site.root_path or "/",
            httponly=True, samesite="strict", secure=self._is_secure,
        )  # fmt: skip
        return response

    def _home(self, visitor: Visitor) -> Response:
        """The page without the token, but with whatever else its address says."""
        rest = [(name, value) for name, values in visitor.query.items() for value in values if name != "token"]
        address = f"{self._site.root_path}/" + (f"?{urllib.parse.urlencode(rest)}" if rest else "")
        if visitor.site in ("", "none", "same-origin"):
            return RedirectResponse(address, 303)
        # Who follows a link from another site would arrive without the cookie: browsers remember where a
        # redirect began. A page that goes on by itself begins anew.
        shown = html.escape(address, quote=True)
        return HTMLResponse(f'<!doctype html><meta http-equiv="refresh" content="0;url={shown}"><title>studio</title>')

    def _refuse(self, visitor: Visitor) -> Response:
        if not self._must_wait(visitor.address):
            return self._unknown(visitor)
        text = f"too many wrong tokens; wait {WINDOW_S:.0f} s."
        return JSONResponse({"error": text}, 429, headers={"retry-after": f"{WINDOW_S:.0f}"})

    def _unknown(self, visitor: Visitor) -> Response:
        """The same answer for every path and every reason."""
        if visitor.wants_page:
            return HTMLResponse(_page(self._site.root_path), 401)
        text = "the token is missing or wrong: open the address that the terminal shows, or send it as a bearer token."
        return JSONResponse({"error": text}, 401, headers={"www-authenticate": "Bearer"})


def _digest(text: str) -> bytes:
    # Of equal length, so that comparing tells nothing about the length either.
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _page(root_path: str) -> str:
    """Where somebody without a cookie lands: no script, nothing about this studio but that it is one."""
    told = "".join(f'<p lang="{TAGS[code]}">{html.escape(strings(code)["studio.login"])}</p>' for code in LANGUAGES)
    enter = " / ".join(html.escape(strings(code)["studio.login_enter"]) for code in LANGUAGES)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>studio</title><style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 0; }}
main {{ max-width: 26rem; padding: 1.5rem; }}
h1 {{ font-size: 1.25rem; margin: 0 0 .5rem; }}
form {{ display: flex; gap: .5rem; margin-top: 1rem; }}
input {{ flex: 1; min-width: 0; }}
input, button {{ font: inherit; padding: .4rem .7rem; border: 1px solid #8888; border-radius: 8px; }}
</style></head><body><main><h1>studio</h1>{told}
<form action="{html.escape(root_path, quote=True)}/" method="get">
<input type="password" name="token" aria-label="token" autocomplete="off" required>
<button>{enter}</button></form></main></body></html>"""
