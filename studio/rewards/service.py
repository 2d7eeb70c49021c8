"""A reward from an HTTP service: asked with a deadline, again where it failed in passing, never trusted.

A request is {"model": "", "messages": [text, …]}, the texts as the model reads them, and the reply
{"scores": [number, …]}: the form that reward servers of the ecosystem speak. An address that ends with /v1/score
(`studio api` with a reward model) gets conversations in place of texts, and renders them itself.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from studio import remote
from studio.errors import RewardError
from studio.remote import Secret, Service
from studio.rewards.base import Sample, numbers

# What is sent as a bearer token; a secret never stands in a command. HOST (name or name:port) is whom it is for.
KEY, HOST = "STUDIO_REWARD_KEY", "STUDIO_REWARD_HOST"
SECRET = Secret(KEY, HOST)
# Answers in one request.
TOGETHER = 64
PROBE_S = 10.0


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
        """The scores of one request."""
        said = self._said()
        service = Service(
            self.url, said, SECRET, self.timeout_s, self.retries, "a list of numbers",
            "See that it runs and answers, or raise --reward_api_timeout_s or --reward_api_retries; the same command "
            "goes on from the last checkpoint.", RewardError,
        )  # fmt: skip
        return numbers(self._found(service.ask(body)), len(body["messages"]), said)

    def _said(self) -> str:
        return f"--reward_model {self.url}: the service"

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


def url_complaint(url: str) -> str:
    """What is wrong with an address, as a sentence; "" for nothing. A password in it is not repeated."""
    return remote.url_complaint(url, "reward_model", SECRET, "http://127.0.0.1:8000/score")


def probe(url: str, timeout_s: float) -> str:
    """Ask for the score of one text; the complaint when none comes, else ""."""
    service = ServiceReward(url, lambda sample: sample.answer, timeout_s=min(timeout_s, PROBE_S), retries=0)
    try:
        service([Sample(({"role": "user", "content": "Is anybody there?"},), "Yes.")])
    except RewardError as error:
        return str(error)
    return ""
