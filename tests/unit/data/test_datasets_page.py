"""docs/datasets.md: every key of an entry is on it, and its entries are read."""

import json
import re
from pathlib import Path

import pytest

from studio.data.entry import entry_of
from studio.data.keys import KNOWN_KEYS
from studio.data.readers import ENDINGS

PAGE = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text(encoding="utf-8")
ENTRIES = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])


def test_every_key_of_an_entry_and_no_other_is_explained() -> None:
    lines = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(lines))) == set(KNOWN_KEYS)


def test_every_ending_is_named() -> None:
    assert [ending for ending in ENDINGS if f"`{ending}`" not in PAGE] == []


@pytest.mark.parametrize("name", ENTRIES)
def test_the_entries_are_read(tmp_path: Path, name: str) -> None:
    assert entry_of(name, ENTRIES[name], tmp_path / "dataset_info.json", tmp_path).name == name
