"""Texts become words, and single characters where a language has no spaces."""

import numpy as np

from studio.cleaning.units import grams, shingles, units_of


def same(one: str, other: str) -> bool:
    units = units_of([one, other])
    return units.of(0).tolist() == units.of(1).tolist()


def test_case_punctuation_space_and_full_width_forms_make_no_difference() -> None:
    assert same("The fox, jumps!", "the FOX jumps")
    assert same("价格ＡＢ１２３元。", "价格 ab123元")
    assert same("“高血压”患者 ……", "高血压，患者")


def test_order_words_numbers_and_signs_of_arithmetic_do() -> None:
    assert not same("a b", "b a")
    assert not same("ab", "a b")
    assert not same("3+5=8", "3-5=8")
    assert not same("12 apples", "13 apples")


def test_han_kana_and_thai_are_units_by_character_and_others_by_word() -> None:
    units = units_of(["高血压", "ひらがな", "ภาษาไทย", "Straße für Ümläute", "한국어 문장", "हिन्दी भाषा"])
    assert np.diff(units.starts).tolist() == [3, 4, 7, 3, 2, 2]
    assert units.single.tolist() == [1, 1, 1, 0, 0, 0]
    assert units.lengths[units.starts[3] : units.starts[4]].tolist() == [6, 3, 7]


def test_signs_are_counted_among_all_that_is_no_space() -> None:
    assert units_of(["ab !! ", "一二三，", "", "  "]).signs.tolist() == [0.5, 0.25, 0, 0]


def test_characters_beyond_the_first_planes_are_units() -> None:
    assert np.diff(units_of(["𠀀𠀁", "😀"]).starts).tolist() == [2, 1]


def test_units_of_one_text_do_not_depend_on_its_neighbours() -> None:
    texts = ["one two", "三四五 six", "", "seven"]
    together = units_of(texts)
    for number, text in enumerate(texts):
        assert together.of(number).tolist() == units_of([text]).of(0).tolist()


def test_sequences_stay_within_their_text_and_a_short_text_is_one() -> None:
    units = units_of(["a b c d", "a b c", "a", "", "d e"])
    made, starts = shingles(units, np.full(5, 3))
    assert np.diff(starts).tolist() == [2, 1, 1, 0, 1]
    assert made[0] == made[2], "a b c of both"
    assert len(set(made.tolist())) == 4
    assert grams(units.of(0), 3)[0] == grams(units.of(1), 3)[0]


def test_the_digest_of_a_text_without_words_is_that_of_its_characters() -> None:
    units = units_of(["!!!", "???", "!!!", "Yes!", "yes"])
    digests = [units.digest(number, raw) for number, raw in enumerate(["!!!", "???", "!!!", "Yes!", "yes"])]
    assert digests[0] == digests[2] != digests[1]
    assert digests[3] == digests[4]
