"""Works in a browser: their tabs opened, their forms filled, their jobs awaited."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, expect

# A work runs in a process of its own that may import torch: slow on a machine that others use too.
LONG_MS = 150_000


def opened(page: Any, tab: str, word: str, work: str = "") -> Locator:
    """The page of a work, by the address of its tab; `work` is its name where that is another one."""
    page.evaluate("(hash) => { location.hash = hash; }", f"#{tab}/{word}")
    view = page.locator(f".work[data-work='{work or word}']")
    expect(view).to_be_visible()
    return view


def fill(view: Locator, work: str, **values: Any) -> None:
    """Fill fields by their arguments: text, a list for chips, a word of a list, a tick."""
    for name, value in values.items():
        one = view.locator(f"[id='work-{work}-{name}']")
        if not one.is_visible():
            view.locator(f"[id='work-{work}-more'] > summary").click()
        if isinstance(value, bool):
            one.set_checked(value)
        elif isinstance(value, list):
            for each in value:
                one.fill(each)
                one.press("Enter")
        elif one.evaluate("each => each.tagName") == "SELECT":
            one.select_option(value)
        else:
            one.fill(str(value))
            one.press("Escape")


def shell(view: Locator, work: str) -> Locator:
    """The command that the form says."""
    return view.locator(f"[id='work-{work}-shell']")


def start(view: Locator, work: str) -> Locator:
    """Press Start; the card of the new job, beside those that stand there already."""
    button = view.locator(f"[id='work-{work}-start']")
    expect(button).to_be_enabled()
    older = view.locator(".work-job").evaluate_all("cards => cards.map((card) => card.dataset.job)")
    button.click()
    card = view.locator(".work-job" + "".join(f":not([data-job='{job}'])" for job in older)).first
    expect(card).to_be_visible()
    return card


def done(card: Locator) -> Locator:
    """What came of a job, once it has ended well."""
    expect(card.locator(".run-chip.succeeded")).to_be_visible(timeout=LONG_MS)
    return card.locator(".work-outcome")
