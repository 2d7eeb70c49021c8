"""Rows of new tokens learn beside an adapter: kept, gone on with after a kill, merged, continued."""

from __future__ import annotations

import json
import shutil
import signal
from typing import Any

import pytest

from studio.workspace import Workspace

KILL = int(signal.SIGKILL)
RUN: dict[str, Any] = {
    "model_name_or_path": "models/extended", "trainable_token_indices": "new,7", "lora_target": "q_proj",
    "lora_rank": 4, "max_steps": 4, "save_steps": 2, "logging_steps": 1, "learning_rate": "5e-3",
}  # fmt: skip
IDS = [[1, 5, 9, 105, 7, 139, 60]]


@pytest.fixture(scope="module")
def place(place: Workspace) -> Workspace:
    """The workspace with a model that calls forty of its tokens new."""
    folder = place.path("models/extended")
    shutil.copytree(place.path("models/tiny-chat"), folder)
    (folder / "vocabulary.json").write_text(json.dumps({"base": "models/tiny-chat", "added": [[100, 140]]}))
    return place


@pytest.fixture(scope="module")
def run(place: Workspace, train: Any, look: Any) -> Any:
    """The unbroken run."""
    done = train(place, "saves/rows", **RUN)
    assert done.code == 0, done.err
    return look(place.path("saves/rows"))


def logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model.eval()(torch.tensor(IDS)).logits


def test_nothing_else_of_the_embeddings_is_kept_beside_the_adapter(place: Workspace, run: Any):
    from safetensors.numpy import load_file

    assert "and 41 rows of embed_tokens" in run.log
    held = load_file(run.folder / "adapter_model.safetensors")
    (rows,) = [weight for name, weight in held.items() if "lora_" not in name]
    assert rows.shape[0] == 41
    plain = load_file(place.path("models/extended") / "model.safetensors")["model.embed_tokens.weight"]
    assert abs(rows - plain[[7, *range(100, 140)]]).max() > 1e-3


def test_killed_in_a_step_it_goes_on_and_ends_with_the_same_bytes(place: Workspace, train: Any, look: Any, run: Any):
    assert train(place, "saves/killed", at=("backward", 3, KILL), **RUN).code == -KILL
    done = train(place, "saves/killed", **RUN)
    assert done.code == 0, done.err
    assert "going on from checkpoint-2" in done.err
    look(place.path("saves/killed")).must_end_as(run)


def test_merged_it_says_what_peft_says_and_chats_alike(place: Workspace, command: Any, run: Any):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    done = command(place, "export", "--model_name_or_path=saves/rows", "--export_dir=models/merged")
    assert done.code == 0, done.err
    base = AutoModelForCausalLM.from_pretrained(place.path("models/extended"))
    plain = logits(base)
    beside = logits(PeftModel.from_pretrained(base, run.folder))
    merged = AutoModelForCausalLM.from_pretrained(place.path("models/merged"))
    assert merged.lm_head.weight is merged.get_input_embeddings().weight
    assert (beside - plain).abs().max() > 1e-3
    assert (beside - logits(merged)).abs().max() < 2e-5
    answers = []
    for model in ("saves/rows", "models/merged"):
        words = ["chat", f"--model_name_or_path={model}", "--prompt=hello", "--max_new_tokens=6", "--do_sample=False"]
        done = command(place, *words)
        assert done.code == 0, done.err
        answers.append(done.out)
    assert answers[0] == answers[1]
    kept = json.loads((place.path("models/merged") / "vocabulary.json").read_text())
    assert kept["added"] == [[100, 140]], "so that the merged model still knows which of its tokens are new"


def test_it_goes_on_with_its_rows_or_under_another_adapter(place: Workspace, train: Any, run: Any):
    values = {name: value for name, value in RUN.items() if name != "trainable_token_indices"}
    values |= {"adapter_name_or_path": "saves/rows", "max_steps": 1}
    done = train(place, "saves/other", "--plan", **values, trainable_token_indices="new")
    assert done.code == 10
    assert "--trainable_token_indices 100-139: the adapter that goes on learning has 7,100-139. Leave it" in done.err
    done = train(place, "saves/on", **values, trainable_token_indices="7,new")
    assert done.code == 0, done.err
    assert "and 41 rows of embed_tokens" in done.err
    done = train(place, "saves/under", **values, create_new_adapter="True", trainable_token_indices="9")
    assert done.code == 0, done.err
    assert "and 1 row of embed_tokens" in done.err
