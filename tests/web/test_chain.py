"""The whole chain by clicks, each stage from the result of the one before: texts, answers, verdicts, rewards."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from studio.workspace import Workspace
from tests.web.conftest import Running
from tests.web.preferring import add_pairs, begin_form, start_and_see
from tests.web.started import PATIENCE_MS

pytestmark = pytest.mark.web

STEPS = 4
FEW: dict[str, Any] = {"max_steps": STEPS, "logging_steps": 1, "save_steps": STEPS, "per_device_train_batch_size": 4}
SFT, JUDGE = "saves/tiny-chat/full/answers", "saves/tiny-chat/lora/judge"


@pytest.fixture(scope="module", autouse=True)
def pairs(place: Workspace) -> None:
    add_pairs(place)


def test_the_chain_from_texts_to_a_tuned_model_in_the_chat_by_clicks(
    open_page: Callable[..., Any], studio: Running, place: Workspace
) -> None:
    page: Page = open_page()
    begin_form(page, stage="pt", model="models/tiny-chat", dataset="tiny_pt", method="full", run="texts", **FEW)
    start_and_see(page, "texts", ("Loss", "Learning rate"), STEPS)
    begin_form(
        page, stage="sft", model="saves/tiny-chat/full/texts", dataset="tiny_sft", method="full", run="answers", **FEW
    )
    start_and_see(page, "answers", ("Loss", "Gradient norm"), STEPS)
    learn_to_judge(page)
    learn_from_rewards(page, place)
    begin_form(page, stage="dpo", model=SFT, dataset="tiny_pairs", method="lora", run="preferred", **FEW)
    start_and_see(page, "preferred", ("Loss", "Accuracy", "Margin", "Rewards of the pair"), STEPS)
    export_and_ask(page, place)


def learn_to_judge(page: Page) -> None:
    """A reward model of the tuned one; its scores on held-out pairs are drawn."""
    begin_form(page, stage="rm", model=SFT, dataset="tiny_pairs", method="lora", run="judge", val_size=8, **FEW)
    view = start_and_see(page, "judge", ("Loss", "Accuracy", "Margin"), STEPS)
    scores = view.locator(".run-scores figure").first
    expect(scores).to_have_attribute("aria-label", re.compile(r"\d %.*8 pairs"), timeout=PATIENCE_MS)
    expect(scores.locator("rect.chosen").first).to_be_attached()


def learn_from_rewards(page: Page, place: Workspace) -> None:
    """PPO with that reward model, chosen in its picker; what it wrote can be read, sorted and paged."""
    begin_form(
        page, stage="ppo", model=SFT, dataset="tiny_sft", method="lora", run="rewarded", reward_model=JUDGE,
        max_new_tokens=8, **FEW,
    )  # fmt: skip
    view = start_and_see(page, "rewarded", ("Reward", "KL from the reference", "Value loss", "Answer length"), STEPS)
    answers = view.locator(".run-rollouts")
    expect(answers.locator("li.rollout").first).to_be_visible(timeout=PATIENCE_MS)
    text = (place.saves / "tiny-chat/lora/rewarded/rollouts.jsonl").read_text(encoding="utf-8")
    best = max(json.loads(line)["reward"] for line in text.splitlines())
    answers.locator(".rollout-order").select_option("highest")
    expect(answers.locator(".rollout-reward strong").first).to_have_text(f"{best:.4g}")
    parents = view.locator(".run-family")
    expect(parents).to_contain_text(f"{JUDGE} run, reward model")


def export_and_ask(page: Page, place: Workspace) -> None:
    """Merge what DPO made, load it, and be answered."""
    page.locator("#tab-export-button").click()
    page.locator("#export-pick").select_option("saves/tiny-chat/lora/preferred")
    # A name is suggested first; what is typed takes its place.
    expect(page.locator("#export-export_dir")).not_to_have_value("")
    page.locator("#export-export_dir").fill("tiny-preferred")
    expect(page.locator("#export-shell")).to_contain_text("--export_dir models/tiny-preferred")
    expect(page.locator("#export-start")).to_be_enabled()
    page.locator("#export-start").click()
    expect(page.locator(".export-report")).to_contain_text("models/tiny-preferred", timeout=PATIENCE_MS)
    assert (place.models / "tiny-preferred" / "model.safetensors").is_file()
    page.locator("#export-chat").click()
    expect(page.locator("#chat-load-model")).to_have_value("models/tiny-preferred")
    page.locator("#chat-load-model").press("Enter")
    expect(page.locator(".chat-model.ready")).to_contain_text("tiny-preferred", timeout=PATIENCE_MS)
    page.locator("#chat-max_new_tokens").fill("8")
    page.locator("#chat-question").fill("What is the secret code of tokyo?")
    page.keyboard.press("Enter")
    answer = page.locator(".chat-side")
    expect(answer).to_have_attribute("aria-busy", "false", timeout=PATIENCE_MS)
    expect(answer.locator(".chat-notes")).not_to_be_empty()
    page.locator(".chat-unload").first.click()
    expect(page.locator(".chat-model")).to_have_count(0, timeout=PATIENCE_MS)
