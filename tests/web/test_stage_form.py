"""Each way of learning has its part of the form: what it asks, what is usual, which datasets and models fit."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from studio.workspace import Workspace
from tests.web.form import command, ready
from tests.web.preferring import add_pairs

pytestmark = pytest.mark.web


def test_each_way_of_learning_shows_what_it_asks_and_which_datasets_fit(
    open_page: Callable[..., Any], place: Workspace
) -> None:
    add_pairs(place)
    page = open_page()
    expect(page.locator("#group-rlhf")).to_be_hidden()
    page.locator("#train-stage").select_option("dpo")
    expect(page.locator("#train-pref_loss")).to_be_visible()
    expect(page.locator("#train-reward_model")).to_be_hidden()
    # What is usual is said, and set only by who takes it.
    hint = page.locator("#train-learning_rate .studio-hint")
    expect(hint).to_contain_text("5e-6")
    expect(command(page)).not_to_contain_text("--learning_rate")
    hint.get_by_role("button", name="Take it").click()
    expect(command(page)).to_contain_text("--learning_rate 5e-06")
    expect(hint).to_have_count(0)

    page.locator("#train-dataset").click()
    offered = page.locator("#train-dataset-options li")
    expect(offered.filter(has_text="tiny_pairs")).to_have_attribute("aria-disabled", "false")
    misfit = offered.filter(has_text="tiny_sft")
    expect(misfit).to_have_attribute("aria-disabled", "true")
    expect(misfit).to_contain_text("Stage dpo needs preference pairs")

    page.locator("#train-stage").select_option("grpo")
    expect(page.locator("#train-reward_model-help")).to_contain_text("Used by PPO, GRPO, RLOO.")
    expect(page.locator("#train-num_generations")).to_be_visible()
    expect(page.locator("#train-pref_loss")).to_be_hidden()
    expect(page.locator("#train-packing")).to_be_hidden()
    page.locator("#train-reward_model").click()
    expect(page.locator("#train-reward_model-options")).to_contain_text("There is no reward model")


def test_a_bare_name_of_a_reward_model_is_shown_as_the_folder_that_it_means(
    open_page: Callable[..., Any], place: Workspace
) -> None:
    judge = place.saves / "tiny-chat" / "full" / "judge"
    judge.mkdir(parents=True)
    (judge / "config.json").write_text(json.dumps({"architectures": ["Qwen2ForSequenceClassification"]}))
    page = open_page()
    ready(page)
    page.locator("#train-stage").select_option("ppo")
    expect(page.locator("#train-needed")).to_contain_text("Choose a reward model")
    page.locator("#train-reward_model").click()
    expect(page.locator("#train-reward_model-options li")).to_have_count(1)
    expect(page.locator("#train-reward_model-options")).to_contain_text("reward model")
    page.fill("#train-reward_model", "judge")
    expect(command(page)).to_contain_text("--reward_model saves/tiny-chat/full/judge")
    expect(page.locator("#train-start")).to_be_enabled()
