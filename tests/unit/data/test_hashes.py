"""Content hashes that are computed once, and keys."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from studio.data.hashes import Stamp, file_hash, key_of, must_be_unchanged
from studio.errors import DatasetError

LONG_AGO_NS = 1_600_000_000 * 10**9


def an_old_file(folder: Path, text: str) -> Path:
    path = folder / "rows.json"
    path.write_text(text)
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return path


def test_the_hash_is_that_of_the_content(tmp_path: Path):
    path = an_old_file(tmp_path, "[1]")
    assert file_hash(path, tmp_path / "cache") == hashlib.sha256(b"[1]").hexdigest()


def test_a_hash_is_kept_until_the_file_changes(tmp_path: Path):
    cache = tmp_path / "cache"
    path = an_old_file(tmp_path, "[1]")
    file_hash(path, cache)
    (kept,) = cache.rglob("*.json")
    kept.write_text(kept.read_text().replace(hashlib.sha256(b"[1]").hexdigest(), "kept"))
    assert file_hash(path, cache) == "kept"
    path.write_text("[12]")
    assert file_hash(path, cache) == hashlib.sha256(b"[12]").hexdigest()


def test_the_hash_of_a_file_written_just_now_is_not_kept(tmp_path: Path):
    path = tmp_path / "rows.json"
    path.write_text("[1]")
    file_hash(path, tmp_path / "cache")
    assert not list(tmp_path.rglob("hashes/*"))


@pytest.mark.parametrize("torn", ["", "{", "[]", "null"])
def test_a_torn_note_is_no_harm(tmp_path: Path, torn: str):
    cache = tmp_path / "cache"
    path = an_old_file(tmp_path, "[1]")
    file_hash(path, cache)
    (kept,) = cache.rglob("*.json")
    kept.write_text(torn)
    assert file_hash(path, cache) == hashlib.sha256(b"[1]").hexdigest()
    assert json.loads(kept.read_text())["sha256"]


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path):
    path = an_old_file(tmp_path, "[1]")
    before = Stamp.of(path)
    must_be_unchanged(path, before)
    path.write_text("[1, 2]")
    with pytest.raises(DatasetError, match=r"must not change while it is read.*run the command again"):
        must_be_unchanged(path, before)


def test_equal_parts_give_equal_keys_in_any_order():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": "1"})
