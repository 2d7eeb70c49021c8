"""A run's record knows the recipes that its data went through."""

import json
from pathlib import Path
from typing import Any

from studio.data.origin import origins
from studio.workspace import Workspace


def _account(folder: Path, source: str, **more: Any) -> None:
    folder.mkdir(parents=True)
    account = {
        "made_by": "studio data clean", "time": "2026-01-01 00:00:00", "rows": 3, "kept": 2, "removed": 1, "refused": 0,
        "recipe": {"min_length": 10}, "sources": [{"files": [{"path": source, "sha256": "ab", "bytes": 1}]}],
        "steps": [{"step": "min_length", "changed": 0, "removed": 1, "reasons": {}, "samples": [{"text": "x"}]}],
        **more,
    }  # fmt: skip
    (folder / "clean.json").write_text(json.dumps(account), encoding="utf-8")


def test_shards_of_rows_that_were_cleaned_twice_lead_to_both_recipes(tmp_path: Path) -> None:
    place = Workspace.find(str(tmp_path))
    _account(tmp_path / "data/first", "data/raw.jsonl")
    _account(tmp_path / "data/second", "data/first/raw.jsonl")
    (tmp_path / "data/shards").mkdir()
    index = {"sources": [{"path": "data/second/raw.jsonl", "size": 1, "sha256": "cd"}]}
    (tmp_path / "data/shards/index.json").write_text(json.dumps(index), encoding="utf-8")
    found = origins(["data/shards/rows-0.jsonl.zst"], place)
    assert list(found) == ["data/first/clean.json", "data/second/clean.json"]
    assert found["data/first/clean.json"] == {
        "time": "2026-01-01 00:00:00", "rows": 3, "kept": 2, "removed": 1, "refused": 0, "recipe": {"min_length": 10},
        "steps": {"min_length": {"changed": 0, "removed": 1}}, "sources": {"data/raw.jsonl": "ab"},
    }  # fmt: skip


def test_files_of_the_same_name_that_are_no_account_count_for_nothing(tmp_path: Path) -> None:
    place = Workspace.find(str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/clean.json").write_text('[{"text": "a"}]', encoding="utf-8")
    assert origins(["data/clean.json", "data/clean.json", "/nowhere/at/all"], place) == {}
    (tmp_path / "data/clean.json").write_text('{"made_by": "studio data clean"}', encoding="utf-8")
    assert origins(["data/clean.json"], place) == {"data/clean.json": {"unreadable": "KeyError: 'sources'"}}
