"""The report on rows: its sentences and what it allows."""

from __future__ import annotations

import json

import pytest

from studio.data.report import Counts, Lengths, Refused, RefusedRows, Report, alike
from studio.errors import DatasetError, RowError


def a_report(rows: int, refused: int, **more: int) -> Report:
    notes = RefusedRows()
    for row in range(1, refused + 1):
        notes.add("tiny", RowError("prompt is empty", column="q", file="data/tiny.json", row=row))
    kept = more.pop("kept", rows - refused)
    return Report(
        cutoff_len=16,
        datasets={"tiny": Counts(rows=rows, kept=kept, refused=refused, **more)},
        refused=tuple(notes.first),
        reasons=notes.reasons(),
        lengths=Lengths(10.4, 9, 15, 16),
        hashes={"data/tiny.json": "ab"},
    )


def test_its_sentences_say_every_number():
    counts = Counts(
        rows=1200,
        kept=1100,
        refused=3,
        truncated=2,
        fully_masked=4,
        split_rows=5,
        tokens=9000,
        label_tokens=800,
    )
    said = Report(cutoff_len=64, datasets={"tiny": counts}).sentences()
    assert said[0] == (
        "tiny: 1,200 rows, 1,100 kept (9,000 tokens, 800 of them targets), 2 truncated at cutoff_len 64, "
        "3 refused, 4 left out because no target token is within cutoff_len, 5 split into several"
    )


def test_one_is_said_as_one():
    counts = Counts(rows=1, kept=1, tokens=1)
    assert counts.sentence("tiny", 64).startswith("tiny: 1 row, 1 kept (1 token, 0 of them targets)")


def test_thinking_that_the_template_leaves_out_is_told_once_a_dataset():
    said = Report(cutoff_len=64, datasets={"tiny": Counts(rows=9, kept=9, forgetful=2)}).sentences()
    told = "warning: tiny: the template leaves the thinking of all answers but the last out of 2 rows"
    assert [each.startswith(told) for each in said].count(True) == 1


def test_refused_rows_are_listed_with_place_and_reason():
    said = a_report(100, 2).sentences()
    assert "refused 2 times: column 'q': prompt is empty" in said
    assert "refused: tiny: data/tiny.json, row 2: column 'q': prompt is empty" in said


def test_one_refused_row_stops_a_strict_run_and_the_choice_is_named():
    with pytest.raises(DatasetError) as caught:
        a_report(100, 1).check(skip_bad_rows=False, max_bad_rows=0.01)
    assert str(caught.value) == (
        "every row must be usable; refused: 1 of 100.\n"
        "  tiny: data/tiny.json, row 1: column 'q': prompt is empty\n"
        "Mend these rows in the data file, or leave up to max_bad_rows of them out with --skip_bad_rows True."
    )


def test_many_refused_rows_are_shown_twenty_and_counted_by_reason():
    with pytest.raises(DatasetError) as caught:
        a_report(1000, 130).check(skip_bad_rows=False, max_bad_rows=0.01)
    text = str(caught.value)
    assert text.count("data/tiny.json, row ") == 20
    assert "… and 110 more" in text
    assert "130 × column 'q': prompt is empty" in text


@pytest.mark.parametrize(("allowed", "passes"), [(0.01, True), (0.009, False), (1.0, True), (0.0, False)])
def test_skipping_has_a_cap_as_a_share_or_a_number(allowed: float, passes: bool):
    report = a_report(100, 1)
    if passes:
        report.check(skip_bad_rows=True, max_bad_rows=allowed)
    else:
        with pytest.raises(DatasetError, match=r"allows 0 refused rows of 100; refused: 1"):
            report.check(skip_bad_rows=True, max_bad_rows=allowed)


def test_no_row_with_a_target_says_why_with_counts():
    with pytest.raises(DatasetError, match=r"0 of 1,000 rows of tiny have target tokens at cutoff_len 16.*Raise"):
        a_report(1000, 0, kept=0, fully_masked=1000).check(skip_bad_rows=False, max_bad_rows=0)


def test_totals_add_up_over_datasets():
    report = Report(cutoff_len=8, datasets={"a": Counts(rows=2, tokens=5), "b": Counts(rows=3, refused=1)})
    assert (report.rows, report.tokens, report.total.refused) == (5, 5, 1)


def test_a_report_comes_back_from_json_and_says_that_it_was_kept():
    report = a_report(100, 2)
    again = Report.from_json(json.loads(json.dumps(report.as_json())), cached=True)
    assert again.as_json() == report.as_json()
    assert again.refused[0] == Refused("tiny", "data/tiny.json", 1, "column 'q': prompt is empty")
    assert again.cached
    assert not report.cached


def test_reasons_that_differ_only_in_values_are_one_reason():
    assert alike("line 3: role 'x' at 1,204") == alike("line 40: role 'x' at 7")
    assert alike("role 'x'") != alike("role 'y'")


QUOTED = "the answer's shape is {} and not 'x', so it isn't one"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It's a long text with an apostrophe in it", "another text that's as long, don't you think"),
        ("a long text without any apostrophes", 'and one with "quotation marks" and \n breaks'),
        ('both, isn\'t it: "so and so", and long', "something long and altogether different"),
    ],
)
def test_long_values_are_taken_out_and_the_words_between_apostrophes_stay(one: str, other: str):
    assert alike(QUOTED.format(repr(one))) == alike(QUOTED.format(repr(other))) == QUOTED.format("'…'")


@pytest.mark.parametrize(
    "why",
    [
        "turn's role must be 'user' and what follows after it must be 'assistant' here",
        "the rows' columns are many and the entry's are few",
        'the content of "a" and that which stands in the column "b" differ',
    ],
)
def test_a_reason_without_long_values_stays_as_it_is(why: str):
    assert alike(why) == why


def test_unknown_tokens_are_told_as_a_warning():
    report = Report(cutoff_len=8, datasets={"a": Counts(rows=2, tokens=1200, unknown=34), "b": Counts(rows=3)})
    (warning,) = [said for said in report.sentences() if said.startswith("warning")]
    assert warning.startswith("warning: a: 34 of 1,200 tokens are the unknown token: the tokenizer does not know")


def test_reasons_without_end_do_not_fill_the_memory():
    notes = RefusedRows()
    for number in range(3000):
        notes.add("d", RowError("word " + "abcdefghij"[number % 10] * (number // 10 + 1)))
    assert notes.reasons()["other reasons"] == 2000
    assert len(notes.first) == 100
