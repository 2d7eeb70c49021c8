"""Every data file of the repository: previewed, and trained on or refused with the reason.

STUDIO_TEST_DATA=DIR names other folders of data files (`a:b` for several); every file there is then
registered as `studio data add` does it, and put to the same test; `--log-cli-level INFO` shows the losses.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.data.catalog import read_catalog
from studio.data.kinds import kind_of
from studio.workspace import Workspace

LOG = logging.getLogger(__name__)
TOP = Path(__file__).parents[2]
REGISTRY: dict[str, dict[str, Any]] = json.loads((TOP / "dataset_info.json").read_text(encoding="utf-8"))
FOLDERS = [Path(folder) for folder in os.environ.get("STUDIO_TEST_DATA", "").split(os.pathsep) if folder]
ENDINGS = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".parquet", ".arrow", ".gz", ".zst", ".bz2")
FILES = sorted(path for folder in FOLDERS for path in folder.rglob("*") if path.name.endswith(ENDINGS))
# Rows that are not told from their columns alone: two of their columns lead to those of an entry.
BY_COLUMNS = {
    ("question", "answer_number"): {"prompt": "question", "response": "answer_number"},
    ("input", "golden"): {"prompt": "input", "response": "golden"},
}
SMALL = {"max_samples": 12, "max_steps": 2, "logging_steps": 1, "save_steps": 100, "cutoff_len": 512}
# The tiny model's own template has no place for tools.
KNOWS_TOOLS = "qwen"


def _names() -> list[Any]:
    """The datasets to test; of those with the same format all but the first are slow."""
    if FOLDERS:
        return [pytest.param(path.stem, id=path.name) for path in FILES]
    seen: set[tuple[Any, ...]] = set()
    made = []
    for name, raw in REGISTRY.items():
        columns = raw.get("columns", {})
        form = raw.get("formatting"), raw.get("ranking"), raw.get("encoding")
        alike = (*form, "tools" in columns, "kto_tag" in columns, columns.keys() == {"prompt"})
        made.append(pytest.param(name, marks=[pytest.mark.slow] if alike in seen else []))
        seen.add(alike)
    return made


@pytest.fixture(scope="module")
def registered(place: Workspace, command: Any) -> Workspace:
    """A workspace with the data: the registry of the repository, or one made of what the files hold."""
    if not FOLDERS:
        place.dataset_info.write_text(json.dumps(REGISTRY))
        shutil.copytree(TOP / "data", place.data, dirs_exist_ok=True)
        return place
    place.dataset_info.write_text("{}")
    for file in FILES:
        shutil.copy(file, place.data)
        _add(place, command, place.data / file.name)
    return place


def _add(place: Workspace, command: Any, file: Path) -> None:
    """Register a file as the command does; what it cannot tell is said by the encoding it names, or the table."""
    words = ["data", "add", str(file), "--name", file.stem]
    done = command(place, *words)
    encoding = re.search(r"--encoding ([\w-]+)", done.err)
    if done.code and encoding:
        done = command(place, *words, "--encoding", encoding[1])
    if done.code == 0:
        return
    columns = next((found for known, found in BY_COLUMNS.items() if all(f"{name} (" in done.err for name in known)), {})
    assert columns, f"no entry is known for {file.name}: {done.err}"
    written = json.loads(place.dataset_info.read_text())
    place.dataset_info.write_text(json.dumps({**written, file.stem: {"file_name": file.name, "columns": columns}}))


@pytest.fixture
def ends(registered: Workspace, train: Any, look: Any) -> Callable[..., str]:
    """`ends(name, stage)`: two small steps; "" when they went well, else the sentence of exit code 10."""

    def run(name: str, stage: str, **more: Any) -> str:
        folder = f"saves/{name}_{stage}"
        done = train(registered, folder, "--overwrite_output_dir", dataset=name, stage=stage, **SMALL, **more)
        if done.code:
            assert done.code == 10, done.err
            return str(done.err)
        losses = [loss for _, loss in look(registered.path(folder)).curve]
        assert len(losses) == 2 and all(math.isfinite(loss) and loss > 0 for loss in losses), losses
        LOG.info("%s, stage %s: losses %s", name, stage, losses)
        return ""

    return run


@pytest.mark.parametrize("name", _names())
def test_every_dataset_is_shown_and_trains_where_it_fits(
    registered: Workspace, command: Any, ends: Callable[..., str], name: str
) -> None:
    entry = read_catalog(registered)[name]
    kind = kind_of(entry)
    stage = "pt" if kind == "text" else "sft"
    words = ["data", "preview", name, "--json", "--count=12", "--model_name_or_path=models/tiny-chat"]
    page = command(registered, *words, f"--stage={stage}")
    assert page.code == 0, page.err
    rows = json.loads(page.out)["rows"]
    tools = any(row["tools"] for row in rows)
    if tools:
        assert all("it does not know tools" in row["refused"] for row in rows if row["tools"])
        page = command(registered, *words, f"--template={KNOWS_TOOLS}")
        rows = json.loads(page.out)["rows"]
    assert rows and not any(row["refused"] for row in rows)
    assert all(row["renderings"] for row in rows)
    template = {"template": KNOWS_TOOLS} if tools else {}
    LOG.info("%s: %s, %s%s", name, entry.formatting, kind, ", tools" if tools else "")
    if kind == "text":
        assert not ends(name, "pt")
        assert "holds plain texts. Use --stage pt" in ends(name, "sft")
        return
    reason = {"pairs": "Use --stage dpo or rm", "judged": "Use --stage kto"}.get(kind, "")
    for each in ("sft", "pt"):
        refused = ends(name, each, **template)
        assert (reason in refused) if reason else not refused
