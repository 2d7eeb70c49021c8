"""The page as a whole opens, in both languages, and asks nobody else."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

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
