"""`studio data mix`: the table agrees with what training sees, and training reads the file that it writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from studio.recipe import make_set
from studio.works.base import WORKS
from studio.workspace import Workspace

TWO = ("--dataset", "tiny_sft,tiny_share", "--mix_strategy", "interleave_over")


def mix(command: Any, place: Workspace, *words: str) -> dict[str, Any]:
    done = command(place, "data", "mix", *words, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_sizes_shares_and_epochs_of_each_source(place: Workspace, command: Any):
    found = mix(command, place, *TWO, "--interleave_probs", "0.25,0.75", "--num_train_epochs", "2")
    first, second = found["sources"]
    assert (first["name"], first["rows"], first["bytes"]) == (
        "tiny_sft", 40, place.path("data/tiny_sft.json").stat().st_size,
    )  # fmt: skip
    assert (first["share_rows"], first["probability"]) == (pytest.approx(2 / 3), 0.25)
    # 40 rows at a quarter make 160 in an epoch, so the 20 others are seen six times.
    assert found["epoch"]["rows"] == 160 and found["total"]["seen_rows"] == 320
    assert (first["epochs"], second["epochs"]) == (2, 12)
    assert first["tokens"] is None and found["total"]["seen_tokens"] is None


def test_tokens_of_a_sample_hold_those_of_all_in_their_interval(place: Workspace, command: Any):
    model = ("--model_name_or_path", "models/tiny-chat", "--stage", "sft")
    (whole, _) = mix(command, place, *TWO, *model, "--exact", "True")["sources"]
    (part, _) = mix(command, place, *TWO, *model, "--sample_rows", "20")["sources"]
    assert whole["tokens_low"] == whole["tokens"] == whole["tokens_high"] and whole["sampled_rows"] == 40
    assert part["sampled_rows"] == 20 and part["tokens_low"] < part["tokens"] < part["tokens_high"]
    assert part["tokens_low"] <= whole["tokens"] <= part["tokens_high"]
    plan = command(place, "train", "--stage", "sft", *model[:2], "--dataset", "tiny_sft", "--output_dir", "saves/p",
                   "--use_cpu", "True", "--plan", "--json")  # fmt: skip
    assert whole["tokens"] == json.loads(plan.out)["data"]["tokens"]


def test_temperatures_lift_the_small_source(place: Workspace, command: Any):
    found = mix(command, place, *TWO, "--mix_temperature", "2")
    first, second = (40**0.5, 20**0.5)
    assert [float(each) for each in found["probabilities"]] == pytest.approx(
        [first / (first + second), second / (first + second)], abs=1e-5
    )
    presets = {preset["temperature"]: preset["probabilities"] for preset in found["presets"]}
    assert list(presets) == [1, 2, 5, None]
    assert presets[1] == pytest.approx([2 / 3, 1 / 3], abs=1e-5) and presets[None] == [0.5, 0.5]


def test_the_yaml_file_is_read_by_the_training_command(place: Workspace, command: Any, small: Any):
    found = mix(command, place, *TWO, "--mix_temperature", "uniform", "--mix_file", "mixes/even.yaml")
    assert found["file"] == "mixes/even.yaml" and found["command"] == "studio train mixes/even.yaml"
    words = [f"--{name}={value}" for name, value in small.items() if name not in ("dataset", "max_steps")]
    words += ["--output_dir=saves/even", "--num_train_epochs=1", "--plan", "--json"]
    done = command(place, "train", "mixes/even.yaml", *words)
    assert done.code == 0, done.err
    planned = json.loads(done.out)["mix"]
    assert [each["asked"] for each in planned] == [0.5, 0.5]
    for each, told in zip(planned, found["sources"], strict=True):
        assert each["rows"] == pytest.approx(told["seen_rows"], rel=0.35), "the table says about how many"


def test_the_json_file_gives_the_same_shares_by_bytes(place: Workspace, command: Any, small: Any):
    asked = ("--interleave_probs", "0.25,0.75", "--mix_file", "mixes/shares.json")
    found = mix(command, place, *TWO, *asked)
    read = mix(command, place, "--sample_policy_file", "mixes/shares.json")
    assert [each["seen_rows"] for each in read["sources"]] == [each["seen_rows"] for each in found["sources"]]
    assert read["strategy"] == "policy"
    again = command(place, "data", "mix", *TWO, *asked)
    assert again.code == 10 and "is there already" in again.err
    assert command(place, "data", "mix", *TWO, *asked, "--overwrite_mix_file", "True").code == 0
    assert len(list(place.path("mixes").glob("shares.json*"))) == 2, "what stood there is moved aside"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "--dataset must name the datasets to mix"),
        (("--dataset", "tiny_sft,nothing"), "no dataset is named 'nothing'"),
        ((*TWO, "--interleave_probs", "1,2,3"), "they are 3 for 2"),
        ((*TWO, "--interleave_probs", "1,-2"), "must be numbers above 0"),
        ((*TWO, "--interleave_probs", "1,2", "--mix_temperature", "2"), "Keep one"),
        (("--dataset", "tiny_sft,tiny_share", "--mix_temperature", "2"), "needs --mix_strategy"),
        ((*TWO, "--mix_temperature", "hot"), "must be a number above 0, or uniform"),
        ((*TWO, "--mix_by", "tokens"), "needs --model_name_or_path"),
        ((*TWO, "--total_tokens", "9"), "--total_tokens: needs --model_name_or_path"),
        ((*TWO, "--total_rows", "9", "--max_steps", "3"), "say different amounts"),
        ((*TWO, "--mix_file", "mix.txt"), "must end in .yaml"),
        ((*TWO, "--sample_policy_file", "s.json"), "the file says it all"),
        (("--sample_policy_file", "none.json"), "there is no such file"),
    ],
)
def test_what_cannot_be_weighed_is_told(place: Workspace, command: Any, words: tuple[str, ...], why: str):
    done = command(place, "data", "mix", *words)
    assert done.code == 10 and why in done.err and "Traceback" not in done.err


def test_the_page_has_the_sizes_before_anything_is_read(workspace: Workspace):
    asked, _ = make_set(WORKS["mix"].asked, {"dataset": "tiny_sft,tiny_pt"})
    found = WORKS["mix"].facts(asked, workspace)
    assert [(each["name"], each["rows"], each["exact"]) for each in found["sources"]] == [
        ("tiny_sft", 40, True), ("tiny_pt", 60, True),
    ]  # fmt: skip
