"""Texts are mended where they are wrong, and left alone where they are not."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.cleaning.mend import broken, remove_control, remove_html, repair_encoding, tidy_ends, tidy_space

DATA = Path(__file__).parents[3] / "data"


def texts_of(name: str) -> list[str]:
    return [json.loads(line)["text"] for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    "text",
    ["CafÃ© dâ€™Artiste â€” open", "naÃ¯ve", "高血压患者要清淡饮食".encode().decode("latin-1")],
)
def test_utf8_that_was_read_as_latin1_becomes_what_it_was(text: str) -> None:
    mended = repair_encoding(text)
    assert mended in ("Café d’Artiste — open", "naïve", "高血压患者要清淡饮食")


def test_utf8_that_was_read_as_gbk_becomes_what_it_was() -> None:
    right = "这是很常见的胃病"
    assert repair_encoding(f"A: {right.encode().decode('gbk')}.") == f"A: {right}."


@pytest.mark.parametrize(
    "text", ["联通", "Ärger über Öl", "价格 £5 – ¥6", "ÃO não", "ﾊﾝｶｸ ｶﾅ", "한국어 문장입니다", "纾解及时医院"]
)
def test_text_that_was_decoded_rightly_stays(text: str) -> None:
    assert repair_encoding(text) == text


def test_no_text_of_the_shipped_data_is_taken_for_a_wrong_decoding() -> None:
    for name in ("medical_qa_zh", "tcm_classics_zh", "classics_poetry_zh"):
        for text in texts_of(name):
            assert repair_encoding(text) == text
            assert remove_html(text) == text


def test_html_goes_with_its_scripts_and_leaves_the_text_on_its_lines() -> None:
    page = (
        "<!DOCTYPE html><html><head><title>t</title><style>p{}</style></head><body><!-- nav --><h1>Salt</h1>"
        '<p class="a">Eat <b>less</b> salt&nbsp;&amp; sugar.</p><script>if (a<b) x()</script><ul><li>one<li>two</ul>'
    )
    assert [line.strip() for line in remove_html(page).splitlines() if line.strip()] == [
        "Salt",
        "Eat less salt\xa0& sugar.",
        "one",
        "two",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "List<int> a; if (a < b && c > d) f<T>();",
        "<|im_end|>",
        "x <y> z",
        "AT&T; R&D",
        "if a <b and c> d",
        "x <i or j> y",
        "<title and author>",
        "<!-- open",
        "<script> open",
    ],
)
def test_what_only_looks_like_html_stays(text: str) -> None:
    assert remove_html(text) == text


def test_tags_go_whatever_their_attributes_and_powers_stay_powers() -> None:
    assert remove_html('<td nowrap colspan=2>a</td><a href="b c">d</a><br /><input disabled>') == "\na\nd\n"
    assert remove_html("10<sup>5</sup>, 10<sup>−3</sup>, word<sup>1</sup>") == "10^5, 10^−3, word1"
    assert remove_html("a<!-- <script> -->b<style>c</style>d<!-- e") == "ab d<!-- e"


@pytest.mark.parametrize(
    "text",
    [
        "<script>",
        "<!--",
        "<!doctype ",
        "<?xml ",
        "<a ",
        "<a b ",
        "x\u3000",
        "\t",
        "&a",
        "a@",
        "+1234",
        "Ã©",
        "中CafÃ© ",
    ],
)
def test_time_grows_with_the_length_whatever_a_text_holds(text: str) -> None:
    # The square of the length would take minutes.
    long = text * (400_000 // len(text)) + "."
    for change in (repair_encoding, remove_html, remove_control, tidy_space, tidy_ends):
        assert change(long)


def test_control_and_invisible_characters_go_and_joiners_stay() -> None:
    assert remove_control("a\x00b\u200bc\ufeffd\x1b\u202ee\ud800\r\nf\rg") == "abcde\nf\ng"
    assert remove_control("one\x0ctwo\x0b\x1b[1;31mthree\x1b[0m") == "one\ntwo\nthree"
    england = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
    assert remove_control(f"{england} \U000e0067a") == f"{england} a"
    family, persian = "👨\u200d👩\u200d👧", "می\u200cخواهم"
    assert remove_control(family) == family
    assert remove_control(persian) == persian


def test_space_is_tidied_and_indents_stay() -> None:
    text = "\n\n　　一段话。  \ndef f():\n    return  1\t\n\n\n\n\u3000\u3000二段\xa0话。\u3000\n"
    assert tidy_space(text) == "一段话。\ndef f():\n    return 1\n\n二段 话。"


def test_code_in_an_answer_keeps_its_inner_spaces() -> None:
    assert tidy_ends("a  = 1   \n\n\n\nb\t= 2") == "a  = 1\n\nb\t= 2"


def test_the_share_of_lost_characters_counts_both_kinds() -> None:
    assert broken("好" * 90 + "\ufffd" * 10) == pytest.approx(0.1)
    assert broken("好" * 94 + "锟斤拷" * 2) == pytest.approx(0.06)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab 一。\n\t\r\xa0\u3000\u2003\u200b\x07<p>&;/"), max_size=40))
def test_what_was_tidied_stays_as_it_is_when_it_is_tidied_again(text: str) -> None:
    for mend in (tidy_space, tidy_ends, remove_control):
        once = mend(text)
        assert mend(once) == once


def test_runs_of_space_take_time_that_grows_with_their_length() -> None:
    """A pattern that goes back and forth would take hours for these."""
    for run in ("\t", " \t", "\u3000\t", "\xa0 ", " "):
        text = "a" + run * 100_000
        assert tidy_space(text + "\nb") in ("a\nb", f"{text.rstrip()}\nb")
    assert tidy_space("a \t b\xa0\xa0c d\te") == "a b c d e"


def test_tags_with_attributes_that_need_no_value_go_and_marks_of_notes_do_not_become_powers() -> None:
    assert remove_html("<video controls autoplay>x<input disabled checked>") == "x"
    assert remove_html("in 2021<sup>1</sup> and x<sup>2</sup>, km<sup>2</sup>") == "in 2021 and x^2, km^2"
    assert remove_html("if a <b and c> d") == "if a <b and c> d"
