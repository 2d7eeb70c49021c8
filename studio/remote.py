"""A service that is asked over HTTP: with a deadline, again where it failed in passing, never trusted. Light.

No redirect is followed, a packed reply is not unpacked, its size is bounded, and the key of a service goes to the
host alone that it is for.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from studio.errors import StudioError
from studio.workspace import roots

if TYPE_CHECKING:
    import httpx2

LARGEST_REPLY = 4 << 20
# Names of what is asked for behind an address that hold a secret.
_SECRET = re.compile(r"(^|[-_])(api-?key|key|token|secret|password|sig)$", re.IGNORECASE)
# A shorter key may stand in a reply by chance.
SHORTEST_KEY = 6
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0


class _Passing(Exception):
    """A failure that may be gone at the next attempt."""


@dataclass(frozen=True)
class Secret:
    """The names of two variables: `key` holds what is sent as a bearer token, `host` whom it is for (name[:port])."""

    key: str
    host: str

    def for_url(self, url: str) -> str:
        """The key that a service is sent, or "" for none.

        It goes to the host of `host` alone. Without that it goes where a terminal's command says, and nowhere for a
        command of the page: whoever may use the page must not be able to have the key sent to a place of theirs.
        """
        key, host = os.environ.get(self.key, ""), os.environ.get(self.host, "").lower()
        if not host:
            return "" if roots() else key
        parts = urlsplit(url)
        return key if host in (parts.hostname, parts.netloc.lower()) else ""

    def missing(self, url: str) -> str:
        """What must be set in the environment when a service refuses whoever asks."""
        withheld = os.environ.get(self.key) and not self.for_url(url)
        if withheld:
            return f"{self.host} to {urlsplit(url).netloc}: {self.key} goes to that host alone"
        return f"its key as {self.key}"


@dataclass(frozen=True)
class Service:
    """A service and how it is asked.

    `said` is how sentences call it, `wanted` what a reply holds, `patience` what to do where it stays silent;
    `error` is raised for what does not pass.
    """

    url: str
    said: str
    secret: Secret
    timeout_s: float
    retries: int
    wanted: str
    patience: str
    error: type[StudioError]

    def ask(self, body: Mapping[str, Any]) -> bytes:
        """The reply to one request as it was sent, asked again after a wait where it failed in passing."""
        wait_s = FIRST_WAIT_S
        for attempt in range(self.retries + 1):
            try:
                return self._once(body)
            except _Passing as failure:
                if attempt == self.retries:
                    tried = f" after {attempt + 1} attempts" if attempt else ""
                    raise self.error(f"{self.said} {failure}{tried}. {self.patience}") from None
                time.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
        raise AssertionError("the loop returns or raises")

    def _once(self, body: Mapping[str, Any]) -> bytes:
        import httpx2

        # A packed reply of a few bytes may unfold to any size.
        headers = {"accept-encoding": "identity"}
        key = self.secret.for_url(self.url)
        if key:
            headers["authorization"] = f"Bearer {key}"
        late = threading.Event()
        try:
            with (
                httpx2.Client(timeout=self.timeout_s, follow_redirects=False) as client,
                _ended_after(self.timeout_s, client, late),
                client.stream("POST", self.url, json=body, headers=headers) as reply,
            ):
                self._refuse_status(reply)
                return _without(self._content(reply), key)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            if late.is_set() or isinstance(error, httpx2.TimeoutException):
                raise _Passing(f"did not answer within {self.timeout_s:g} s") from None
            raise _Passing(f"could not be asked ({' '.join(str(error).split()) or type(error).__name__})") from None

    def _refuse_status(self, reply: httpx2.Response) -> None:
        status = reply.status_code
        if status == 429 or status >= 500:
            raise _Passing(f"answered {status}")
        if 300 <= status < 400:
            raise self.error(
                f"{self.said} answered {status} and sends on to {reply.headers.get('location', '')[:200]!r}, "
                "which is not followed. Write the address where it answers itself."
            )
        if status in (401, 403):
            raise self.error(f"{self.said} answered {status}. Set in the environment {self.secret.missing(self.url)}.")
        if status != 200:
            raise self.error(f"{self.said} answered {status}. Check the address, the path included.")

    def _content(self, reply: httpx2.Response) -> bytes:
        """The whole reply as it was sent, within the size."""
        found = bytearray()
        for piece in reply.iter_raw():
            found += piece
            if len(found) > LARGEST_REPLY:
                raise self.error(
                    f"{self.said} gave more than {LARGEST_REPLY >> 20} MiB, where {self.wanted} was asked for. "
                    "Check the address."
                )
        return bytes(found)


def _without(content: bytes, key: str) -> bytes:
    """A reply that does not tell the key: one that echoes what it was sent would have it kept and shown."""
    return content.replace(key.encode(), b"<key>") if len(key) >= SHORTEST_KEY else content


@contextmanager
def _ended_after(seconds: float, client: httpx2.Client, late: threading.Event) -> Iterator[None]:
    """Close the client when the time is over: its own timeouts begin anew with each byte that comes."""

    def end() -> None:
        late.set()
        client.close()

    clock = threading.Timer(seconds, end)
    clock.daemon = True
    clock.start()
    try:
        yield
    finally:
        clock.cancel()


def url_complaint(url: str, argument: str, secret: Secret, example: str) -> str:
    """What is wrong with an address, as a sentence; "" for nothing. A password in it is not repeated."""
    authority = re.split(r"[/?#]", url.partition("//")[2] or url, maxsplit=1)[0]
    if "@" in authority:
        return (f"--{argument} …@{authority.rpartition('@')[2]}: a password must never stand in a command. Set the "
                f"service's key in the environment variable {secret.key}.")  # fmt: skip
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, named = urlsplit(""), False
    if told := [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if _SECRET.search(name)]:
        return (f"--{argument}: what stands in a command is kept and shown, so {told[0]}=… must not stand in it. Set "
                f"the service's key in the environment variable {secret.key}.")  # fmt: skip
    if not named or parts.scheme not in ("http", "https") or not url.isprintable() or " " in url:
        return f"--{argument} {url}: must be the address of a service, such as {example}."
    return ""
