"""The command from outside: what the system or a bad input says comes as a sentence, and as JSON when asked."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]
WORDS = ("train", "--model_name_or_path", "models/tiny", "--dataset", "tiny_sft", "--output_dir")


def test_a_plan_as_json_tells_even_a_refusal_as_json(studio: Command) -> None:
    done = studio(*WORDS, "saves/x", "--dataset_dir", "nowhere", "--plan", "--json")
    assert done.returncode == 10
    told = json.loads(done.stdout)
    assert told["ok"] is False and "nowhere is none" in told["complaints"][0]


def test_a_path_that_no_system_takes_is_a_sentence(studio: Command) -> None:
    done = studio(*WORDS, "saves/" + "y" * 300)
    assert done.returncode == 10
    assert "255 between two slashes" in done.stderr and "Write a shorter one." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("address", ["http://[", "http://me:secret@hub:99999"])
def test_an_address_of_the_hub_that_is_none_is_a_sentence(
    address: str, studio: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    done = studio("data", "list")
    assert done.returncode == 10
    assert "HF_ENDPOINT must be the address of a hub" in done.stderr
    assert "Traceback" not in done.stderr and "secret" not in done.stderr


def test_an_empty_registry_is_told_by_the_list(studio: Command) -> None:
    assert "no dataset is registered" in studio("data", "list", "--workspace", "models").stderr


@pytest.mark.parametrize("target", ["/proc/x", "/dev/null/x"])
def test_a_place_where_nothing_can_be_made_is_a_sentence(studio: Command, target: str) -> None:
    done = studio(*WORDS, target)
    assert done.returncode == 10
    assert target.rpartition("/")[0] in done.stderr
    assert "Traceback" not in done.stderr
