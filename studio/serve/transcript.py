"""What has been said in a conversation, how the next answer is chosen, and both changed by commands."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from studio.arguments.check import fill
from studio.arguments.generation import GenerationArguments
from studio.errors import ArgumentError, StudioError
from studio.serve.reading import OPEN, Reader
from studio.serve.schema import Tool
from studio.workspace import Workspace, write_text

# Setting one of these means nothing without chance, so it is switched on.
BY_CHANCE = ("temperature", "top_p", "top_k")
SEED = re.compile(r"-?[0-9]{1,18}")


class Transcript:
    """The messages of a conversation, as templates read them."""

    def __init__(self, place: Workspace, *, system: str, shows_tools: bool, special: Sequence[str]) -> None:
        self.system = system
        self.tools: list[dict[str, Any]] | None = None
        self._place, self._shows_tools, self._special = place, shows_tools, special
        self._said: list[dict[str, Any]] = []

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Everything that the next answer follows."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self._said]

    def reader(self, prompt: str) -> Reader:
        """What takes the next answer apart."""
        return Reader(self.tools, thinks=prompt.rstrip().endswith(OPEN), special=self._special)

    def add(self, message: dict[str, Any]) -> None:
        """One message more."""
        self._said.append(message)

    def clear(self) -> None:
        """Forget what was said."""
        self._said = []

    @contextlib.contextmanager
    def kept_if_answered(self) -> Iterator[None]:
        """Take back what was said inside when it ends in an error, so that the conversation stays whole."""
        before = list(self._said)
        try:
            yield
        except (StudioError, KeyboardInterrupt):
            self._said = before
            raise

    def drop_answer(self) -> None:
        """Go back to the last question. Raises StudioError when there is none."""
        asked = [number for number, message in enumerate(self._said) if message["role"] == "user"]
        if not asked:
            raise StudioError("nothing has been asked yet.")
        self._said = self._said[: asked[-1] + 1]

    def answer_call(self, text: str) -> int:
        """Add what the first open call gave back; how many calls are still open. Raises StudioError without one."""
        answered = {message.get("tool_call_id") for message in self._said if message["role"] == "tool"}
        calls = [call for message in self._said for call in message.get("tool_calls", ())]
        waiting = [call for call in calls if call["id"] not in answered]
        if not waiting:
            raise StudioError("no call of a tool waits for an answer.")
        first = waiting[0]
        self.add({"role": "tool", "name": first["function"]["name"], "tool_call_id": first["id"], "content": text})
        return len(waiting) - 1

    def load_tools(self, name: str) -> None:
        """The tools of a JSON file, or none. Raises StudioError when it holds none that can be called."""
        if not name:
            self.tools = None
            return
        if not self._shows_tools:
            raise StudioError("the model's chat template has no place for tools. Choose another template or model.")
        path = self._place.path(name)
        try:
            found = TypeAdapter(list[Tool]).validate_json(path.read_bytes())
        except OSError as error:
            raise StudioError(f"{name}: cannot be read: {error.strerror}. Check the path.") from None
        except ValidationError as error:
            first = error.errors()[0]
            at = ".".join(map(str, first["loc"]))
            raise StudioError(
                f"{name}: must be a JSON list of tools as OpenAI writes them; {at or 'it'}: {first['msg']}."
            ) from None
        self.tools = [tool.model_dump(exclude_none=True) for tool in found] or None

    def save(self, name: str) -> str:
        """Write the conversation as a row of a dataset with formatting openai; where it lies.

        Raises StudioError when there is nothing to write, the file is there and takes no further line, or cannot
        be read or written.
        """
        if not self._said:
            raise StudioError("nothing has been said yet, so there is nothing to save.")
        if not name:
            raise StudioError("/save needs the name of a file, such as /save data/talk.json.")
        path = self._place.path(name)
        row: dict[str, Any] = {"messages": [_openai(message) for message in self.messages]}
        row |= {"tools": self.tools} if self.tools else {}
        if path.suffix != ".jsonl" and path.exists():
            raise StudioError(f"{name} is there already. Name another file, or one ending .jsonl to add a line.")
        try:
            if path.suffix == ".jsonl":
                before = path.read_text(encoding="utf-8") if path.exists() else ""
                before += "\n" if before and not before.endswith("\n") else ""
                write_text(path, before + json.dumps(row, ensure_ascii=False) + "\n")
            else:
                write_text(path, json.dumps([row], ensure_ascii=False, indent=2) + "\n")
        except OSError as error:
            raise StudioError(f"{name}: cannot be written: {error.strerror}. Name another file.") from None
        except UnicodeDecodeError:
            raise StudioError(f"{name} is not in UTF-8, so no line is added to it. Name another file.") from None
        except UnicodeEncodeError:
            raise StudioError("the conversation holds halves of characters, which no file can. /clear it.") from None
        return self._place.shown(path)


def calls_in(calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Calls as a reader found them → as templates read them: arguments are an object."""
    return [
        {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
        for call in calls
    ]


def _openai(message: dict[str, Any]) -> dict[str, Any]:
    """A message as OpenAI writes it: arguments are JSON text."""
    if "tool_calls" not in message:
        return message
    calls = [
        {
            **call,
            "function": {
                **call["function"],
                "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False),
            },
        }
        for call in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}


class Settings:
    """How tokens are chosen, and where their chance begins; None begins anywhere."""

    def __init__(self, generation: GenerationArguments) -> None:
        self.generation = generation
        self.seed: int | None = None

    def next_seed(self) -> int | None:
        """The seed of one answer; the next one gets another, so that asking anew gives something new."""
        seed = self.seed
        self.seed = None if seed is None else seed + 1
        return seed

    def change(self, text: str) -> list[str]:
        """Read `name value name value …` and tell what is set. Raises StudioError and changes nothing."""
        words = text.split()
        if not words:
            return [f"{name} {value}" for name, value in [*self.generation, ("seed", self.seed)]]
        if len(words) % 2:
            raise StudioError(f"/set takes names and values in turn; {words[-1]!r} has no value.")
        asked: dict[str, Any] = dict(zip(words[::2], words[1::2], strict=True))
        seed = asked.pop("seed", None)
        if seed is not None and not SEED.fullmatch(seed):
            raise StudioError(f"seed {seed}: must be a whole number, of at most 18 digits.")
        if any(name in asked for name in BY_CHANCE):
            asked.setdefault("do_sample", "true")
        filled = fill({"generation": GenerationArguments}, {**dict(self.generation), **asked})
        if filled.complaints:
            raise ArgumentError([complaint.removeprefix("--") for complaint in filled.complaints])
        self.generation = filled.groups["generation"]  # type: ignore[assignment]  # the only group there is
        self.seed = int(seed) if seed is not None else self.seed
        told = [f"{name} {getattr(self.generation, name)}" for name in asked]
        return [*told, *([f"seed {self.seed}"] if seed is not None else [])]
