"""A reward from an HTTP service: asked with a deadline, again where it failed in passing, never trusted.

A request is {"model": "", "messages": [text, …]}, the texts as the model reads them, and the reply
{"scores": [number, …]}: the form that reward servers of the ecosystem speak. An address that ends with /v1/score
(`studio api` with a reward model) gets conversations in place of texts, and renders them itself.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from studio.errors import RewardError
from studio.rewards.base import Sample, numbers
from studio.workspace import roots

if TYPE_CHECKING:
    import httpx2

# What is sent as a bearer token; a secret never stands in a command. HOST (name or name:port) is whom it is for.
KEY, HOST = "STUDIO_REWARD_KEY", "STUDIO_REWARD_HOST"
# Answers in one request.
TOGETHER = 64
LARGEST_REPLY = 4 << 20
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
PROBE_S = 10.0


class _Passing(Exception):
    """A failure that may be gone at the next attempt."""


class ServiceReward:
    """Asks a service; `read` makes the text of a sample as the model reads it."""

    def __init__(self, url: str, read: Callable[[Sample], str], *, timeout_s: float, retries: int) -> None:
        self.url, self.read, self.timeout_s, self.retries = url, read, timeout_s, retries
        self.name = f"service {urlsplit(url).netloc}"
        self._renders = urlsplit(url).path.rstrip("/").endswith("/v1/score")

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        """One number for each sample. Raises RewardError when the service fails for good."""
        return [score for body in self._bodies(samples) for score in self._scores(body)]

    def _bodies(self, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
        """The requests, in the order of the samples; tools belong to a request, so others begin another."""
        for said, some in itertools.groupby(samples, key=lambda each: json.dumps(each.row.get("tools") or [])):
            tools = json.loads(said) if self._renders else []
            for part in _parts(list(some)):
                messages = [self._conversation(each) if self._renders else self.read(each) for each in part]
                yield {"model": "", "messages": messages, **({"tools": tools} if tools else {})}

    def _conversation(self, sample: Sample) -> list[Mapping[str, Any]]:
        return [*sample.messages, {"role": "assistant", "content": sample.answer}]

    def _scores(self, body: Mapping[str, Any]) -> list[float]:
        """The scores of one request, asked again after a wait where it failed in passing."""
        wait_s = FIRST_WAIT_S
        for attempt in range(self.retries + 1):
            try:
                return self._once(body)
            except _Passing as failure:
                if attempt == self.retries:
                    tried = f" after {attempt + 1} attempts" if attempt else ""
                    raise RewardError(
                        f"{self._said()} {failure}{tried}. See that it runs and answers, or raise "
                        "--reward_api_timeout_s or --reward_api_retries; the same command goes on from the last "
                        "checkpoint."
                    ) from None
                time.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
        raise AssertionError("the loop returns or raises")

    def _said(self) -> str:
        return f"--reward_model {self.url}: the service"

    def _once(self, body: Mapping[str, Any]) -> list[float]:
        import httpx2

        # A packed reply of a few bytes may unfold to any size.
        headers = {"accept-encoding": "identity"}
        if key := key_for(self.url):
            headers["authorization"] = f"Bearer {key}"
        late = threading.Event()
        try:
            with (
                httpx2.Client(timeout=self.timeout_s, follow_redirects=False) as client,
                _ended_after(self.timeout_s, client, late),
                client.stream("POST", self.url, json=body, headers=headers) as reply,
            ):
                self._refuse_status(reply)
                content = self._content(reply)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            if late.is_set() or isinstance(error, httpx2.TimeoutException):
                raise _Passing(f"did not answer within {self.timeout_s:g} s") from None
            raise _Passing(f"could not be asked ({' '.join(str(error).split()) or type(error).__name__})") from None
        return numbers(self._found(content), len(body["messages"]), self._said())

    def _refuse_status(self, reply: httpx2.Response) -> None:
        status = reply.status_code
        if status == 429 or status >= 500:
            raise _Passing(f"answered {status}")
        if 300 <= status < 400:
            raise RewardError(
                f"{self._said()} answered {status} and sends on to {reply.headers.get('location', '')[:200]!r}, "
                "which is not followed. Write the address where it answers itself."
            )
        if status in (401, 403):
            withheld = os.environ.get(KEY) and not key_for(self.url)
            what = f"{HOST} to {urlsplit(self.url).netloc}: {KEY} goes to that host alone" if withheld else ""
            raise RewardError(
                f"{self._said()} answered {status}. Set in the environment {what or f'its key as {KEY}'}."
            )
        if status != 200:
            raise RewardError(f"{self._said()} answered {status}. Check the address, the path included.")

    def _content(self, reply: httpx2.Response) -> bytes:
        """The whole reply as it was sent, within the size."""
        found = bytearray()
        for piece in reply.iter_raw():
            found += piece
            if len(found) > LARGEST_REPLY:
                raise RewardError(
                    f"{self._said()} gave more than {LARGEST_REPLY >> 20} MiB, where a list of numbers was asked for. "
                    "Check the address."
                )
        return bytes(found)

    def _found(self, content: bytes) -> Any:
        try:
            reply = json.loads(content)
        except (ValueError, RecursionError):
            reply = None
        scores = reply.get("scores") if isinstance(reply, dict) else None
        if not isinstance(scores, list):
            shown = content[:80].decode("utf-8", "replace")
            raise RewardError(
                f'{self._said()} must answer with {{"scores": [number, …]}}; it gave {shown!r}. Check the address.'
            )
        return scores


def _parts(samples: list[Sample]) -> Iterator[list[Sample]]:
    return (samples[first : first + TOGETHER] for first in range(0, len(samples), TOGETHER))


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


def key_for(url: str) -> str:
    """The key that a service is sent, or "" for none.

    It goes to the host of STUDIO_REWARD_HOST alone. Without that it goes where a terminal's command says, and nowhere
    for a command of the page: whoever may use the page must not be able to have the key sent to a place of theirs.
    """
    key, host = os.environ.get(KEY, ""), os.environ.get(HOST, "").lower()
    if not host:
        return "" if roots() else key
    parts = urlsplit(url)
    return key if host in (parts.hostname, parts.netloc.lower()) else ""


def url_complaint(url: str) -> str:
    """What is wrong with an address, as a sentence; "" for nothing. A password in it is not repeated."""
    authority = re.split(r"[/?#]", url.partition("//")[2] or url, maxsplit=1)[0]
    if "@" in authority:
        return (f"--reward_model …@{authority.rpartition('@')[2]}: a password must never stand in a command. Set the "
                f"service's key in the environment variable {KEY}.")  # fmt: skip
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, named = urlsplit(""), False
    if not named or parts.scheme not in ("http", "https") or not url.isprintable() or " " in url:
        return f"--reward_model {url}: must be the address of a service, such as http://127.0.0.1:8000/score."
    return ""


def probe(url: str, timeout_s: float) -> str:
    """Ask for the score of one text; the complaint when none comes, else ""."""
    service = ServiceReward(url, lambda sample: sample.answer, timeout_s=min(timeout_s, PROBE_S), retries=0)
    try:
        service([Sample(({"role": "user", "content": "Is anybody there?"},), "Yes.")])
    except RewardError as error:
        return str(error)
    return ""
