"""The Chat tab: load, ask, stop, change, compare, prefer, let go; what a model writes stays text."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from studio.data.catalog import read_catalog
from studio.data.inspect import preview
from studio.data.render import View
from studio.jobs.identity import see
from studio.jobs.job import LIVE
from studio.jobs.store import store_of
from studio.workspace import Workspace
from tests.flow.jobbing import until
from tests.flow.parrot import SONG, write_parrot
from tests.web.conftest import Running

pytestmark = pytest.mark.web

LONG_MS = 90_000
EVIL = ["<think>", " a plan", "</think>", "<img src=x onerror='window.hit=1'>", "<script>window.hit=1</script>",
        "![x](http://evil.example/x.png)", "\n```html\n<b>bold</b>\n```\n", "[go](javascript:alert(1))"]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def models(place: Workspace, tiny_tokenizer_folder: Path) -> None:
    """One that sings for ever, and one that writes what a page must not believe."""
    write_parrot(place.models / "parrot", tiny_tokenizer_folder, context=32768)
    write_parrot(place.models / "evil", tiny_tokenizer_folder, song=EVIL, ends=True)


@pytest.fixture(autouse=True)
def let_go(studio: Running) -> Iterator[None]:
    """What a test leaves loaded must not stand in the way of the next one."""
    yield
    store = store_of(studio.place)
    for job in store.jobs(kinds=("serve",), states=("queued", *LIVE)):
        store.wish(job.id, "kill")
    until(lambda: not store.jobs(kinds=("serve",), states=LIVE), lambda: "a model was not let go")
    store.close()


def opened(page: Any) -> Any:
    # On a phone its button stands in the menu of what does not fit.
    page.evaluate("() => { location.hash = 'chat' }")
    page.locator("#chat-question").wait_for()
    return page


def ask(page: Any, text: str) -> None:
    page.locator("#chat-question").fill(text)
    page.keyboard.press("Enter")


def load(studio: Running, model: str) -> None:
    """Start to load a model, as the page does."""
    headers = {"Authorization": f"Bearer {studio.token}", "Content-Type": "application/json"}
    body = json.dumps({"model": model}).encode()
    request = urllib.request.Request(f"{studio.url}/api/serve", body, headers)
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["active"]


def test_a_model_is_loaded_asked_stopped_changed_and_let_go(open_page: Callable[..., Any], studio: Running) -> None:
    page = opened(open_page("en"))
    expect(page.locator(".chat-blank")).to_contain_text("Load a model")
    expect(page.locator("#chat-second")).to_have_attribute("title", re.compile("Load a second model"))
    page.locator("#chat-open-load").click()
    page.locator("#chat-load-model").fill("models/parrot")
    page.locator("#chat-load-model").press("Enter")
    expect(page.locator(".chat-model.ready")).to_contain_text("parrot", timeout=LONG_MS)

    # The answer comes in pieces, and is stopped in the middle.
    page.locator("#chat-max_new_tokens").fill("30000")
    page.locator("#chat-system").fill("Sing.")
    ask(page, "Hello <b>you</b>")
    answer = page.locator(".chat-side")
    expect(answer.locator(".chat-prose").last).to_contain_text("".join(SONG[:5]).strip())
    expect(answer).to_have_attribute("aria-busy", "true")
    expect(answer.locator(".chat-loop")).to_contain_text("round in circles")
    page.locator("#chat-stop").click()
    expect(answer).to_have_attribute("aria-busy", "false")
    expect(answer.locator(".chat-notes")).to_contain_text("Stopped.")
    expect(answer.locator(".chat-loop")).to_be_visible()
    expect(page.locator(".chat-turn.user .chat-prose")).to_have_text("Hello <b>you</b>")

    # Asked anew in other words, it is cut by the limit and goes on where it was cut.
    page.locator("#chat-max_new_tokens").fill("3")
    page.locator(".chat-turn.user .chat-edit").click()
    page.locator(".chat-editor").fill("Again")
    page.get_by_role("button", name="Save and ask").click()
    expect(answer.locator(".chat-notes")).to_contain_text("cut at the limit of tokens (3 so far)")
    assert answer.locator(".chat-text").text_content() == "".join(SONG[:3])
    page.locator(".chat-go-on").click()
    expect(answer.locator(".chat-notes")).to_contain_text("(6 so far)")
    assert answer.locator(".chat-text").text_content() == "".join(SONG[:6])

    page.locator("#chat-prompt").click()
    expect(page.locator("#chat-prompt-shown")).to_contain_text("left for the answer")
    expect(page.locator("#chat-prompt-shown pre")).to_contain_text("<|im_start|>user\nAgain<|im_end|>")
    page.keyboard.press("Escape")

    # Another page sees the same model; this one keeps its conversation.
    page.reload()
    opened(page)
    expect(page.locator(".chat-model.ready")).to_contain_text("parrot")
    expect(page.locator(".chat-side .chat-text")).to_have_text("".join(SONG[:6]))
    page.locator(".chat-delete").click()
    expect(page.locator(".chat-turn")).to_have_count(0)

    store = store_of(studio.place)
    (job,) = store.jobs(kinds=("serve",), states=("running",))
    assert job.process is not None
    page.locator(".chat-unload").click()
    expect(page.locator("#studio-toasts")).to_contain_text("its memory is free again", timeout=LONG_MS)
    expect(page.locator(".chat-model")).to_have_count(0)
    assert see(job.process.pid) is None
    store.close()


def test_two_models_stand_side_by_side_and_the_better_answer_becomes_a_row(
    open_page: Callable[..., Any], studio: Running
) -> None:
    for model in ("models/evil", "models/parrot"):
        load(studio, model)
    page = opened(open_page("zh", width=390))
    expect(page.locator("#chat-second")).to_be_enabled(timeout=LONG_MS)
    page.locator("#chat-first").select_option(label="evil")
    page.locator("#chat-second").select_option(label="parrot")
    page.locator(".chat-part summary").nth(1).click()
    page.locator("#chat-temperature").fill("0")
    page.locator("#chat-max_new_tokens").fill("12")
    ask(page, "比较")
    sides = page.locator(".chat-side")
    expect(sides).to_have_count(2)
    evil = sides.first
    expect(evil.locator(".chat-prefer")).to_be_enabled()

    # What it wrote is text: no element, no picture, no link, no script of it is in the page.
    expect(evil.locator(".chat-text")).to_contain_text(EVIL[3] + EVIL[4] + EVIL[5])
    expect(evil.locator(".chat-code code")).to_have_text("<b>bold</b>")
    assert evil.locator("img, script, a, b").count() == 0
    assert page.evaluate("window.hit") is None
    expect(evil.locator(".chat-thought summary")).to_have_text("思考过程")
    expect(evil.locator(".chat-thought .chat-prose")).to_be_hidden()
    evil.locator(".chat-thought summary").click()
    expect(evil.locator(".chat-thought .chat-prose")).to_have_text(" a plan")
    boxes = [side.bounding_box() for side in sides.all()]
    assert boxes[1]["y"] > boxes[0]["y"] + boxes[0]["height"] - 1, "one below the other on a phone"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    sides.last.locator(".chat-prefer").click()
    expect(sides.last.locator(".chat-better")).to_contain_text("共 1 行")
    entry = read_catalog(studio.place)["preferences"]
    (row,) = preview(entry, None, None, View(), studio.place, 0, 9)
    assert not row.refused
    assert row.example.messages[-1]["content"] == "比较"
    assert row.example.chosen[0]["content"] == "".join(SONG[n % len(SONG)] for n in range(12))
    assert row.example.rejected[0]["content"].startswith("<img")
