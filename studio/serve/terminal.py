"""A conversation in the terminal: lines go in, answers come as they are written, commands begin with a slash."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from studio.errors import StudioError
from studio.model.answer import Engine
from studio.registry import did_you_mean
from studio.serve.reading import Delta
from studio.serve.showing import Screen
from studio.serve.transcript import Settings, Transcript, calls_in

WORD = re.compile(r"/([a-z]+)(?:\s+(.*))?", re.DOTALL)


class Chat:
    """One conversation. `run` reads lines until they end; it returns whether every question had an answer."""

    def __init__(self, engine: Engine, transcript: Transcript, settings: Settings, screen: Screen) -> None:
        self._engine, self._transcript, self._settings, self._screen = engine, transcript, settings, screen
        self._open = True
        self._well = True

    def run(self, lines: Iterator[str]) -> bool:
        """Answer each line. An error is told and the conversation goes on."""
        while self._open:
            try:
                line = next(lines, None)
            except KeyboardInterrupt:
                self._screen.note("\nCtrl-D or /exit ends.")
                continue
            if line is None:
                break
            try:
                self._line(line)
            except KeyboardInterrupt:
                self._screen.note("\n(stopped)")
            except StudioError as error:
                self._well = False
                self._screen.note(str(error))
        return self._well

    def _line(self, line: str) -> None:
        command = WORD.fullmatch(line.strip())
        if command is None:
            # Two slashes begin a question that begins with one.
            question = line[1:] if line.startswith("//") else line
            if question.strip():
                self.ask(question)
        elif command[1] in COMMANDS:
            COMMANDS[command[1]][0](self, (command[2] or "").strip())
        else:
            near = did_you_mean(command[1], COMMANDS)
            raise StudioError(f"there is no command /{command[1]}; /help tells them.{near} A question begins with //.")

    def ask(self, question: str) -> None:
        """Ask one question, and show its answer. Raises StudioError."""
        with self._transcript.kept_if_answered():
            self._transcript.add({"role": "user", "content": question})
            self._answer()

    def _answer(self) -> None:
        """Have the conversation answered, and show the answer while it is written. Ctrl-C stops it."""
        transcript, settings = self._transcript, self._settings
        answer = self._engine.start(
            transcript.messages, settings.generation, tools=transcript.tools, seed=settings.next_seed()
        )
        reader = transcript.reader(answer.prompt)
        message: dict[str, Any] = {"role": "assistant", "content": ""}
        try:
            for piece in answer:
                self._show(reader.push(piece.text), message)
        except KeyboardInterrupt:
            answer.cancel()
            self._screen.note("\n(stopped)")
        self._show(reader.finish(), message)
        self._screen.end_answer()
        if reader.calls:
            message["tool_calls"] = calls_in(reader.calls)
            self._screen.note("(answer the call with /tool TEXT)")
        if answer.reason == "length":
            self._screen.note(f"(cut off after {answer.completion_tokens} tokens: max_new_tokens allows no more)")
        transcript.add(message)

    def _show(self, deltas: list[Delta], message: dict[str, Any]) -> None:
        for delta in deltas:
            self._screen.show(delta)
            for name in ("reasoning_content", "content"):
                if name in delta:
                    message[name] = message.get(name, "") + delta[name]

    def _clear(self, _: str) -> None:
        self._transcript.clear()
        self._screen.note("(the conversation begins anew)")

    def _save(self, name: str) -> None:
        self._screen.note(f"(saved: {self._transcript.save(name)})")

    def _system(self, text: str) -> None:
        self._transcript.system = text
        self._screen.note("(system message set)" if text else "(no system message)")

    def _tools(self, name: str) -> None:
        self._transcript.load_tools(name)
        tools = self._transcript.tools or []
        names = ", ".join(tool["function"]["name"] for tool in tools)
        self._screen.note(f"(tools: {names})" if tools else "(no tools)")

    def _tool(self, text: str) -> None:
        with self._transcript.kept_if_answered():
            if not self._transcript.answer_call(text):
                self._answer()

    def _set(self, text: str) -> None:
        for told in self._settings.change(text):
            self._screen.note(f"({told})")

    def _retry(self, _: str) -> None:
        with self._transcript.kept_if_answered():
            self._transcript.drop_answer()
            self._answer()

    def _help(self, _: str) -> None:
        for name, command in COMMANDS.items():
            self._screen.note(f"  /{name} {command[1]}")
        self._screen.note("  A line that ends with \\ goes on. Ctrl-C stops an answer, Ctrl-D ends.")

    def _exit(self, _: str) -> None:
        self._open = False


Command = Callable[[Chat, str], None]
COMMANDS: dict[str, tuple[Command, str]] = {
    "retry": (Chat._retry, "         answer the last question anew"),
    "clear": (Chat._clear, "         forget the conversation; system message, tools and settings stay"),
    "system": (Chat._system, "TEXT    the system message; without text there is none"),
    "tools": (Chat._tools, "FILE     the tools that the model may call, a JSON list; without a file none"),
    "tool": (Chat._tool, "TEXT      what the called tool gave back"),
    "set": (Chat._set, "NAME VALUE … how tokens are chosen, such as temperature 0.7; alone: what is set"),
    "save": (
        Chat._save,
        "FILE      the conversation as a dataset of OpenAI messages (.json, or a line more in a .jsonl)",
    ),
    "help": (Chat._help, "          this list"),
    "exit": (Chat._exit, "          end"),
}


class Lines:
    """Lines from stdin, those that end with a backslash joined; with a prompt and history on a terminal.

    An iterator that goes on after Ctrl-C, which a generator would not.
    """

    def __init__(self, prompt: str) -> None:
        self._prompt = prompt
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self._read = _from_terminal if terminal else _from_pipe
        if terminal:
            _with_history()

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        line = self._read(self._prompt)
        if line is None:
            raise StopIteration
        while line.endswith("\\") and (more := self._read("… ")) is not None:
            line = f"{line[:-1]}\n{more}"
        return line


def _from_terminal(prompt: str) -> str | None:
    try:
        return input(prompt)
    except EOFError:
        sys.stdout.write("\n")
        return None


def _from_pipe(_: str) -> str | None:
    line = sys.stdin.readline()
    return line.rstrip("\r\n") if line else None


def _with_history() -> None:
    """Arrow keys and history where Python was built with readline."""
    try:
        import readline
    except ImportError:
        return
    # Lines are questions, not paths.
    readline.set_completer(None)
