"""Models that bring code or pickled weights: each verb refuses them before anything is loaded, and what to do then."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from studio.workspace import Workspace

Command = Callable[..., Any]
CONFIG = """
from pathlib import Path
from transformers import Qwen2Config

Path({mark!r}).touch()

class OwnConfig(Qwen2Config):
    model_type = "own"
"""
MODEL = """
from transformers import Qwen2ForCausalLM
from .configuration_own import OwnConfig

class OwnForCausalLM(Qwen2ForCausalLM):
    config_class = OwnConfig
"""
MAP = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
SMALL = ("--dataset", "tiny_sft", "--max_steps", "1", "--use_cpu", "True", "--bf16", "False")
VERBS = {
    "train": ("train", *SMALL, "--output_dir", "saves/x"),
    "plan": ("train", *SMALL, "--output_dir", "saves/x", "--plan"),
    "chat": ("chat", "--prompt", "hello", "--max_new_tokens", "4"),
    "export": ("export", "--export_dir", "models/new"),
    "api": ("api", "--port", "0"),
    "preview": ("data", "preview", "tiny_sft"),
}


class Bomb:
    """Opened as a pickle, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def put(folder: Path, file: str, **settings: Any) -> None:
    """Settings more in one of the files of a folder."""
    path = folder / file
    there = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(there | settings))


@pytest.fixture(scope="module")
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that code makes when it runs."""
    return tmp_path_factory.mktemp("mark") / "PWNED"


@pytest.fixture(scope="module")
def own(place: Workspace, mark: Path) -> Path:
    """models/own: a model of its own kind, with the code for it."""
    folder = place.models / "own"
    shutil.copytree(place.models / "tiny-chat", folder)
    put(folder, "config.json", model_type="own", architectures=["OwnForCausalLM"], auto_map=MAP)
    (folder / "configuration_own.py").write_text(CONFIG.format(mark=str(mark)))
    (folder / "modeling_own.py").write_text(MODEL)
    return folder


@pytest.fixture(scope="module")
def old(place: Workspace) -> Path:
    """models/old: a model whose weights are pickled."""
    folder = place.models / "old"
    shutil.copytree(place.models / "tiny-chat", folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.usefixtures("own")
def test_no_verb_runs_code_that_nobody_asked_for(command: Command, place: Workspace, mark: Path, verb: str) -> None:
    done = command(place, *VERBS[verb], "--model_name_or_path", "models/own")
    assert done.code == 10, done.err
    assert "own runs Python code of its own (configuration_own.py, modeling_own.py; auto_map in config" in done.err
    assert "which may do anything with this machine. Read it; then start with --trust_remote_code True" in done.err
    assert not mark.exists()


@pytest.mark.parametrize("verb", ["chat", "export", "train", "api"])
def test_an_adapter_with_code_beside_it_is_refused_too(
    command: Command, place: Workspace, mark: Path, verb: str
) -> None:
    folder = place.saves / f"adapter-{verb}"
    shutil.copytree(place.models / "tiny-chat", folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    shutil.copyfile(place.models / "tiny-chat" / "model.safetensors", folder / "adapter_model.safetensors")
    put(folder, "adapter_config.json", peft_type="LORA", base_model_name_or_path="models/tiny-chat")
    put(folder, "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": [None, "tok.Own"]})
    (folder / "tok.py").write_text(f"open({str(mark)!r}, 'w')")
    words = ("--model_name_or_path", "models/tiny-chat", "--adapter_name_or_path", f"saves/{folder.name}")
    done = command(place, *VERBS[verb], *words)
    assert done.code == 10, done.err
    assert "runs Python code of its own (tok.py; auto_map in tokenizer_config.json)" in done.err
    assert not mark.exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_trusted_code_trains_chats_and_is_exported(command: Command, place: Workspace, own: Path, method: str) -> None:
    trust = ("--trust_remote_code", "True")
    more = ("--finetuning_type", method, "--output_dir", f"saves/{method}", *trust)
    trained = command(place, "train", *SMALL, *more, "--model_name_or_path", str(own))
    assert trained.code == 0, trained.err
    assert "note: Python code of" in trained.err
    said = command(place, *VERBS["chat"], "--model_name_or_path", f"saves/{method}", *trust)
    assert said.code == 0, said.err
    words = ("--model_name_or_path", f"saves/{method}", *trust, "--export_dir", f"models/{method}")
    assert command(place, "export", *words).code == 0
    again = command(place, *VERBS["chat"], "--model_name_or_path", f"models/{method}", *trust)
    assert (again.code, again.out) == (0, said.out), again.err


@pytest.mark.parametrize("verb", ["train", "plan", "chat", "export", "api"])
@pytest.mark.usefixtures("old")
def test_every_verb_names_the_conversion_of_pickled_weights(command: Command, place: Workspace, verb: str) -> None:
    done = command(place, *VERBS[verb], "--model_name_or_path", "models/old")
    assert done.code == 10, done.err
    assert "holds only pickled ones (pytorch_model.bin), which can run code when opened" in done.err
    assert "--convert_pickle True --export_dir models/old-safetensors" in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
@pytest.mark.usefixtures("old")
def test_a_converted_folder_chats_like_the_original(command: Command, place: Workspace) -> None:
    words = ("--model_name_or_path", "models/old", "--convert_pickle", "True", "--export_dir", "models/old-safetensors")
    done = command(place, "export", *words)
    assert done.code == 0, done.err
    assert done.out == "models/old-safetensors\n"
    said = command(place, *VERBS["chat"], "--model_name_or_path", "models/old-safetensors")
    same = command(place, *VERBS["chat"], "--model_name_or_path", "models/tiny-chat")
    assert (said.code, said.out) == (0, same.out)
    again = command(place, "export", *words)
    assert again.code == 10
    assert "exists already" in again.err


def test_code_in_a_pickle_is_not_run_by_a_conversion(command: Command, place: Workspace, tmp_path: Path) -> None:
    bomb, mark = place.models / "bomb", tmp_path / "PWNED"
    shutil.copytree(place.models / "tiny", bomb, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save({"b": Bomb(mark)}, bomb / "pytorch_model.bin")
    words = ("--model_name_or_path", "models/bomb", "--convert_pickle", "True", "--export_dir", "models/bombed")
    done = command(place, "export", *words)
    assert done.code == 10
    assert "nothing of it was run" in done.err
    assert "Traceback" not in done.err
    assert not mark.exists()
    assert not (place.models / "bombed").exists()


@pytest.mark.usefixtures("old")
def test_a_conversion_takes_nothing_that_belongs_to_an_export(command: Command, place: Workspace) -> None:
    words = ("--convert_pickle", "True", "--export_dir", "models/other")
    done = command(place, "export", "--model_name_or_path", "models/old", *words, "--template", "default")
    assert done.code == 10
    assert "converts one folder as it is" in done.err
    assert "needs a folder on this machine" in command(place, "export", "--model_name_or_path", "org/x", *words).err
