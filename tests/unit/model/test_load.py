"""From a name to folders: what is found, in which order adapters apply, and what is said else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studio.errors import ModelError
from studio.model.find import find_adapters, find_model
from studio.model.load import check_type
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
    ],
)
def test_a_model_of_no_known_kind_is_refused_before_a_start(config: dict[str, str], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        check_type(Path("x"), config)


def test_a_causal_model_passes() -> None:
    check_type(Path("x"), {"model_type": "qwen2"})
