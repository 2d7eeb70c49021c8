"""The mix: sliders, shares that always sum to one, presets, what a pass sees, the file, and the way to Train."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.web.conftest import Running
from tests.web.working import done, fill, opened, shell, start

pytestmark = pytest.mark.web

SOURCES = ["tiny_sft", "tiny_pt"]  # 40 and 60 rows


def share(view: Locator, at: int) -> float:
    """The share of a source in sampling, in percent, as the page shows it."""
    return float(view.locator(f"#mix-share-{at}-exact").input_value())


def test_sliders_say_the_probabilities_and_the_mix_goes_into_train(
    open_page: Callable[..., Any], studio: Running
) -> None:
    page = open_page("en")
    view = opened(page, "datasets", "prepare:mix", "mix")
    fill(view, "mix", dataset=SOURCES)
    rows = view.locator("#mix-table tbody tr")
    expect(rows).to_have_count(2)
    # Sizes are seen at once; rows and tokens when they were counted.
    expect(rows.nth(0)).to_contain_text("KiB")
    fill(view, "mix", model_name_or_path="models/tiny-chat")
    expect(view.locator("#mix-count")).to_be_visible()
    expect(rows.nth(0).locator("td.number").nth(2)).to_have_text("–")
    done(start(view, "mix"))
    expect(rows.nth(0).locator("td.number").nth(1)).to_have_text("40")
    expect(rows.nth(1).locator("td.number").nth(1)).to_have_text("60")
    expect(rows.nth(0).locator("td.number").nth(2)).not_to_have_text("–")
    expect(view.locator("#mix-count")).to_be_hidden()
    # 75 to 25: an epoch ends when both have given all: 40 / 0.25 = 160 rows would need 60 · … of the other.
    view.locator("#mix-share-0").fill("75")
    expect(shell(view, "mix")).to_contain_text("--mix_strategy interleave_over --interleave_probs 0.75,0.25")
    assert (share(view, 0), share(view, 1)) == (75, 25)
    expect(view.locator("#mix-sum")).to_have_text("100%")
    # 60 rows at 25 % take 240 draws, 180 of them from the 40 rows: 4.5 times over, which is told.
    expect(rows.nth(0).locator(".m-epochs")).to_have_text("4.5")
    expect(rows.nth(0).locator(".m-epochs")).to_have_class("number m-epochs studio-warn")
    expect(rows.nth(1).locator(".m-epochs")).to_have_text("1")
    expect(view.locator("#mix-said")).to_contain_text("240 rows")
    # By rows 40 : 60; with T = 2 their roots, 6.32 : 7.75; all the same.
    for temperature, first in (("1", 40), ("2", 44.9), ("Infinity", 50)):
        view.locator(f"[data-temperature='{temperature}']").click()
        expect(view.locator("#mix-share-0-exact")).to_have_value(f"{first:.1f}")
        assert share(view, 0) + share(view, 1) == pytest.approx(100, abs=0.11)
    view.locator("#mix-share-1-exact").fill("20")
    view.locator("#mix-share-1-exact").press("Tab")
    fill(view, "mix", mix_file="data/mix.yaml")
    expect(shell(view, "mix")).to_contain_text("--interleave_probs 0.8,0.2")
    outcome = done(start(view, "mix"))
    expect(outcome.locator(".mix-content")).to_contain_text("interleave_probs")
    assert "0.8,0.2" in (studio.place.data / "mix.yaml").read_text(encoding="utf-8")
    outcome.locator("[data-next=use]").click()
    command = page.locator("#train-command-text")
    for words in ("--dataset tiny_sft,tiny_pt", "--mix_strategy interleave_over", "--interleave_probs 0.8,0.2"):
        expect(command).to_contain_text(words)


def test_a_file_of_shares_is_shown_and_moves_no_slider(open_page: Callable[..., Any], studio: Running) -> None:
    (studio.place.data / "policy.json").write_text('{"tiny_sft": 0.5, "tiny_pt": 1.0}', encoding="utf-8")
    view = opened(open_page("zh", 800), "datasets", "prepare:mix", "mix")
    fill(view, "mix", sample_policy_file="data/policy.json")
    expect(view.locator("#mix-share-0-exact")).to_have_value("33.3")
    expect(view.locator("#mix-share-0")).to_be_disabled()
    assert view.locator("#mix-share-0").get_attribute("title") == "由比例文件决定。"
