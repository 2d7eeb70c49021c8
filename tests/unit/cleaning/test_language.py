"""The language of a text is told where it is sure enough."""

import json
from pathlib import Path

import pytest

from studio.cleaning.language import check_codes, foreign
from studio.errors import ArgumentError

DATA = Path(__file__).parents[3] / "data"
FRENCH = "Il était une fois un petit garçon qui vivait dans une grande maison près de la mer avec sa grand-mère."
JAPANESE = "高血圧の患者は塩分を控えめにして、野菜や果物を多く食べることが勧められています。"


def test_other_languages_are_named() -> None:
    assert foreign(FRENCH, ("zh", "en"), 0.5) == "fr"
    assert foreign(JAPANESE, ("zh",), 0.5) == "ja"
    assert foreign(FRENCH, ("fr",), 0.5) == ""


def test_a_text_of_few_letters_and_an_unsure_guess_are_kept() -> None:
    assert foreign("1234 + 5678 = 6912", ("zh",), 0.0) == ""
    assert foreign(FRENCH, ("zh",), 1.0) == ""


def test_chinese_of_any_time_is_chinese() -> None:
    for name in ("medical_qa_zh", "tcm_classics_zh", "classics_poetry_zh"):
        lines = (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[::5]
        assert [line for line in lines if foreign(json.loads(line)["text"], ("zh",), 0.5)] == []


def test_nearly_all_of_shakespeare_is_english() -> None:
    paragraphs = (DATA / "shakespeare.txt").read_text(encoding="utf-8").split("\n\n")[::20]
    assert sum(bool(foreign(text, ("en",), 0.5)) for text in paragraphs) <= 0.01 * len(paragraphs)


def test_a_code_that_is_none_is_refused_with_what_was_meant() -> None:
    with pytest.raises(ArgumentError, match=r"--languages cn: must be among the \d+ languages"):
        check_codes(("zh", "cn"))
