"""Merges that go on: the same as counting everything anew each time, and never in text of another script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.model.tokenizer import LightTokenizer
from studio.vocabulary import merging
from studio.vocabulary.merging import Merged
from studio.vocabulary.scripts import ANY, Rule
from studio.vocabulary.tokenfile import Growth, TokenFile, opened


def continued(texts: Sequence[str], file: TokenFile, rule: Rule, wanted: int, least: int = 2) -> Merged:
    ids = merging.runs(texts, file.light.fast, merging.usable_ids(file, rule), lambda _: None)
    return merging.continued(ids, file, rule, wanted, least, tell=lambda _: None)


def counted_anew(words: list[list[int]], file: TokenFile, wanted: int, least: int) -> list[tuple[str, str]]:
    """Byte pair encoding as the paper tells it: count every pair, join the most frequent, begin again."""
    names, merges = dict(file.by_id), []
    known = {token: number for number, token in names.items()}
    while len(names) - len(file.by_id) < wanted:
        counts: Counter[tuple[int, int]] = Counter()
        for word in words:
            place = 0
            before: tuple[int, int] | None = None
            while place < len(word) - 1:
                pair = (word[place], word[place + 1])
                # Of a token three times in a row only two can be joined.
                if pair == before and pair[0] == pair[1]:
                    before = None
                else:
                    counts[pair] += 1
                    before = pair
                place += 1
        if not counts:
            break
        pair, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
        if count < least:
            break
        text = names[pair[0]] + names[pair[1]]
        number = known.setdefault(text, max(names) + 1)
        names[number] = text
        merges.append((names[pair[0]], names[pair[1]]))
        words = [joined(word, pair, number) for word in words]
    return merges


def joined(word: list[int], pair: tuple[int, int], number: int) -> list[int]:
    made: list[int] = []
    place = 0
    while place < len(word):
        if tuple(word[place : place + 2]) == pair:
            made.append(number)
            place += 2
        else:
            made.append(word[place])
            place += 1
    return made


@pytest.fixture(scope="module")
def byte_file(light: LightTokenizer) -> TokenFile:
    return TokenFile(light)


# No digits: the tiny tokenizer knows every byte, and words of these letters have no merges of its own.
@settings(max_examples=150)
@given(st.lists(st.text("qxzj", min_size=1, max_size=14), min_size=1, max_size=12), st.integers(1, 12))
def test_the_merges_are_those_of_counting_every_pair_anew(
    light: LightTokenizer, byte_file: TokenFile, texts: list[str], wanted: int
) -> None:
    file, rule = byte_file, Rule((ANY,), 100)
    words = [list(encoding.ids) for encoding in light.fast.encode_batch(texts, add_special_tokens=False)]
    assert continued(texts, file, rule, wanted).merges == counted_anew(words, file, wanted, 2)


def test_the_grown_tokenizer_makes_of_the_texts_what_was_counted(light: LightTokenizer, chinese: list[str]) -> None:
    file, rule = TokenFile(light), Rule(("han",), 16)
    merged = continued(chinese, file, rule, 400)
    fast = opened(file.grown(Growth(tokens=merged.tokens, merges=merged.merges)))
    ids = merging.runs(chinese, fast, merging.usable_ids(file, rule, len(merged.tokens)), lambda _: None)
    assert len(merged.tokens) == 400
    assert merged.after < 0.5 * merged.before
    assert int(np.count_nonzero(ids >= 0)) == merged.after


@pytest.fixture(scope="module")
def extended(light: LightTokenizer, chinese: list[str]) -> object:
    file = TokenFile(light)
    merged = continued(chinese, file, Rule(("han",), 16), 800)
    return opened(file.grown(Growth(tokens=merged.tokens, merges=merged.merges)))


@settings(max_examples=100)
@given(st.text(max_size=60))
def test_a_text_without_the_new_script_keeps_its_ids(light: LightTokenizer, extended: object, text: str) -> None:
    rule = Rule(("han",), 16)
    if not rule.touches(text):
        assert extended.encode(text).ids == light.fast.encode(text).ids  # type: ignore[attr-defined]


def test_special_tokens_behind_the_vocabulary_keep_their_ids(light: LightTokenizer, extended: object) -> None:
    for number, token in light.fast.get_added_tokens_decoder().items():
        assert extended.token_to_id(token.content) == number  # type: ignore[attr-defined]
        assert extended.encode(f"好{token.content}好").ids.count(number) == 1  # type: ignore[attr-defined]


def test_every_old_id_keeps_its_token(light: LightTokenizer, extended: object) -> None:
    new = extended.get_vocab()  # type: ignore[attr-defined]
    assert {token: new.get(token) for token in light.fast.get_vocab()} == light.fast.get_vocab()


def test_no_token_is_longer_than_asked_and_none_cuts_into_a_second_character(
    light: LightTokenizer, chinese: list[str]
) -> None:
    file = TokenFile(light)
    merged = continued(chinese * 3, file, Rule(("han",), 3), 600)
    for token in merged.tokens:
        content = file.content(token)
        text = content.decode(errors="ignore")
        assert len(text) <= 3
        assert content.decode(errors="replace") == text or (not text.strip() and len(content.strip()) < 4), content


@pytest.mark.parametrize(("asked", "text", "fits"), [
    (("han",), "中国", True), (("han",), " 中", True), (("han",), "，", True), (("han",), "中a", False),
    (("han",), "の", False), (("kana",), "の", True), (("han", "kana"), "中の", True), (("han",), " ", False),
    (("cyrillic",), " привет", True), (("cyrillic",), "hi", False), ((ANY,), "a b", True),
])  # fmt: skip
def test_what_may_become_a_token(asked: tuple[str, ...], text: str, fits: bool) -> None:
    assert Rule(asked, 16).fits(text.encode()) is fits


@given(st.characters(exclude_categories=["Cs"]), st.integers(1, 3))
def test_the_beginning_of_a_character_may_only_be_a_token_where_it_can_be_of_no_other_script(
    character: str, size: int
) -> None:
    rule, content = Rule(("han",), 16), character.encode()
    if size < len(content) and rule.fits(content[:size]):
        assert rule.fits(content), f"{character} begins as a character of the script but is none"
