"""What stands in the way of a reference is said before the start, with the way out."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from studio.workspace import Workspace
from tests.fidelity.verdicts import register

DPO = {"stage": "dpo", "dataset": "tiny_pairs", "max_steps": 1}


@pytest.fixture(scope="module")
def ready(place: Workspace) -> Workspace:
    register(place)
    return place


def test_a_reference_that_reads_other_tokens_is_refused(ready: Workspace, train: Any):
    folder = ready.models / "other-tokens"
    shutil.copytree(ready.models / "tiny-chat", folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    done = train(ready, "saves/other", ref_model="models/other-tokens", **DPO)
    assert done.code == 10
    assert "--ref_model models/other-tokens: " in done.err and "2 of" in done.err and "another id" in done.err


def test_what_is_no_whole_model_is_refused_as_a_reference(ready: Workspace, train: Any):
    done = train(ready, "saves/nowhere", ref_model="models/absent", **DPO)
    assert done.code == 10 and "--ref_model models/absent: no model folder" in done.err
    adapter = ready.saves / "an-adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    done = train(ready, "saves/adapter", ref_model="saves/an-adapter", **DPO)
    assert done.code == 10 and "--ref_model_adapters" in done.err
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "task_type": "SEQ_CLS"}')
    save_file({"base_model.model.score.weight": np.ones((1, 32), "float32")}, adapter / "adapter_model.safetensors")
    named = {"ref_model": "models/tiny-chat", "ref_model_adapters": "saves/an-adapter"}
    done = train(ready, "saves/judged", **named, **DPO)
    assert done.code == 10 and "a reference needs a model that writes text" in done.err


def test_weights_that_no_process_holds_whole_are_refused_where_a_reference_needs_them(ready: Workspace, train: Any):
    (ready.root / "zero3.json").write_text(json.dumps({"zero_optimization": {"stage": 3}}))
    done = train(ready, "saves/zero3", deepspeed="zero3.json", **DPO)
    assert done.code == 10 and "--deepspeed: with stage 3" in done.err


@pytest.mark.slow
def test_a_reference_may_be_held_in_fewer_bits(ready: Workspace, train: Any, look: Any):
    pytest.importorskip("bitsandbytes")
    done = train(ready, "saves/bits", ref_model="models/shifted", ref_model_quantization_bit=8, logging_steps=1, **DPO)
    assert done.code == 0, done.err
    assert "reference: models/shifted" in done.err
    whole = train(ready, "saves/whole", ref_model="models/shifted", logging_steps=1, **DPO)
    assert whole.code == 0, whole.err
    bits, exact = (look(ready.path(f"saves/{name}")).curve[0][1] for name in ("bits", "whole"))
    assert bits != exact and bits == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize(
    ("values", "copied"),
    [
        ({}, False),
        ({"finetuning_type": "full"}, True),
        ({"finetuning_type": "full", "precompute_ref_log_probs": "True"}, False),
        ({"finetuning_type": "full", "pref_loss": "simpo"}, False),
        ({"finetuning_type": "full", "ref_model": "models/shifted"}, False),
    ],
)
def test_the_plan_counts_the_copy_that_a_reference_is(
    ready: Workspace, train: Any, values: dict[str, Any], copied: bool
):
    done = train(ready, "saves/planned", "--plan", **DPO, **values)
    assert done.code == 0, done.err
    assert ("a copy of them as the reference" in done.out + done.err) == copied
    assert ("the reference models/shifted " in done.out + done.err) == ("ref_model" in values)
