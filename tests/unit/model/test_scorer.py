"""A reward model in memory: alone, or on a base that another model uses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import studio.loop.attention as documents
from studio.errors import ModelError
from studio.model import scorer as module
from studio.model.answer import TooLongError
from studio.model.classifier import is_reward_model
from studio.model.scorer import Scorer, open_scorer, scorer_on

ROWS = [[5, 9, 2, 7], [11], [3, 3, 8, 1, 4, 6, 20], [5, 9, 2, 7]]
TARGETS = ["q_proj", "v_proj", "down_proj"]


@pytest.fixture(scope="module")
def adapter(tiny_chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward adapter whose weights are not those of its start."""
    folder = tmp_path_factory.mktemp("reward") / "adapter"
    torch.manual_seed(1)
    base = AutoModelForSequenceClassification.from_pretrained(tiny_chat_model, num_labels=1)
    model: Any = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", r=4, target_modules=TARGETS))
    for weight in model.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(str(folder))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tiny_chat_model / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def alone(adapter: Path, tiny_chat_model: Path) -> Scorer:
    return open_scorer(adapter, base=tiny_chat_model, cache=adapter)


def policy(folder: Path, whole: list[str] | None = None) -> Any:
    """A language model that learns with an adapter of its own, and with copies of the modules named by `whole`."""
    torch.manual_seed(2)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    aside: Any = {"modules_to_save": whole, "ensure_weight_tying": True} if whole else {}
    asked = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["k_proj"], lora_dropout=0.5, **aside)
    model = get_peft_model(model, asked)
    for name, weight in model.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return model.train()


def test_scores_come_in_the_order_of_the_rows_whatever_is_computed_together(
    alone: Scorer, monkeypatch: pytest.MonkeyPatch
):
    whole = alone.score(ROWS)
    assert whole[0] == pytest.approx(whole[3]) and len(set(whole)) >= 3
    assert [alone.score([row])[0] for row in ROWS] == pytest.approx(whole, abs=1e-6)
    monkeypatch.setattr(module, "TOKENS", 8)
    assert alone.score(ROWS) == pytest.approx(whole, abs=1e-6)
    assert alone.score([]) == []


def test_rows_that_cannot_be_scored_are_refused(alone: Scorer):
    with pytest.raises(ModelError, match="must hold a token"):
        alone.score([[1], []])
    with pytest.raises(TooLongError):
        alone.score([[1] * 5000])


def test_what_follows_the_end_of_an_answer_completes_it(alone: Scorer):
    talk = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]
    ids = alone.ids(talk)
    assert alone.tail and tuple(ids[-len(alone.tail) :]) == alone.tail
    assert alone.score([ids]) == alone.score_messages([talk])


@pytest.mark.parametrize(("attention", "whole"), [("sdpa", None), (documents.NAME, None), ("sdpa", ["embed_tokens"])])
def test_on_a_shared_base_the_scores_are_the_same_and_the_policy_is_left_as_it_was(
    alone: Scorer, adapter: Path, tiny_chat_model: Path, attention: str, whole: list[str] | None
):
    model = policy(tiny_chat_model, whole)
    model.set_attn_implementation(attention)
    learns = [(weight, weight.requires_grad) for weight in model.parameters()]
    model.eval()
    with torch.no_grad():
        before = model(input_ids=torch.tensor([ROWS[2]]), use_cache=False).logits
    model.train()
    held = sum(weight.numel() for weight in model.parameters())
    shared = scorer_on(model, adapter, tiny_chat_model, cache=adapter)
    assert shared.score(ROWS) == pytest.approx(alone.score(ROWS), abs=1e-5)
    assert model.active_adapter == "default" and model.training
    assert all(weight.requires_grad is before_it for weight, before_it in learns)
    known = {id(weight) for weight, _ in learns}
    assert not any(weight.requires_grad for weight in model.parameters() if id(weight) not in known)
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(input_ids=torch.tensor([ROWS[2]]), use_cache=False).logits, before)
    grown = sum(weight.numel() for weight in model.parameters()) - held
    assert grown < held / 2, "the base must be held once"


def test_a_folder_that_is_no_reward_model_is_refused(tiny_chat_model: Path, adapter: Path):
    assert is_reward_model(adapter) and not is_reward_model(tiny_chat_model)
    with pytest.raises(ModelError, match="must hold a reward model"):
        open_scorer(tiny_chat_model, cache=adapter)
