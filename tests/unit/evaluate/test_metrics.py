"""Numbers of answers, held against sacrebleu, against what rouge-score 0.1.2 gives, and by hand."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from studio.evaluate.intervals import paired, share
from studio.evaluate.metrics import (
    bleu,
    bleu_signature,
    common,
    distinct,
    exact,
    repetition,
    rouge,
    row_values,
    same_number,
    sums_of,
)
from studio.evaluate.numerals import chinese, number_of
from studio.evaluate.segments import bleu_tokenizer, normalised, units
from studio.evaluate.sums import Sums, mean_of, ratio, share_of

WORDS = ["the", "a", "cat", "dog", "sat", "on", "mat", "ran", "in", "3", "42", "house"]


def sentences(count: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randint(1, 14))) for _ in range(count)]


@pytest.mark.parametrize(
    ("answers", "references", "tokenizer"),
    [
        (sentences(40, 1), sentences(40, 2), "13a"),
        (["今天天气很好，我们去公园。", "北京是首都"], ["今天天气不错，我们去了公园。", "北京是中国的首都"], "zh"),
        (["これは猫です", "犬が好き"], ["これは犬です", "私は犬が好きです"], "char"),
        (["", "x"], ["nothing came", "y z"], "13a"),
    ],
)
def test_bleu_is_that_of_sacrebleu(answers: list[str], references: list[str], tokenizer: str) -> None:
    scorer = BLEU(tokenize=tokenizer, effective_order=True)
    expected = scorer.corpus_score(answers, [references])
    assert bleu(answers, references, [tokenizer] * len(answers)).value == pytest.approx(expected.score)
    assert bleu_tokenizer(references) == tokenizer
    assert bleu_signature(tokenizer) == str(scorer.get_signature())


def test_the_tokenizer_of_bleu_follows_the_script_of_the_references() -> None:
    assert bleu_tokenizer(["The word 天 in a long English sentence."]) == "13a"
    assert bleu_tokenizer(["我用 Python 写程序"]) == "zh"
    assert bleu_tokenizer(["東京は日本の首都です"]) == "char"
    assert bleu_tokenizer(["กรุงเทพ"]) == "char"
    assert bleu_tokenizer(["", "42"]) == "13a"


# What rouge-score 0.1.2 gives without stemming: F1 of rouge1, rouge2, rougeL.
ROUGE = [
    ("The cat sat on the mat.", "The cat was on the mat, sleeping.", (0.769231, 0.545455, 0.769231)),
    ("Paris is the capital of France", "The capital of France is Paris.", (1.0, 0.6, 0.666667)),
    ("no overlap here", "entirely different words", (0.0, 0.0, 0.0)),
    ("a b c d e f g", "a c e g b d f", (1.0, 0.0, 0.571429)),
    ("It's 42: the answer to life, the universe & everything!", "the answer is 42", (0.428571, 0.166667, 0.285714)),
    ("the the the the", "the cat and the dog", (0.444444, 0.0, 0.444444)),
    ("one", "one", (1.0, 0.0, 1.0)),
    ("", "one", (0.0, 0.0, 0.0)),
]


@pytest.mark.parametrize(("answer", "reference", "expected"), ROUGE)
def test_rouge_of_english_is_that_of_the_reference_implementation(
    answer: str, reference: str, expected: tuple[float, ...]
) -> None:
    assert tuple(rouge(answer, reference).values()) == pytest.approx(expected, abs=1e-6)


def test_rouge_of_chinese_compares_characters() -> None:
    # Of 6 and 7 characters 4 are shared in order, 今天天气; of 5 and 6 pairs 2, 今天 and 天气.
    found = rouge("今天天气很好", "今天的天气不错。")
    assert found == pytest.approx({"rouge1": 8 / 13, "rouge2": 4 / 11, "rougeL": 8 / 13})
    assert units("用 Python3 写：Ｏ K") == ["用", "python3", "写", "ｏ", "k"]


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_the_longest_common_subsequence_is_that_of_the_table(one: list[str], other: list[str]) -> None:
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, left in enumerate(one):
        for j, right in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if left == right else max(table[i][j + 1], table[i + 1][j])
    assert common(one, other) == table[-1][-1]


def test_exact_match_looks_past_case_width_space_and_outer_marks() -> None:
    assert exact(" “Ｐａｒｉｓ”. ", "paris")
    assert exact("是\n东京。", "是 东京")
    assert not exact("It is Paris", "Paris")
    assert normalised("A, B") == "a, b"


NUMBERS = [
    ("5 - 3 = 2", 2),
    ("16 - 3 = 13, so she has 13.\n#### 1,234 eggs, of 9", 1234),
    ("#### -5", -5),
    ("the total is $80,000 + $1.5 = \\$80,001.50.", Fraction(160003, 2)),
    ("面积是198m²", 198),
    ("面积是198㎡，即cm^{2}", 198),
    ("共３０个", 30),
    ("3千克", 3),
    ("4.5万", 45000),
    ("占3/4", Fraction(3, 4)),
    ("3 1/2 cups", Fraction(7, 2)),
    ("3½", Fraction(7, 2)),
    ("3又4分之1", Fraction(13, 4)),
    ("so \\boxed{\\frac{3}{4}}, not 7", Fraction(3, 4)),
    ("百分之25", Fraction(1, 4)),
    ("一共三十五个", 35),
    ("四分之三", Fraction(3, 4)),
    ("三又四分之一", Fraction(13, 4)),
    ("零下，负三度", -3),
    ("温度是-3度", -3),
    ("1, 2, 3", 3),
    ("1,2,3", 3),
    ("x2 is 5", 5),
    ("1\\,000", 1000),
    ("1.5e-3", Fraction(3, 2000)),
    ("1.5 × 10³", 1500),
    ("3×10⁸", 300_000_000),
    ("3·10^8", 300_000_000),
    ("2 x 10^3", 2000),
    ("2×10⁻³", Fraction(1, 500)),
    ("10³", 10),
    ("about $1.5 \\times 10^{3}$", 1500),
    ("2e", 2),
]


@pytest.mark.parametrize(("text", "expected"), NUMBERS)
def test_the_number_of_an_answer(text: str, expected: Fraction) -> None:
    found = number_of(text)
    assert found is not None
    assert found.value == expected


@pytest.mark.parametrize("text", ["", "no number", "5/0", "#### "])
def test_an_answer_without_a_number_has_none(text: str) -> None:
    assert number_of(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("十", 10), ("十五", 15), ("一百零五", 105), ("一百五", 150), ("三万五", 35000), ("二零二四", 2024),
     ("三亿五千万", 350_000_000), ("一万亿", 10**12), ("两千零三十", 2030), ("三点一四", Fraction(157, 50))],
)  # fmt: skip
def test_chinese_numerals(text: str, value: Fraction) -> None:
    assert chinese(text) == value


def test_equal_numbers_may_be_written_in_different_ways() -> None:
    assert same_number("that is 0.5 of it", "2/4")
    assert same_number("it is 25%", "25")
    assert same_number("it is 0.25", "25%")
    assert same_number("it is 33.3333333", "so 100/3\n#### 100/3")
    assert not same_number("it is 26%", "25%")
    assert not same_number("I do not know", "25")
    assert same_number("42", "no number here") is None


def test_repetition_is_the_share_of_n_grams_that_came_before() -> None:
    assert repetition("a b c d e") == 0
    # 9 units, 6 runs of four: abca bcab cabc abca bcab cabc, of which 3 differ.
    assert repetition("a b c a b c a b c") == pytest.approx(0.5)
    assert repetition("好好好好好好好好") == pytest.approx(0.8)
    assert repetition("!!!!!!!!") == pytest.approx(0.8)
    assert repetition("a" * 100) == pytest.approx(1 - 1 / 97)
    assert repetition("") == 0


def test_distinct_counts_over_all_answers_and_is_wider_for_few() -> None:
    value, low, high = distinct(["a b c", "a b d", "e f g"])
    # ab bc ab bd ef fg: 5 of 6 differ.
    assert value == pytest.approx(5 / 6)
    assert low < value <= high <= 1
    many = distinct([*["a b c", "a b d", "e f g"] * 10])
    assert many[2] - many[1] < high - low
    assert all(map(math.isnan, distinct(["", ""])))


def test_an_interval_of_a_mean_is_near_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(5, 2, size=400)
    found = mean_of(values.tolist()).measure()
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)
    assert mean_of(values.tolist()).measure() == found
    assert mean_of(values.tolist()).measure(seed=7) != found


def test_the_difference_of_two_models_has_the_interval_of_the_pairs() -> None:
    chance = np.random.default_rng(1)
    base = chance.normal(0, 10, size=300)
    better = base + chance.normal(1, 0.1, size=300)
    difference = mean_of(better.tolist()).against(mean_of(base.tolist()))
    assert difference.value == pytest.approx((better - base).mean())
    # Alone, either has an interval of more than 2.
    assert difference.high - difference.low < 0.05
    with pytest.raises(ValueError, match="the same rows"):
        mean_of([1.0]).against(mean_of([1.0, 2.0]))


def test_one_row_has_no_interval_and_none_no_value() -> None:
    assert mean_of([1.0]).value == 1
    alone = mean_of([1.0]).measure()
    assert (alone.low, alone.high) == (-math.inf, math.inf)
    assert math.isnan(mean_of([None]).value)
    assert mean_of([None, 3.0, 1.0]).value == 2


def test_a_measure_of_sums_weighs_rows_by_their_size() -> None:
    # 2 of 10 and 9 of 10 000: rows are not averaged.
    assert Sums(np.array([[2.0, 10.0], [9.0, 10_000.0]]), ratio).value == pytest.approx(11 / 10_010)


def test_rows_without_a_reference_are_measured_by_themselves() -> None:
    answers, references = ["a b c", "the cat"], [None, "the cat"]
    rows = [row_values(answer, said) for answer, said in zip(answers, references, strict=True)]
    found = sums_of({name: [row[name] for row in rows] for name in rows[0]}, answers, references, ["13a"] * 2)
    assert found["exact_match"].measure() == share(1, 1)
    assert found["bleu"].value == pytest.approx(100)
    assert found["bleu"].count == 1
    assert found["characters"].value == 6
    assert "number" not in found
    alone = row_values("a", None)
    assert alone["rougeL"] is None
    assert set(sums_of({name: [value] for name, value in alone.items()}, ["a"], [None], ["13a"])) == {
        "repetition",
        "characters",
    }


def test_shares_have_the_intervals_of_shares() -> None:
    right, base = share_of([1.0, 1.0, None, 1.0]), share_of([0.0, 1.0, None, 1.0])
    assert right.measure() == share(3, 3)
    assert right.against(base) == paired([1, 1, 1], [0, 1, 1])
    assert right.of_rows([0, 2]).measure() == share(1, 1)


def test_a_loop_of_digits_is_no_number_and_takes_no_time():
    for text in ("1" * 100_000, "一" * 100_000, "1." + "1" * 50_000, "1" + ",111" * 20_000):
        assert number_of(text) is None
    assert same_number("1" * 9000, "5") is False


def test_rows_without_references_have_no_bleu():
    found = bleu(["a b c", "d"], ["a b c", None], ["13a", "13a"])
    assert found.measure().value == pytest.approx(100)
    assert math.isnan(found.of_rows([1]).measure().value)


def test_one_row_that_counts_among_many_has_no_interval():
    one, base = mean_of([0.5, None, None]), mean_of([0.25, None, None])
    found, apart = one.measure(), one.against(base)
    assert (found.value, found.low, found.high, found.count) == (0.5, -math.inf, math.inf, 1)
    assert (apart.value, apart.low, apart.high) == (0.25, -math.inf, math.inf)
