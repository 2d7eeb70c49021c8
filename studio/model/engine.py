"""Many answers at once: each joins the running batch when it is asked and leaves when it is done.

One thread runs the model. Each turn it lets go of what was cancelled, reads a piece of the prompts
that wait, and takes one step for all answers together.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from studio.arguments.generation import GenerationArguments
from studio.errors import MemoryFullError, StudioError
from studio.model.answer import Answer, BusyError, Conversation, EndedError, Prompt, Reason
from studio.model.decode import CHUNK, Apart, Prefill, Slots, together, why_apart
from studio.model.detokenise import Writer
from studio.model.sampling import Chooser, likeliest, sure

if TYPE_CHECKING:
    from studio.model.generate import Speaker

# Decoders treat the beginning of a text in their own way: a text that goes on is decoded with so many ids before it.
CONTEXT = 8


@dataclass(eq=False)
class _Row:
    """One answer on its way through the engine."""

    answer: Answer
    ids: Sequence[int]
    most: int
    chooser: Chooser
    writer: Writer
    token: int = -1
    count: int = 0


@dataclass
class _Floor:
    """What the engine's thread works on: prompts to read, those that `prefill` reads now, answers to write."""

    reading: deque[_Row] = field(default_factory=deque)
    group: list[_Row] = field(default_factory=list)
    prefill: Prefill | None = None
    writing: list[_Row] = field(default_factory=list)

    @property
    def rows(self) -> list[_Row]:
        """All of them, in no order."""
        return [*self.reading, *self.group, *self.writing]


class BatchEngine:
    """The engine on a model of transformers. `rows` answers are written together, `waiting` more may wait."""

    def __init__(
        self, speaker: Speaker, *, rows: int = 8, waiting: int = 32, say: Callable[[str], None] | None = None
    ) -> None:
        self._speaker, self._rows, self._waiting = speaker, rows, waiting
        self._asked: deque[_Row] = deque()
        self._changed = threading.Condition()
        self._ended = self._stopping = False
        self._floor = _Floor()
        with torch.inference_mode():
            reason = why_apart(speaker.model)
        if reason and say is not None:
            say(f"answers are computed one at a time, in turns: {reason}.")
        self._apart = bool(reason)
        self._together: Slots | Apart = self._room()
        self._stops = speaker.prompter.stop_ids
        self._chunk = CHUNK.get(speaker.model.device.type, CHUNK["cuda"])
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def active(self) -> int:
        """Answers that are being written or wait for their turn; one that was cancelled takes no place."""
        return sum(not row.answer.cancelled for row in (*self._asked, *self._floor.rows))

    @property
    def most(self) -> int:
        """As many answers as there may be at once, those included that wait."""
        return self._rows + self._waiting

    @property
    def alive(self) -> bool:
        """Whether new answers can begin."""
        return not (self._ended or self._stopping)

    def start(
        self,
        conversation: Conversation,
        asked: GenerationArguments,
        *,
        tools: list[dict[str, Any]] | None = None,
        stop: Sequence[str] = (),
        seed: int | None = None,
    ) -> Answer:
        """Begin an answer: as studio.model.answer.Engine says."""
        # Asked before the prompt is made, so that a refusal comes at once, and again when it is.
        self._must_take_more()
        prompter = self._speaker.prompter
        text = prompter.prompt(conversation, tools)
        ids = prompter.encode(text, plain=isinstance(conversation, str))
        room = prompter.context - len(ids) if prompter.context else asked.max_new_tokens
        answer = Answer(len(ids), text)
        # Markers of calls are special tokens in some families.
        goes_on = isinstance(conversation, Prompt) and conversation.continues
        stops = (*prompter.stop_texts, *stop)
        before = ids[-CONTEXT:] if goes_on else ()
        writer = Writer(prompter.tokenizer.fast, stops, keep_special=bool(tools), before=before)
        row = _Row(answer, ids, min(asked.max_new_tokens, room), Chooser(asked, ids, seed), writer)
        with self._changed:
            self._must_take_more()
            answer.begin(self._wake)
            self._asked.append(row)
            self._changed.notify()
        return answer

    def _must_take_more(self) -> None:
        if not self.alive:
            raise EndedError("the model has been let go and answers nothing more. Start it again.")
        if (count := self.active) >= self.most:
            raise BusyError(
                f"{count} requests are being answered or wait already, which is as many as may. Ask again in a moment."
            )

    def stop(self) -> None:
        """Cancel everything and end; a second call does nothing."""
        self._stopping = True
        self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> BatchEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _room(self) -> Slots | Apart:
        return Apart(self._speaker.model) if self._apart else Slots(self._speaker.model)

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._admit():
                    try:
                        self._turn()
                    except (StudioError, RuntimeError) as error:
                        self._fail(_told(error))
        finally:
            with self._changed:
                self._ended = True
            self._fail(EndedError("the model has been let go before the answer was done. Ask again."))

    def _admit(self) -> bool:
        """Wait for work and take in what was asked; False when the engine is to end."""
        floor = self._floor
        with self._changed:
            while not (self._stopping or self._asked or floor.rows):
                self._changed.wait()
            while self._asked and len(floor.rows) < self._rows:
                floor.reading.append(self._asked.popleft())
            gone = [row for row in self._asked if row.answer.cancelled]
            for row in gone:
                self._asked.remove(row)
        for row in gone:
            row.answer.end("cancelled")
        return not self._stopping

    def _turn(self) -> None:
        floor = self._floor
        for row in [row for row in floor.rows if row.answer.cancelled]:
            self._end(row, "cancelled")
        budget = self._chunk
        while (floor.reading or floor.group) and budget > 0:
            budget -= self._read(budget)
        if floor.writing:
            self._write(self._together.step([row.token for row in floor.writing]))

    def _read(self, budget: int) -> int:
        """Read more of the next prompts; with its end comes a prompt's first token, and it joins the others."""
        floor = self._floor
        if floor.prefill is None:
            count = 1 if self._apart else together([row.ids for row in floor.reading], budget)
            floor.group = [floor.reading.popleft() for _ in range(count)]
        try:
            prompts = [row.ids for row in floor.group]
            floor.prefill = floor.prefill or Prefill(self._speaker.model, prompts, whole=self._apart)
            logits_BV, count = floor.prefill.advance(budget)
        except (StudioError, RuntimeError) as error:
            # Others go on: only these prompts were too much.
            for row in floor.group:
                row.answer.end("cancelled", _told(error))
            floor.group, floor.prefill = [], None
            return budget
        if logits_BV is not None:
            cache = floor.prefill.cache
            for number, row in enumerate(list(floor.group)):
                self._begin(row, cache, number, logits_BV[number])
            floor.group, floor.prefill = [], None
        return count

    def _begin(self, row: _Row, cache: Any, number: int, logits_V: Tensor) -> None:
        """The first token of an answer, whose prompt is a row of a cache."""
        try:
            self._take(row, row.chooser.choose(logits_V))
            if not row.answer.reason:
                self._together.join(cache, number, len(row.ids))
                self._floor.group.remove(row)
                self._floor.writing.append(row)
        except (StudioError, RuntimeError) as error:
            row.answer.end("cancelled", _told(error))

    def _write(self, logits_BV: Tensor) -> None:
        rows = list(self._floor.writing)
        plain = likeliest(logits_BV) if any(row.chooser.plain for row in rows) else []
        for number, row in enumerate(rows):
            try:
                self._take(row, sure(plain[number]) if row.chooser.plain else row.chooser.choose(logits_BV[number]))
            except (StudioError, RuntimeError) as error:
                # Only this answer has no next token.
                self._end(row, "cancelled", _told(error))

    def _take(self, row: _Row, id: int) -> None:
        """One more token of an answer, which may be its last."""
        row.token = id
        row.count += 1
        if id in self._stops:
            self._end(row, "stop")
            return
        row.answer.add(row.writer.push(id), row.count)
        if row.writer.stopped:
            self._end(row, "stop")
        elif row.count >= row.most:
            self._end(row, "length")

    def _end(self, row: _Row, reason: Reason, error: StudioError | None = None) -> None:
        floor = self._floor
        if row in floor.writing:
            number = floor.writing.index(row)
            self._together.leave(number)
            floor.writing[number] = floor.writing[-1]
            floor.writing.pop()
        elif row in floor.group:
            floor.group.remove(row)
            floor.prefill = floor.prefill if floor.group else None
        elif row in floor.reading:
            floor.reading.remove(row)
        row.answer.add(row.writer.finish(), row.count)
        row.answer.end("stop" if row.writer.stopped else reason, error)

    def _fail(self, error: StudioError) -> None:
        """Nothing of the batch can go on; whoever waits for it is told."""
        with self._changed:
            asked = list(self._asked) if self._ended or self._stopping else []
            for row in asked:
                self._asked.remove(row)
        rows = [*self._floor.rows, *asked]
        self._floor = _Floor()
        self._together = self._room()
        for row in rows:
            row.answer.end("cancelled", error)


def _told(error: Exception) -> StudioError:
    if isinstance(error, StudioError):
        return error
    reason = " ".join(str(error).split())[:200]
    if isinstance(error, torch.OutOfMemoryError) or "allocate" in reason:
        return MemoryFullError(f"memory ran out while answering ({reason}). Ask shorter, or fewer at once.")
    return StudioError(f"the model failed while answering: {reason}")
