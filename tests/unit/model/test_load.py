"""From a name to folders: what is found, in which order adapters apply, and what is said else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.arguments.model import ModelArguments
from studio.errors import ModelError
from studio.model.find import find_adapters, find_model
from studio.model.load import check_type, load_model
from studio.model.tokenizer_files import from_pretrained
from studio.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    for name in ("models/Tiny", "saves/base"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    return Workspace(tmp_path)


def run(place: Workspace, name: str, *started_from: str) -> Path:
    """The folder of a LoRA run that began with these adapters."""
    folder = place.saves / name
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    recipe = {"adapter_name_or_path": ",".join(f"saves/{each}" for each in started_from)} if started_from else {}
    (folder / "run.json").write_text(json.dumps({"recipe": recipe}))
    return folder


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("models/tiny", "Did you mean 'Tiny' there?"),
        ("Tiny", "Did you mean models/Tiny?"),
        ("base", "Did you mean saves/base?"),
        ("Models/Tiny", "Did you mean models/Tiny? Upper and lower case count."),
        ("somebody/something", "HF_HUB_OFFLINE is set"),
    ],
)
def test_a_wrong_name_of_a_model_is_told_with_the_right_one(place: Workspace, asked: str, said: str) -> None:
    with pytest.raises(ModelError) as caught:
        find_model(asked, place)
    assert said in str(caught.value)


def test_an_adapter_comes_after_those_its_run_merged_into_the_base_first(place: Workspace) -> None:
    a, b = run(place, "a"), run(place, "b", "a")
    c = run(place, "c", "a", "b")
    d = run(place, "d", "c")
    assert find_adapters(["saves/b"], place) == [b]
    assert find_adapters(["saves/c"], place) == [a, c]
    assert find_adapters(["saves/d"], place) == [a, d]
    assert find_adapters(["saves/a", "saves/d"], place) == [a, d]


def test_a_checkpoint_knows_what_its_run_began_with(place: Workspace) -> None:
    a, c = run(place, "a"), run(place, "c", "a", "b")
    checkpoint = c / "checkpoint-2"
    checkpoint.mkdir()
    (checkpoint / "adapter_config.json").write_text("{}")
    run(place, "b")
    assert find_adapters(["saves/c/checkpoint-2"], place) == [a, checkpoint]


def test_runs_that_name_each_other_end_nevertheless(place: Workspace) -> None:
    a, b = run(place, "a", "b"), run(place, "b", "a")
    assert find_adapters(["saves/a", "saves/b"], place) == [a, b]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "foo99"}, "names 'foo99', which this transformers does not know"),
        ({"model_type": "t5"}, "names 't5', which continues no text"),
        ({}, "it names none"),
        ({"model_type": ["llama"]}, "which this transformers does not know"),
    ],
)
def test_a_model_of_no_known_kind_is_refused_before_a_start(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        check_type(Path("x"), config)


def test_a_causal_model_passes() -> None:
    check_type(Path("x"), {"model_type": "qwen2"})


def test_a_folder_of_metas_is_recognised_with_its_remedy(place: Workspace) -> None:
    folder = place.models / "llama"
    folder.mkdir()
    (folder / "params.json").write_text("{}")
    (folder / "consolidated.00.pth").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"as Meta gives it away.*--convert_pickle True --export_dir models/llama-saf"):
        find_model("models/llama", place)


def test_what_is_hidden_is_not_told_as_what_is_there(place: Workspace) -> None:
    (place.models / ".cache").mkdir()
    (place.models / "empty").mkdir()
    (place.models / "empty" / ".studio").mkdir()
    with pytest.raises(ModelError, match="It holds: nothing"):
        find_model("models/empty", place)
    with pytest.raises(ModelError, match=r"models holds: Tiny, empty\.$"):
        find_model("models/quite-other", place)


def test_a_folder_around_a_model_leads_to_it(place: Workspace) -> None:
    with pytest.raises(ModelError, match="Did you mean models/Tiny"):
        find_model("models", place)
    (place.models / "hub" / "snapshots" / "x").mkdir(parents=True)
    with pytest.raises(ModelError, match="below its snapshots"):
        find_model("models/hub", place)


def test_trust_runs_no_code_beside_a_model_that_transformers_knows(tiny_chat_model: Path, tmp_path: Path) -> None:
    folder, mark = tmp_path / "model", tmp_path / "PWNED"
    shutil.copytree(tiny_chat_model, folder)
    maps = {
        "config.json": {"AutoModelForCausalLM": "own.Own"},
        "tokenizer_config.json": {"AutoTokenizer": ["own.O"] * 2},
    }
    for name, kinds in maps.items():
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": kinds}))
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w')\n")
    load_model(folder, ModelArguments(trust_remote_code=True), torch.float32)
    from_pretrained(folder, trust=True)
    assert not mark.exists()
