"""An answer while it is being written: pieces of text from the engine's thread to whoever asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from studio.arguments.generation import GenerationArguments
from studio.errors import ModelError, StudioError
from studio.model.messages import Message

Reason = Literal["", "stop", "length", "cancelled"]


@dataclass(frozen=True)
class Prompt:
    """A conversation as a template has rendered it; `continues`: its end is the beginning of the answer."""

    text: str
    continues: bool = False


Conversation = Sequence[Message] | Prompt | str


@dataclass(frozen=True)
class Piece:
    """Some more text of an answer: whole characters, never empty."""

    text: str


class TooLongError(ModelError):
    """A prompt that leaves no room for an answer in the model's context."""

    def __init__(self, tokens: int, context: int, *, exact: bool = True) -> None:
        self.tokens, self.context = tokens, context
        found = f"{tokens:,}" if exact else f"more than {tokens:,}"
        super().__init__(
            f"a prompt must be shorter than the model's context of {context} tokens; this one has {found}. Shorten it."
        )

    def __reduce__(self) -> tuple[type[TooLongError], tuple[int, int]]:
        return type(self), (self.tokens, self.context)


class BusyError(StudioError):
    """As many requests as may wait are waiting already."""


class EndedError(StudioError):
    """The engine has ended, by request or by a failure, and answers nothing more."""


class Engine(Protocol):
    """What answers: the batched loop of this studio, or another program behind the same calls."""

    def start(
        self,
        conversation: Conversation,
        asked: GenerationArguments,
        *,
        tools: list[dict[str, Any]] | None = None,
        stop: tuple[str, ...] = (),
        seed: int | None = None,
    ) -> Answer:
        """Begin an answer. Raises TooLongError, BusyError, EndedError, or RowError from the template."""

    def stop(self) -> None:
        """Cancel everything and end; a second call does nothing."""

    @property
    def active(self) -> int:
        """Answers that are being written or wait for their turn."""

    @property
    def most(self) -> int:
        """As many answers as there may be at once, those included that wait."""

    @property
    def alive(self) -> bool:
        """Whether new answers can begin."""


class Answer:
    """One answer: iterate it for its pieces as they come, or take what is there without waiting.

    `reason` is empty while it is written, then "stop" (the model ended, or a stop string came), "length"
    (no more tokens were allowed) or "cancelled". A failure of the engine is raised where the pieces are read.
    """

    def __init__(self, prompt_tokens: int, prompt: str = "") -> None:
        self.prompt_tokens = prompt_tokens
        self.prompt = prompt
        self.completion_tokens = 0
        self.reason: Reason = ""
        self.cancelled = False
        self._error: StudioError | None = None
        self._new: list[Piece] = []
        self._changed = threading.Condition()
        self._tell: Callable[[], None] | None = None
        self._wake: Callable[[], object] | None = None

    def __iter__(self) -> Iterator[Piece]:
        ended = False
        while not ended:
            with self._changed:
                self._changed.wait_for(lambda: self._new or self.reason)
            pieces, ended = self.take()
            yield from pieces

    def take(self) -> tuple[list[Piece], bool]:
        """Every new piece, without waiting, and whether that was the end. Raises what ended the engine."""
        with self._changed:
            pieces, self._new = self._new, []
            error, tell = self._error, self._tell
            ended = bool(self.reason) and error is None
        if error is not None and not pieces:
            raise error
        if error is not None and tell is not None:
            # The error is taken next, so whoever waits must look once more.
            tell()
        return pieces, ended

    def text(self) -> str:
        """The whole answer; waits for its end."""
        return "".join(piece.text for piece in self)

    def cancel(self) -> None:
        """Stop writing, within one step of the model. Does nothing when it has ended."""
        self.cancelled = True
        if self._wake is not None:
            self._wake()

    def watch(self, tell: Callable[[], None]) -> None:
        """Have `tell` called, in the engine's thread, whenever there is something to take."""
        with self._changed:
            self._tell = tell
            pending = self._new or self.reason
        if pending:
            tell()

    def begin(self, wake: Callable[[], object]) -> None:
        """For the engine: what to call when it is cancelled."""
        self._wake = wake

    def add(self, text: str, tokens: int) -> None:
        """For the engine: more text, and the tokens of the answer so far."""
        self.completion_tokens = tokens
        if text:
            self._change([Piece(text)])

    def end(self, reason: Reason, error: StudioError | None = None) -> None:
        """For the engine: nothing more will come."""
        if not self.reason:
            self._error = error
            self._change([], reason)

    def _change(self, pieces: list[Piece], reason: Reason = "") -> None:
        with self._changed:
            self._new += pieces
            self.reason = reason or self.reason
            self._changed.notify_all()
            tell = self._tell
        if tell is not None:
            tell()
