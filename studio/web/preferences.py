"""Answers that a person preferred in the Chat tab, kept as a dataset of pairs that is registered once."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from studio.data.catalog import read_catalog
from studio.data.register import register
from studio.errors import DatasetError, DiskFullError
from studio.workspace import Workspace

NAME = "preferences"
FILE = f"{NAME}.jsonl"
ENTRY: dict[str, Any] = {
    "file_name": FILE,
    "formatting": "openai",
    "ranking": True,
    "columns": {"messages": "messages", "chosen": "chosen", "rejected": "rejected", "tools": "tools"},
}


class Said(BaseModel):
    """One message of the conversation that both answers follow."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant", "tool"]
    content: str = Field(max_length=2**22)
    reasoning_content: str = ""
    tool_calls: list[dict[str, Any]] = []
    tool_call_id: str = ""
    name: str = ""


class Answered(BaseModel):
    """One of the two answers, and the model that gave it."""

    model_config = ConfigDict(extra="forbid")

    content: str = Field(min_length=1, max_length=2**22)
    reasoning_content: str = ""
    model: str = ""


class Preference(BaseModel):
    """A conversation up to a question, and two answers to it."""

    model_config = ConfigDict(extra="forbid")

    messages: list[Said] = Field(min_length=1, max_length=2048)
    chosen: Answered
    rejected: Answered
    tools: list[dict[str, Any]] = []


def file_of(place: Workspace) -> Path:
    """Where the rows lie."""
    return place.data / FILE


def count(place: Workspace) -> int:
    """How many rows there are."""
    try:
        with file_of(place).open("rb") as file:
            return sum(1 for line in file if line.strip())
    except FileNotFoundError:
        return 0


def add(place: Workspace, asked: Preference) -> int:
    """Write a row, register the file when it is the first, and say how many there are now.

    Raises DatasetError for answers that are no pair, or a name that another dataset has; DiskFullError.
    """
    if asked.chosen.content == asked.rejected.content:
        raise DatasetError("two answers must differ to be a preference; these are the same. Ask with another seed.")
    if asked.messages[-1].role not in ("user", "tool"):
        raise DatasetError("a preference follows a question; the conversation ends with something else.")
    path = file_of(place)
    registered = _is_registered(place, path)
    _append(path, json.dumps(_row(asked), ensure_ascii=False).encode())
    if not registered:
        register(NAME, ENTRY, place)
    return count(place)


def _is_registered(place: Workspace, path: Path) -> bool:
    """Whether the registry has the dataset. Raises DatasetError when something else has its name."""
    catalog = read_catalog(place)
    if NAME not in catalog:
        return False
    entry = catalog[NAME]
    if [os.path.realpath(entry.base / name) for name in entry.file_name] != [os.path.realpath(path)]:
        raise DatasetError(
            f"the dataset {NAME!r} of this workspace is another file than data/{FILE}. Rename its entry in the "
            "Datasets tab, then choose the better answer again."
        )
    return True


def _row(asked: Preference) -> dict[str, Any]:
    """The row as formatting openai reads it."""
    return {
        "messages": [_message(message.model_dump()) for message in asked.messages],
        "chosen": _message({"role": "assistant", **asked.chosen.model_dump(exclude={"model"})}),
        "rejected": _message({"role": "assistant", **asked.rejected.model_dump(exclude={"model"})}),
        "tools": json.dumps(asked.tools, ensure_ascii=False) if asked.tools else "",
        "models": {"chosen": asked.chosen.model, "rejected": asked.rejected.model},
    }


def _message(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if value or name in ("role", "content")}


def _append(path: Path, line: bytes) -> None:
    """One line more, whole or not at all, also when two pages write at once. The same line twice is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        end = os.fstat(handle).st_size
        if end > len(line) and os.pread(handle, len(line) + 1, end - len(line) - 1) == line + b"\n":
            return
        broken = end > 0 and os.pread(handle, 1, end - 1) != b"\n"
        try:
            _write(handle, (b"\n" if broken else b"") + line + b"\n", end)
            os.fsync(handle)
        except OSError as error:
            os.ftruncate(handle, end)
            raise DiskFullError(f"the preference could not be written to data/{FILE}: {error.strerror}.") from None
    finally:
        os.close(handle)


def _write(handle: int, text: bytes, at: int) -> None:
    while text:
        written = os.pwrite(handle, text, at)
        text, at = text[written:], at + written
