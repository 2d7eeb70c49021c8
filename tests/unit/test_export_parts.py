import json
from pathlib import Path

import pytest

from studio.arguments.model import ModelArguments
from studio.verbs.data import run as data
from studio.verbs.export import find_parts
from studio.workspace import Workspace

COMMITS = {"main": "1" * 40, "v1": "2" * 40}


def cached(cache: Path, repo: str, files: dict[str, object]) -> dict[str, Path]:
    """A repository with two revisions, as a hub's client keeps it; their folders by revision."""
    home = cache / f"models--{repo.replace('/', '--')}"
    found = {}
    for revision, commit in COMMITS.items():
        (home / "refs").mkdir(parents=True, exist_ok=True)
        (home / "refs" / revision).write_text(commit, encoding="utf-8")
        found[revision] = home / "snapshots" / commit
        found[revision].mkdir(parents=True)
        for name, value in files.items():
            write(found[revision] / name, value)
    return found


def write(path: Path, value: object) -> None:
    """JSON; of weights only the header."""
    header = json.dumps(value).encode()
    length = len(header).to_bytes(8, "little") if path.suffix == ".safetensors" else b""
    path.write_bytes(length + header)


def adapter(**config: str) -> dict[str, object]:
    return {"adapter_config.json": {"peft_type": "LORA", "r": 4, "base_model_name_or_path": "org/base", **config},
            "adapter_model.safetensors": {}}  # fmt: skip


@pytest.fixture
def base(workspace: Workspace) -> dict[str, Path]:
    return cached(workspace.root / "hub", "org/base", {"config.json": {"model_type": "qwen2"}})


def asked(name: str, **more: str) -> ModelArguments:
    return ModelArguments(model_name_or_path=name, cache_dir="hub", **more)


@pytest.mark.parametrize(
    ("kept", "wished", "expected"), [("", "v1", "v1"), ("v1", "main", "v1"), ("", "main", "main"), ("main", "v1", "v1")]
)
def test_the_base_of_an_adapter_here_comes_in_the_revision_and_from_the_cache_that_are_asked_for(
    workspace: Workspace, base: dict[str, Path], kept: str, wished: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = workspace.saves / "first"
    folder.mkdir(parents=True)
    for name, value in adapter(revision=kept).items():
        write(folder / name, value)
    assert find_parts(asked("saves/first", model_revision=wished), workspace) == (base[expected], [folder])


def test_of_an_adapter_on_the_hub_the_revision_is_its_own(
    workspace: Workspace, base: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folders = cached(workspace.root / "hub", "org/adapter", adapter())
    found = find_parts(asked("org/adapter", model_revision="v1"), workspace)
    assert found == (base["main"], [folders["v1"]])


def test_a_name_in_the_registry_cannot_command_the_terminal(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"file_name": "\u001b[31mrows.jsonl"}
    workspace.dataset_info.write_text(json.dumps({"good\u001b[2J": entry}), encoding="utf-8")
    data(["list"], str(workspace.root))
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "good\\x1b[2J" in told
