"""The Datasets tab: look inside, edit the registry without losing anything, add a file, count."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from studio.workspace import Workspace
from tests.web.conftest import Running

pytestmark = pytest.mark.web

ODD = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">\u202eback\x1b[31m"
LONG_MS = 60_000


@pytest.fixture(autouse=True)
def odd_rows(place: Workspace) -> None:
    """A dataset with hostile text, a row that is refused, and a long cell."""
    rows = [{"instruction": ODD, "output": "It is so."}, {"instruction": "no answer"}]
    rows += [{"instruction": f"Question {n}?", "output": "long " * 900 if n == 3 else "Answer."} for n in range(3, 13)]
    (place.data / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = json.loads(place.dataset_info.read_text())
    if "odd" not in found:
        place.dataset_info.write_text(json.dumps(found | {"odd": {"file_name": "odd.jsonl"}}, indent=2) + "\n")


def opened(page: Any) -> Any:
    """The Datasets tab of a page, its table filled."""
    page.locator("#tab-datasets-button").click()
    page.locator("#datasets-table tr[data-name=tiny_sft]").wait_for()
    return page


def look(page: Any, name: str) -> Any:
    """One dataset of the tab."""
    page.locator(f"tr[data-name={name}] .datasets-link").click()
    expect(page.locator("#dataset-name")).to_have_text(name)
    return page


def test_the_table_finds_a_dataset_and_says_what_it_fits(open_page: Callable[..., Any]) -> None:
    page = opened(open_page("en"))
    page.locator("#datasets-search").fill("tiny_pt")
    expect(page.locator("#datasets-table tbody tr")).to_have_count(1)
    row = page.locator("tr[data-name=tiny_pt]")
    expect(row).to_contain_text("plain texts")
    # Learning from rewards takes a plain text for a question.
    expect(row.locator(".datasets-chip.fits")).to_have_count(4)
    expect(row.get_by_label("Fits stage pt")).to_be_visible()
    why = "Stage sft needs conversations; this dataset holds plain texts."
    expect(row.locator(".datasets-chip", has_text="sft")).to_have_attribute("title", why)


def test_rows_are_shown_as_text_with_the_tokens_that_are_learned(open_page: Callable[..., Any]) -> None:
    page = look(opened(open_page("zh")), "odd")
    rows = page.locator(".dataset-row")
    expect(rows).to_have_count(5)
    # Without a model the page says what is missing, and nothing of a row runs or hides.
    expect(page.locator("#dataset-hint")).to_be_visible()
    expect(rows.nth(0).locator(".l-conversation")).to_contain_text(
        "<script>document.title = 'taken'</script><img src=x"
    )
    expect(rows.nth(0).locator(".l-conversation")).to_contain_text("\\u202eback\\x1b[31m")
    assert page.locator(".dataset-row img, .dataset-row script").count() == 0
    assert page.title() != "taken"
    expect(rows.nth(1)).to_contain_text("output")
    expect(rows.nth(1)).to_have_class("dataset-row refused")
    page.locator("#top-model_name_or_path").fill("models/tiny-chat")
    learned = rows.nth(0).locator(".tok.learned")
    expect(learned.first).to_be_visible()
    assert "".join(learned.all_inner_texts()) == "It is so.<|im_end|>"
    page.locator("#dataset-cutoff_len").fill("64")
    page.locator("#dataset-cutoff_len").press("Tab")
    expect(rows.nth(2).locator(".cut")).to_be_visible()
    expect(rows.nth(2).locator(".dataset-text").last).to_be_hidden()
    page.locator("#dataset-layer-raw").click()
    rows.nth(2).get_by_role("button", name="显示全部 4,500 个字符").first.click()
    expect(rows.nth(2).locator(".dataset-text").filter(has_text="long " * 899)).not_to_have_count(0)
    page.locator("#dataset-next").click()
    expect(page.locator("[data-row='6']")).to_be_visible()
    page.locator("#dataset-last").click()
    expect(rows).to_have_count(2)
    expect(page.locator("#dataset-next")).to_be_disabled()


def test_statistics_are_counted_by_a_job_and_lead_to_the_rows(open_page: Callable[..., Any]) -> None:
    page = look(opened(open_page("en")), "odd")
    page.locator("#top-model_name_or_path").fill("models/tiny-chat")
    page.locator("#dataset-cutoff_len").fill("64")
    page.locator("#dataset-tab-statistics").click()
    page.locator("#dataset-count").click()
    expect(page.locator("#dataset-histogram")).to_be_visible(timeout=LONG_MS)
    expect(page.locator("#dataset-histogram")).to_contain_text("cutoff_len 64")
    expect(page.locator(".datasets-tile", has_text="refused rows")).to_contain_text("1")
    # What the rows are like: languages, roles, lengths; each finding leads to its rows.
    expect(page.locator("#dataset-languages .datasets-across")).to_contain_text("%")
    expect(page.locator("#dataset-roles")).to_contain_text("assistant")
    expect(page.locator("#dataset-characters button").first).to_be_visible()
    page.locator("#dataset-refused button").first.click()
    expect(page.locator("[data-row='2'].refused")).to_be_visible()
    page.locator("#dataset-tab-statistics").click()
    expect(page.locator("#dataset-histogram")).to_be_visible()


def test_the_registry_is_edited_in_two_tabs_and_nobody_loses_a_line(
    open_page: Callable[..., Any], studio: Running
) -> None:
    path = studio.place.dataset_info
    first, second = (opened(open_page("en")) for _ in range(2))
    for page in (first, second):
        page.locator("#datasets-edit").click()
        expect(page.locator("#registry-text")).to_have_value(path.read_text())
    text = path.read_text()
    # A comma too many is told with its place, and cannot be saved.
    first.locator("#registry-text").fill(text.replace('"tiny_sft.json"', '"tiny_sft.json",'))
    expect(first.locator("#registry-complaints")).to_contain_text("Line 3, column 33")
    expect(first.locator("#registry-save")).to_be_disabled()
    # What was typed outlives a reload.
    first.goto(studio.url + "/")
    opened(first).locator("#datasets-edit").click()
    expect(first.locator("#registry-draft")).to_be_visible()
    expect(first.locator("#registry-complaints")).to_contain_text("Line 3, column 33")
    ours = text.replace('"tiny_sft"', '"renamed"')
    first.locator("#registry-text").fill(ours)
    second.locator("#registry-text").fill(text.replace('"tiny_pt"', '"other"'))
    expect(first.locator("#registry-save")).to_be_enabled()
    first.locator("#registry-save").click()
    expect(first.locator("#registry-state")).to_contain_text("As it is in")
    assert path.read_text() == ours
    expect(second.locator("#registry-save")).to_be_enabled()
    second.locator("#registry-save").click()
    dialog = second.locator("#registry-conflict")
    expect(dialog).to_contain_text('"renamed"')
    expect(dialog).to_contain_text('"other"')
    assert path.read_text() == ours
    dialog.get_by_role("button", name="Save mine over it").click()
    expect(second.locator("#registry-state")).to_contain_text("As it is in")
    assert path.read_text() == text.replace('"tiny_pt"', '"other"')
    # Nothing was typed in the first since, so it follows.
    expect(first.locator("#registry-text")).to_have_value(path.read_text())
    path.write_text(text)


def test_a_half_saved_registry_keeps_the_last_good_list(open_page: Callable[..., Any], studio: Running) -> None:
    path = studio.place.dataset_info
    text = path.read_text()
    page = opened(open_page("en"))
    path.write_text(text[:70])
    try:
        expect(page.locator("#datasets-banner")).to_contain_text("cannot be read: line")
        expect(page.locator("tr[data-name=tiny_pt]")).to_be_visible()
        page.locator("#datasets-banner button").click()
        page.locator("#registry-good").click()
        expect(page.locator("#registry-complaints")).to_contain_text("Every entry is right")
        page.locator("#registry-save").click()
        expect(page.locator("#registry-state")).to_contain_text("As it is in")
        assert path.read_text() == text
    finally:
        path.write_text(text)


def test_an_upload_is_recognised_corrected_and_registered(open_page: Callable[..., Any], studio: Running) -> None:
    page = opened(open_page("en", 390))
    page.locator("#datasets-add").click()
    page.locator("#add-file").set_input_files({"name": "run.exe", "mimeType": "", "buffer": b"MZ"})
    expect(page.locator("#add-status")).to_contain_text("must end in one of")
    rows = "question,answer\n" + "ask,<b>say</b>\n" * 4
    page.locator("#add-file").set_input_files({"name": "../my rows.csv", "mimeType": "", "buffer": rows.encode()})
    expect(page.locator("#add-verdict")).to_contain_text("All of the first 4 rows")
    expect(page.locator("#add-examples .dataset-row")).to_have_count(3)
    expect(page.locator("#add-examples .bubble.assistant").first).to_contain_text("<b>say</b>")
    page.locator("#add-column-prompt").select_option("answer")
    page.locator("#add-column-response").select_option("question")
    expect(page.locator("#add-examples .bubble.user").first).to_contain_text("<b>say</b>")
    page.locator("#add-name").fill("turned")
    page.locator("#add-save").click()
    expect(page.locator("#dataset-name")).to_have_text("turned")
    entry = json.loads(studio.place.dataset_info.read_text())["turned"]
    assert entry == {"file_name": "my_rows.csv", "columns": {"prompt": "answer", "response": "question"}}
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")
