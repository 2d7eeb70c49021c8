"""The Vocabulary tab: each work filled, done and looked at."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.conftest import CITIES, json_lines
from tests.web.conftest import Running
from tests.web.working import done, fill, opened, shell, start

pytestmark = pytest.mark.web


@pytest.fixture(scope="module", autouse=True)
def text(studio: Running) -> None:
    """A file of Chinese sentences that repeat their words."""
    lines = [
        f"{zh}的人们每天早晨都去{zh}的老桥买好面包，第{number}次。" for zh in CITIES.values() for number in range(30)
    ]
    (studio.place.data / "zh.jsonl").write_text(json_lines({"text": line} for line in lines), encoding="utf-8")


def test_a_model_is_extended_and_what_changed_is_seen(open_page: Callable[..., Any], studio: Running) -> None:
    page = open_page("en")
    view = opened(page, "vocabulary", "extend", "tokenizer-extend")
    # The model is offered as it is typed.
    field = view.locator("#work-tokenizer-extend-model_name_or_path")
    field.click()
    field.press_sequentially("tiny-c")
    field.press("ArrowDown")
    field.press("Enter")
    expect(field).to_have_value("models/tiny-chat")
    fill(view, "tokenizer-extend", train_file=["data/zh.jsonl"], num_new_tokens=40, output_dir="models/tiny-zh")
    expect(shell(view, "tokenizer-extend")).to_contain_text("tokenizer extend --model_name_or_path models/tiny-chat")
    outcome = done(start(view, "tokenizer-extend"))
    expect(outcome.locator(".work-tile", has_text="Added")).to_contain_text("40")
    expect(outcome.locator("[aria-label='Tokens per character, by script'] .work-bar")).to_have_count(2)
    expect(outcome).to_contain_text("keep their ids")
    before, after = outcome.locator(".work-tokens").nth(0), outcome.locator(".work-tokens").nth(1)
    assert before.locator("span").count() > after.locator("span").count() > 3
    assert before.inner_text() == after.inner_text()
    assert (studio.place.models / "tiny-zh" / "vocabulary.json").is_file()
    # From here to a look at it, beside its base.
    outcome.locator("[data-next=inspect]").click()
    other = page.locator(".work[data-work=tokenizer-inspect]")
    expect(other.locator("#work-tokenizer-inspect-model_name_or_path")).to_have_value("models/tiny-zh")
    fill(other, "tokenizer-inspect", text="东京的人们每天早晨去老桥。")
    outcome = done(start(other, "tokenizer-inspect"))
    expect(outcome).to_contain_text("beside models/tiny-chat")
    expect(outcome.locator(".work-tile", has_text="Tokens with another id")).to_contain_text("0")
    expect(outcome.locator(".work-tokens").first).to_have_text("东京的人们每天早晨去老桥。")


def test_a_tokenizer_is_trained_and_a_model_made_with_it(open_page: Callable[..., Any], studio: Running) -> None:
    page = open_page("zh")
    view = opened(page, "vocabulary", "train", "tokenizer-train")
    fill(view, "tokenizer-train", train_file=["data/zh.jsonl"], vocab_size=400, output_dir="models/my-tokenizer")
    outcome = done(start(view, "tokenizer-train"))
    expect(outcome.locator(".work-tile", has_text="特殊词元")).to_contain_text("3")
    # One vocabulary is neither before nor after; each token stands by itself, a part of a character by its number.
    expect(outcome.locator(".work-sides .who")).to_contain_text("逐词元")
    tokens = outcome.locator(".work-chip")
    assert tokens.first.evaluate("each => getComputedStyle(each).borderTopWidth") == "1px"
    assert not any("\N{REPLACEMENT CHARACTER}" in text for text in tokens.all_inner_texts() if len(text) == 1)
    outcome.locator("[data-next=new-model]").click()
    other = page.locator(".work[data-work=tokenizer-new-model]")
    fill(other, "tokenizer-new-model", model_size="1M", output_dir="models/new")
    # How many parameters come of it is told before anything is written, and follows what is asked.
    count = other.locator("#work-new-model-count")
    expect(count).to_contain_text("个参数")
    first = count.inner_text()
    fill(other, "tokenizer-new-model", num_hidden_layers=1)
    expect(count).not_to_have_text(first)
    told = count.inner_text().split(" ")[0]
    outcome = done(start(other, "tokenizer-new-model"))
    expect(outcome.locator(".work-tile", has_text="参数量")).to_contain_text(told)
    # What the work noticed is said in the language of the page.
    expect(outcome.locator(".work-notes")).to_contain_text("分词器没有对话模板")
    outcome.locator("[data-next=train]").click()
    expect(page.locator("#top-model_name_or_path")).to_have_value("models/new")
    # What knows nothing yet learns texts, with all its weights.
    expect(page.locator("#train-command-text")).to_contain_text("--stage pt")
    expect(page.locator("#train-command-text")).to_contain_text("--finetuning_type full")
    assert (studio.place.models / "new" / "model.safetensors").is_file()
