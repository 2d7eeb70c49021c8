"""An engine that says what a test wrote down; nothing is loaded."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from studio.arguments.generation import GenerationArguments
from studio.errors import StudioError
from studio.model.answer import Answer, Conversation


class ScriptedEngine:
    """Writes its lines, one for each answer, a few characters at a time; keeps what it was asked.

    `error` is raised at the start, `breaks` ends each answer after its line, `cut` says that it was too long.
    """

    def __init__(
        self, *lines: str, error: StudioError | None = None, breaks: StudioError | None = None, cut: bool = False
    ) -> None:
        self.lines, self.error, self.breaks, self.cut = list(lines), error, breaks, cut
        self.asked: list[dict[str, Any]] = []
        self.answers: list[Answer] = []
        self.alive = True
        self.most = 16
        self.prompt = ""

    @property
    def active(self) -> int:
        return sum(not answer.reason for answer in self.answers)

    def start(
        self,
        conversation: Conversation,
        asked: GenerationArguments,
        *,
        tools: list[dict[str, Any]] | None = None,
        stop: Sequence[str] = (),
        seed: int | None = None,
    ) -> Answer:
        self.asked.append({"messages": conversation, "asked": asked, "tools": tools, "stop": stop, "seed": seed})
        if self.error is not None:
            raise self.error
        answer = Answer(7, self.prompt)
        answer.begin(lambda: answer.end("cancelled"))
        self.answers.append(answer)
        line = self.lines[(len(self.answers) - 1) % len(self.lines)]
        threading.Thread(target=self._write, args=(answer, line), daemon=True).start()
        return answer

    def _write(self, answer: Answer, line: str) -> None:
        for count, at in enumerate(range(0, len(line), 3), 1):
            answer.add(line[at : at + 3], count)
        if self.breaks is not None:
            answer.end("cancelled", self.breaks)
        else:
            answer.end("length" if self.cut else "stop")

    def stop(self) -> None:
        self.alive = False
