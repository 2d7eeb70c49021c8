"""What the tests of the formats share: an entry, a conversation as an example, and a row's complaint."""

from pathlib import Path
from typing import Any

import pytest

from studio.data.entry import DatasetEntry, entry_of
from studio.data.example import Example, to_example
from studio.errors import RowError

HERE = Path()


def entry(**keys: Any) -> DatasetEntry:
    return entry_of("mine", {"file_name": "rows.json", **keys}, HERE, HERE)


def talk(*contents: str, system: str = "") -> Example:
    roles = ["user", "assistant"] * len(contents)
    turns = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    return Example(messages=tuple([{"role": "system", "content": system}] * bool(system) + turns))


def complaint(row: dict[str, Any], **keys: Any) -> str:
    with pytest.raises(RowError) as caught:
        to_example(row, entry(**keys))
    return str(caught.value)
