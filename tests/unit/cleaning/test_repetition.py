"""Text that repeats itself is told by Gopher's rules; the fast way finds what the plain way finds."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from studio.cleaning.repetition import CHARACTERS_OF_A_WORD, Limits, repeating
from studio.cleaning.units import units_of

DATA = Path(__file__).parents[3] / "data"
GOPHER = Limits(
    0.3, 0.2, {2: 0.2, 3: 0.18, 4: 0.16}, {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
)  # fmt: skip
PLAIN = "the quick brown fox jumps over a lazy dog near some river bank on this sunny afternoon in early spring while"
LONG = " ".join(f"{word}{number}" for number in range(6) for word in PLAIN.split())


def texts_of(name: str) -> list[str]:
    return [json.loads(line)["text"] for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def judged(text: str, limits: Limits = GOPHER) -> str:
    return repeating([text], units_of([text]), limits)[0]


def test_a_text_without_repetition_breaks_no_rule() -> None:
    assert judged(LONG) == ""


def test_repeated_lines_paragraphs_and_words_are_told_apart() -> None:
    lines = [f"this is line number {number} of it" for number in range(20)]
    assert judged("\n".join(lines + lines[:12])) == "repeated lines"
    assert judged("\n\n".join(lines + lines[:12])) == "repeated paragraphs"
    assert judged(LONG + "\n" + "word after " * 20) == "most frequent 2-gram"
    assert judged(LONG + " " + " ".join(LONG.split()[:60])).startswith("repeated 5-grams")


def test_a_play_may_name_its_speakers_again_and_again() -> None:
    words = LONG.split()
    play = "\n".join(f"HAMLET:\n{' '.join(words[at : at + 6])}" for at in range(0, 90, 6))
    assert judged(play) == ""


def test_a_short_text_is_not_judged() -> None:
    assert judged("yes yes " * 20) == ""
    assert judged("yes yes " * 30) == "most frequent 2-gram"


def test_an_answer_that_was_pasted_twice_is_told_in_chinese() -> None:
    answer = "针对消化不良可以给药增强胃动力的药以及协助吸收的中成药，平时注意饮食清淡，少吃辛辣刺激的食物，"
    rest = "".join(chr(0x4E00 + 7 * number) for number in range(120))
    assert judged(rest + answer) == ""
    assert judged(rest + answer + answer).startswith("repeated")


def plain(text: str, limits: Limits) -> bool:
    """Whether a text breaks a rule on words, counted with dictionaries as the paper describes it."""
    units = units_of([text])
    scale = CHARACTERS_OF_A_WORD if units.single[0] >= 0.5 else 1
    words = list(zip(units.hashes.tolist(), units.lengths.tolist(), strict=True))
    total = sum(length for _, length in words)
    if len(words) < 50 * scale:
        return False
    for n, limit in limits.top.items():
        grams = [tuple(words[at : at + n * scale]) for at in range(len(words) - n * scale + 1)]
        for gram, times in Counter(grams).items():
            if times > 2 and times * sum(length for _, length in gram) > limit * total:
                return True
    for n, limit in limits.repeated.items():
        size, seen, covered = n * scale, set(), set()
        for at in range(len(words) - size + 1):
            gram = tuple(words[at : at + size])
            if gram in seen:
                covered.update(range(at, at + size))
            seen.add(gram)
        if sum(words[at][1] for at in covered) > limit * total:
            return True
    return False


def test_the_fast_way_finds_the_same_as_dictionaries_do() -> None:
    texts = texts_of("medical_qa_zh")[:400]
    random = np.random.default_rng(7)
    for _ in range(150):
        words = random.choice(list("abcdefgh") + [f"word{n}" for n in range(random.integers(1, 300))], 120)
        texts.append(" ".join(words))
    # Lines are judged elsewhere.
    limits = Limits(1, 1, GOPHER.top, GOPHER.repeated)
    found = [bool(why) for why in repeating(texts, units_of(texts), limits)]
    assert found == [plain(text, limits) for text in texts]
    assert 8 < sum(found) < 300


def test_most_of_the_shipped_texts_stay() -> None:
    for name, most in (("tcm_classics_zh", 0), ("classics_poetry_zh", 0), ("medical_qa_zh", 10)):
        texts = texts_of(name)
        assert sum(map(bool, repeating(texts, units_of(texts), GOPHER))) <= most


@pytest.mark.parametrize("texts", [[], [""], ["。。。", "a"]])
def test_texts_without_words_are_no_trouble(texts: list[str]) -> None:
    assert repeating(texts, units_of(texts), GOPHER) == [""] * len(texts)
