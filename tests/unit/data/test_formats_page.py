"""docs/formats.md shows every format, and each of its rows reads with the entry above it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from studio.data.entry import entry_of
from studio.data.example import FORMATS, to_example

PAGE = Path(__file__).parents[3] / "docs" / "formats.md"
BLOCK = re.compile(r"```json\n(.*?)```", re.DOTALL)
SECTIONS = {
    part.split("\n", 1)[0].strip(): [json.loads(block) for block in BLOCK.findall(part)]
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
}


def test_every_format_has_a_section() -> None:
    assert sorted(SECTIONS) == sorted(FORMATS)


@pytest.mark.parametrize("name", SECTIONS)
def test_the_row_of_a_section_reads(name: str) -> None:
    keys: dict[str, Any]
    keys, row = SECTIONS[name]
    entry = entry_of("mine", {"file_name": "rows.json", **keys}, Path(), Path())
    assert entry.formatting == name
    example = to_example(row, entry)
    assert example.messages or example.text
