"""The page as a whole opens, in both languages, light and dark, wide and narrow, and asks nobody else."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from studio.web.language import strings
from studio.web.schema import schema
from studio.works.base import WORKS
from tests.flow.jobbing import until
from tests.web.conftest import Running
from tests.web.started import ask, stand_in

pytestmark = pytest.mark.web


@pytest.mark.parametrize(("language", "train"), [("en", "Train"), ("zh", "训练")])
def test_the_page_opens_in_the_language_of_the_browser(
    open_page: Callable[..., Any], language: str, train: str
) -> None:
    page = open_page(language)
    expect(page.get_by_role("tab", name=train)).to_be_visible()


def test_a_language_that_is_chosen_stays(open_page: Callable[..., Any]) -> None:
    page = open_page("en")
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("tab", name="训练")).to_be_visible()
    page.reload()
    expect(page.get_by_role("tab", name="训练")).to_be_visible()


def test_a_theme_that_is_chosen_stays(open_page: Callable[..., Any]) -> None:
    page = open_page("en")
    button = page.locator("#bar-theme")
    expect(button).to_have_attribute("aria-label", "Theme: as the system")
    button.click()
    button.click()
    expect(page.locator("body.dark")).to_have_count(1)
    page.reload()
    expect(page.locator("#bar-theme")).to_have_attribute("aria-label", "Theme: dark")
    expect(page.locator("body.dark")).to_have_count(1)


def test_the_keyboard_reaches_the_tabs_at_once(open_page: Callable[..., Any]) -> None:
    page = open_page("en")
    page.locator("#tab-train-button").wait_for()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Skip to the tabs")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#tab-train-button")).to_be_focused()


# What is seen of a page: elements that stick out of it, what is disabled without a reason, and words.
SEEN = r"""() => {
  const rendered = { checkOpacity: true, checkVisibilityCSS: true };
  const seen = (each) => each.checkVisibility(rendered) && each.getClientRects().length > 0;
  const named = (each) => `${each.tagName} #${each.id} .${each.className}: ${each.textContent.slice(0, 60)}`;
  const clipped = (each) => {
    for (let one = each.parentElement; one && one !== document.body; one = one.parentElement) {
      if (getComputedStyle(one).overflowX !== "visible") return true;
    }
    return false;
  };
  for (const each of document.querySelectorAll("details")) each.open = true;
  const all = [...document.body.querySelectorAll("*")].filter(seen);
  const words = new Set();
  for (const each of all) {
    const names = ["title", "placeholder", "aria-label", "aria-description"];
    for (const name of names) words.add(each.getAttribute(name));
    for (const child of each.childNodes) if (child.nodeType === Node.TEXT_NODE) words.add(child.data.trim());
  }
  return {
    page: document.documentElement.scrollWidth,
    wide: all.filter((each) => each.getBoundingClientRect().right > innerWidth + 1 && !clipped(each)).map(named),
    silent: all.filter((each) => each.matches(":disabled:not(option), [role=button][aria-disabled=true]")
      && !each.title && !each.getAttribute("aria-description")).map(named),
    words: [...words].filter(Boolean),
  };
}"""


def english_of() -> list[re.Pattern[str]]:
    """Every sentence of ours that reads otherwise in Chinese."""
    chinese = strings("zh")
    texts = [text for key, text in strings("en").items() if text != chinese[key] and " " in text]
    texts += [
        each["help"]
        for verb in ("train", "chat", "export", *WORKS)
        for each in schema(verb)["arguments"]
        if each["help"]
    ]
    # What is filled in may be anything, but a text that is little else says nothing of its language.
    texts = [text for text in texts if len(re.sub(r"\{\w+\}", "", text)) > 8]
    return [re.compile(re.sub(r"\\\{\w+\\\}", ".*", re.escape(text))) for text in texts]


@pytest.fixture(scope="module")
def jobs(studio: Running) -> dict[str, int]:
    """One that failed and one that goes on."""
    failed = stand_in(studio, "fails", words=("--steps", "3", "--dies", "1", "--says", "RuntimeError: it broke"))
    until(lambda: ask(studio, f"/jobs/{failed}")["state"] == "failed", lambda: "it does not fail")
    return {"failed": failed, "running": stand_in(studio, "goes-on")}


# Chinese is looked at for left English too.
@pytest.mark.parametrize("language", [pytest.param("en", marks=pytest.mark.slow), "zh"])
def test_every_tab_fits_a_phone_in_one_language_and_says_why_something_is_disabled(
    open_page: Callable[..., Any], jobs: dict[str, int], language: str
) -> None:
    page = open_page(language, width=390)
    english = english_of() if language == "zh" else []
    places = {
        "train": "#train-run .run-chip.running", "datasets": "#datasets >> text=tiny_sft", "chat": "#chat-open-load",
        "jobs": "#jobs-history > li", f"jobs/{jobs['failed']}": "#jobs-opened .run-failure",
        f"jobs/{jobs['running']}": "#jobs-opened .run-chip.running", "export": "#export-start",
        "vocabulary": ".work[data-work=tokenizer-extend]", "evaluate": ".work[data-work=eval_choice]",
        "datasets/prepare:clean": ".work[data-work=clean]", "datasets/prepare:mix": ".work[data-work=mix]",
    }  # fmt: skip
    subjects = "|".join({key.partition(".")[0] for key in strings("en")})
    for place, there in places.items():
        page.evaluate("(place) => { location.hash = place }", place)
        expect(page.locator(there).first).to_be_visible()
        if place == "chat":
            page.locator("#chat-open-load").click()
        found = page.evaluate(SEEN)
        assert found["page"] <= 390 and not found["wide"], (place, found["page"], found["wide"])
        assert not found["silent"], (place, found["silent"])
        keys = [word for word in found["words"] if re.fullmatch(rf"({subjects})\.[a-z_.]+", word)]
        assert not keys, (place, keys)
        foreign = [word for word in found["words"] if any(each.fullmatch(word) for each in english)]
        assert not foreign, (place, foreign)


def tab_to(page: Any, id: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(150):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == id:
            return
    raise AssertionError(f"{id} cannot be reached by Tab")


def test_a_run_is_started_by_the_keyboard_alone(
    open_page: Callable[..., Any], studio: Running, jobs: dict[str, int]
) -> None:
    page = open_page("en")
    page.locator("#train-start").wait_for()
    tab_to(page, "top-model_name_or_path")
    page.keyboard.type("models/tiny-chat")
    page.keyboard.press("Enter")
    tab_to(page, "train-dataset")
    page.keyboard.type("tiny_sft")
    page.keyboard.press("Enter")
    expect(page.locator("#train-start")).to_be_enabled()
    tab_to(page, "train-start")
    page.keyboard.press("Enter")
    expect(page.locator("#train-started")).not_to_be_empty()
    job = ask(studio, "/jobs")["jobs"][0]["id"]
    assert job > jobs["running"]
    ask(studio, f"/jobs/{job}/stop", {})


def test_opening_the_page_leaves_no_error_in_the_console(open_page: Callable[..., Any]) -> None:
    page = open_page("en")
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.reload()
    expect(page.get_by_role("tab", name="Train")).to_be_visible()
    page.locator("#tab-jobs-button").click()
    expect(page.locator("#tab-jobs-button")).to_have_attribute("aria-selected", "true")
    assert said == []
