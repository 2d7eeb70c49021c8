"""Answers in numbers: against references, and by themselves.

BLEU           of the corpus, 0 to 100, by sacrebleu with its tokenizer for the script of the references
ROUGE-1, 2, L  F1 of units, pairs of units, and the longest common subsequence (Lin, 2004), 0 to 1, the mean of rows
exact match    the answer is the reference, both normalised
number         the number that the answer comes to is the reference's
repetition     the share of n-grams of an answer that stand in it already (Welleck et al., 2020)
distinct       the share of n-grams over all answers that are different ones (Li et al., 2016)

The units are words, and single characters for Chinese and other scripts without spaces (studio.evaluate.segments);
repetition and distinct count punctuation too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from studio.evaluate.numerals import number_of
from studio.evaluate.segments import bleu_tokenizer, normalised, pieces, units
from studio.evaluate.sums import Sums, Values, mean_of, share_of

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU

# Answers loop by phrases: four units in a row hardly come again by chance.
REPEATED, DISTINCT = 4, 2


def bleu(answers: Sequence[str], references: Sequence[str | None], tokenizers: Sequence[str]) -> Sums:
    """BLEU of the corpus (Papineni et al., 2002).

    Only orders that some answer is long enough for count: answers of one word are no failure by their length. A row
    without a reference adds nothing, and rows that have none have no BLEU. `tokenizers` are sacrebleu's names of one,
    for each row.
    """
    from sacrebleu.metrics.bleu import BLEU

    parts = [
        _counts(_scorer(tokenizer), answer, reference) if reference is not None else [0] * 10
        for answer, reference, tokenizer in zip(answers, references, tokenizers, strict=True)
    ]

    def of(sums: Values) -> Values:
        rows = [[int(value) for value in row] for row in sums]
        found = [
            BLEU.compute_bleu(row[2:6], row[6:], row[0], row[1], smooth_method="exp", effective_order=True).score
            if row[1]
            else math.nan
            for row in rows
        ]
        return np.array(found)

    return Sums(np.array(parts, dtype=np.float64).reshape(-1, 10), of)


def bleu_signature(tokenizer: str) -> str:
    """How BLEU with a tokenizer is computed, as sacrebleu writes it."""
    scorer = _scorer(tokenizer)
    # It tells the number of references of what it scored last.
    scorer.sentence_score("", [""])
    return str(scorer.get_signature())


def row_bleu(answer: str, reference: str) -> float:
    """BLEU of one answer, with the orders that it is long enough for."""
    return float(_scorer(bleu_tokenizer([reference])).sentence_score(answer, [reference]).score)


@cache
def _scorer(tokenizer: str) -> BLEU:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenizer, effective_order=True)


def _counts(scorer: BLEU, answer: str, reference: str) -> list[int]:
    score = scorer.sentence_score(answer, [reference])
    return [score.sys_len, score.ref_len, *score.counts, *score.totals]


def rouge(answer: str, reference: str) -> dict[str, float]:
    """F1 by name, rouge1, rouge2 and rougeL."""
    said, wanted = units(answer), units(reference)
    found = {
        f"rouge{size}": _f1(_shared(_grams(said, size), _grams(wanted, size)), len(said) - size + 1,
                            len(wanted) - size + 1)
        for size in (1, 2)
    }  # fmt: skip
    return {**found, "rougeL": _f1(common(said, wanted), len(said), len(wanted))}


def _f1(shared: int, said: int, wanted: int) -> float:
    return 2 * shared / (said + wanted) if shared else 0.0


def _shared(one: Iterable[Hashable], other: Iterable[Hashable]) -> int:
    return (Counter(one) & Counter(other)).total()


def _grams(items: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(items[at : at + size]) for at in range(len(items) - size + 1)]


def common(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """The length of the longest common subsequence, by bits of whole rows (Crochemore et al., 2001)."""
    places: dict[Hashable, int] = {}
    for at, item in enumerate(one):
        places[item] = places.get(item, 0) | 1 << at
    every = (1 << len(one)) - 1
    row = every
    for item in other:
        matched = row & places.get(item, 0)
        row = ((row + matched) | (row - matched)) & every
    return len(one) - row.bit_count()


def exact(answer: str, reference: str) -> bool:
    """Whether an answer is the reference, both as `segments.normalised` writes them."""
    return normalised(answer) == normalised(reference)


def same_number(answer: str, reference: str) -> bool | None:
    """Whether both come to the same number; None where the reference holds none."""
    wanted = number_of(reference)
    if wanted is None:
        return None
    found = number_of(answer)
    return found is not None and found.same(wanted)


def repetition(answer: str, size: int = REPEATED) -> float:
    """The share of n-grams of an answer that stand in it already; 0 for one that is too short to repeat itself."""
    grams = _grams(pieces(answer), size)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def distinct(answers: Sequence[str], size: int = DISTINCT) -> tuple[float, float, float]:
    """The share of different n-grams over all answers, and its interval.

    A drawn row that comes twice would count as repetition, so the interval is from the jackknife (Tukey, 1958):
    1.96 standard errors of what comes when each row is left out in turn. NaN where there is nothing to measure.
    """
    rows = [_grams(pieces(answer), size) for answer in answers]
    holders = Counter(gram for row in rows for gram in set(row))
    total = sum(map(len, rows))
    value = len(holders) / total if total else math.nan
    left = [
        (len(holders) - sum(holders[gram] == 1 for gram in set(row))) / (total - len(row))
        for row in rows
        if total > len(row)
    ]
    if len(left) < 2:
        return value, math.nan, math.nan
    mean = sum(left) / len(left)
    error = math.sqrt((len(left) - 1) / len(left) * sum((each - mean) ** 2 for each in left))
    return value, max(0.0, value - 1.96 * error), min(1.0, value + 1.96 * error)


def row_values(answer: str, reference: str | None) -> dict[str, float | None]:
    """The measures of one answer, with every name each time; those against a reference are None without one."""
    own = {"repetition": repetition(answer), "characters": float(len(answer))}
    if reference is None:
        return {**dict.fromkeys(AGAINST), **own}
    number = same_number(answer, reference)
    return {
        "sentence_bleu": row_bleu(answer, reference),
        **rouge(answer, reference),
        "exact_match": float(exact(answer, reference)),
        "number": None if number is None else float(number),
        **own,
    }


# Measures against a reference, in the order in which they are shown; the mean of the first is no BLEU.
AGAINST = ("sentence_bleu", "rouge1", "rouge2", "rougeL", "exact_match", "number")
LOWER, SHARES = ("repetition", "cut"), ("exact_match", "number", "cut")


def sums_of(
    values: Mapping[str, Sequence[float | None]],
    answers: Sequence[str],
    references: Sequence[str | None],
    tokenizers: Sequence[str],
) -> dict[str, Sums]:
    """Every measure that is a mean of rows or a sum over them, BLEU first; those that no row has are left out.

    `values` are the columns of `row_values`, and any others; `tokenizers` those of `bleu`.
    """
    found: dict[str, Sums] = {}
    if any(said is not None for said in references):
        found["bleu"] = bleu(answers, references, tokenizers)
    for name, column in values.items():
        if name != AGAINST[0] and any(value is not None for value in column):
            make = share_of if name in SHARES else mean_of
            found[name] = make(column, "lower" if name in LOWER else "higher")
    return found
