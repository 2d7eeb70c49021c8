"""Names of runs and models, and the folders that they mean."""

import json
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.web.naming import made_whole, model_name_of, output_dir
from studio.workspace import Workspace


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def test_names_form_the_folder() -> None:
    assert output_dir("Qwen", "lora", "a b") == "saves/Qwen/lora/a b"
    assert output_dir("Qwen", "lora", "saves/x/y/") == "saves/x/y"


@pytest.mark.parametrize(
    ("model", "run"), [("", "x"), ("a/b", "x"), ("a", ""), ("a", ".."), ("a", " x"), ("a", "x\\y")]
)
def test_names_that_cannot_be_folders_are_refused(model: str, run: str) -> None:
    with pytest.raises(StudioError, match="must be 1 to"):
        output_dir(model, "lora", run)


def test_a_model_is_called_after_where_it_comes_from(workspace: Workspace) -> None:
    run = workspace.saves / "tiny" / "lora" / "first"
    write(run / "run.json", {"recipe": {"model_name_or_path": "models/tiny"}})
    write(run / "checkpoint-5" / "adapter_config.json", {"base_model_name_or_path": "models/tiny"})
    elsewhere = workspace.root / "other"
    write(elsewhere / "adapter_config.json", {"base_model_name_or_path": "models/tiny-chat"})
    assert model_name_of("models/tiny", workspace) == "tiny"
    assert model_name_of("saves/tiny/lora/first", workspace) == "tiny"
    assert model_name_of("saves/tiny/lora/first/checkpoint-5", workspace) == "tiny"
    assert model_name_of("other", workspace) == "tiny-chat"
    assert model_name_of("Qwen/Qwen3-0.6B", workspace) == "Qwen3-0.6B"
    assert model_name_of(" ", workspace) == ""


def test_folders_that_name_each_other_end_somewhere(workspace: Workspace) -> None:
    for name, base in (("a", "b"), ("b", "a")):
        write(workspace.root / name / "adapter_config.json", {"base_model_name_or_path": base})
    assert model_name_of("a", workspace) in ("a", "b")


def test_bare_names_are_found_where_runs_lie(workspace: Workspace) -> None:
    run = workspace.saves / "tiny" / "lora" / "first"
    (run / "checkpoint-5").mkdir(parents=True)
    whole = made_whole(
        {"model_name_or_path": "tiny", "adapter_name_or_path": "first,unknown", "output_dir": "first",
         "resume_from_checkpoint": "checkpoint-5"},
        "tiny", "lora", workspace,
    )  # fmt: skip
    assert whole == {
        "model_name_or_path": "models/tiny",
        "adapter_name_or_path": ["saves/tiny/lora/first", "unknown"],
        "output_dir": "saves/tiny/lora/first",
        "resume_from_checkpoint": "saves/tiny/lora/first/checkpoint-5",
    }


def test_a_folder_of_the_workspace_keeps_its_bare_name(workspace: Workspace) -> None:
    assert made_whole({"model_name_or_path": "models"}, "m", "lora", workspace) == {"model_name_or_path": "models"}
