"""Prepared rows: the same as rendered ones, kept whole or not at all, nothing dropped in silence."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from studio.data.catalog import read_catalog
from studio.data.example import to_example
from studio.data.render import View, render
from studio.data.report import Report
from studio.data.rows import Rows, prepare
from studio.data.source import rows as raw_rows
from studio.errors import DatasetError, StoppedError
from studio.model.templates import Template, choose_template
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.workspace import Workspace

VIEW = View()


@dataclass
class Bench:
    """One workspace with an open tokenizer and template."""

    place: Workspace
    tokenizer: LightTokenizer
    template: Template

    def prepare(self, *names: str, view: View = VIEW, **how: Any) -> tuple[Rows, Report]:
        catalog = read_catalog(self.place)
        entries = [catalog[name] for name in names]
        return prepare(entries, self.tokenizer, self.template, view, self.place, **how)

    def write(self, rows: list[Any], name: str = "tiny_sft.json") -> None:
        (self.place.data / name).write_text(json.dumps(rows), encoding="utf-8")

    @property
    def kept(self) -> list[Path]:
        return sorted((self.place.cache / "rows").glob("*"))


@pytest.fixture
def bench(workspace: Workspace) -> Bench:
    tokenizer = open_tokenizer(workspace.models / "tiny-chat", workspace.cache)
    return Bench(workspace, tokenizer, choose_template("", tokenizer, workspace)[0])


def a_row(prompt: str = "What is it?", answer: str = "A bridge.") -> dict[str, str]:
    return {"instruction": prompt, "input": "", "output": answer}


def test_the_rows_are_those_that_render_gives(bench: Bench):
    rows, report = bench.prepare("tiny_sft", "tiny_share")
    catalog = read_catalog(bench.place)
    expected = []
    for index, name in enumerate(("tiny_sft", "tiny_share")):
        for number, raw in raw_rows(catalog[name].files()[0]):
            (done,) = render([to_example(raw, catalog[name])], bench.tokenizer, bench.template, VIEW)
            for one in done:
                row = {"input_ids": one.input_ids, "loss_mask": one.loss_mask, "truncated": one.truncated}
                expected.append(row | {"dataset": index, "row": number, "mark": 0, "source": ""})
    assert list(rows) == expected
    assert rows.lengths.tolist() == [len(row["input_ids"]) for row in expected]
    assert report.kept == len(rows) == 60
    assert report.tokens == rows.lengths.sum()
    assert report.lengths.max == rows.lengths.max()
    assert report.label_tokens == sum(sum(row["loss_mask"]) for row in expected)


def test_the_report_says_what_became_of_each_dataset(bench: Bench):
    _, report = bench.prepare("tiny_sft", "tiny_pt", view=View(cutoff_len=30, wants="documents"))
    said = report.sentences()
    assert said[0].startswith("tiny_sft: 40 rows, ")
    assert "0 refused" in said[0]
    assert said[1].startswith("tiny_pt: 60 rows, 60 kept")


def test_the_second_time_the_kept_rows_are_used(bench: Bench):
    first, made = bench.prepare("tiny_sft")
    again, kept = bench.prepare("tiny_sft")
    assert (made.cached, kept.cached) == (False, True)
    assert list(again) == list(first)
    assert kept.as_json() == made.as_json()
    assert len(bench.kept) == 1


def test_asked_for_the_rows_are_made_again(bench: Bench):
    bench.prepare("tiny_sft")
    assert not bench.prepare("tiny_sft", overwrite_cache=True)[1].cached
    assert len(bench.kept) == 1


def test_other_content_view_template_or_amount_makes_other_rows(bench: Bench):
    bench.prepare("tiny_sft")
    assert not bench.prepare("tiny_sft", view=View(cutoff_len=64))[1].cached
    assert not bench.prepare("tiny_sft", max_samples=3)[1].cached
    bench.template, _ = choose_template("default", bench.tokenizer, bench.place)
    assert not bench.prepare("tiny_sft")[1].cached
    bench.write([a_row()])
    rows, report = bench.prepare("tiny_sft")
    assert not report.cached
    assert len(rows) == 1


@pytest.mark.parametrize("name", ["rows.arrow", "report.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["cut", "missing"])
def test_a_torn_result_is_never_used(bench: Bench, name: str, harm: str):
    whole = list(bench.prepare("tiny_sft")[0])
    path = bench.kept[0] / name
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        path.unlink()
    rows, report = bench.prepare("tiny_sft")
    assert not report.cached
    assert list(rows) == whole


def test_the_first_rows_of_each_dataset_are_taken(bench: Bench):
    rows, report = bench.prepare("tiny_sft", "tiny_share", max_samples=3)
    assert [(row["dataset"], row["row"]) for row in rows] == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    assert report.rows == 6


def test_rows_can_be_chosen_in_any_order(bench: Bench):
    rows, _ = bench.prepare("tiny_sft")
    some = rows.select([7, 2])
    assert list(some) == [rows[7], rows[2]]
    assert some.lengths.tolist() == [rows.lengths[7], rows.lengths[2]]


def test_rows_of_many_chunks_keep_their_order_and_number(bench: Bench):
    bench.write([a_row(f"Question {number}?", str(number)) for number in range(2500)])
    told: list[tuple[str, int, int | None]] = []
    rows, _ = bench.prepare("tiny_sft", progress=lambda *what: told.append(what))
    assert [row["row"] for row in rows] == list(range(1, 2501))
    assert told == [("tokenising tiny_sft", done, None) for done in (1000, 2000, 2500)]


def test_the_number_of_workers_changes_nothing(bench: Bench):
    alone = list(bench.prepare("tiny_sft", workers=1)[0])
    assert list(bench.prepare("tiny_sft", workers=64, overwrite_cache=True)[0]) == alone


def test_a_refused_row_stops_by_default_and_is_shown(bench: Bench):
    bench.write([a_row(), {"instruction": "q", "input": ""}, a_row()])
    with pytest.raises(DatasetError) as caught:
        bench.prepare("tiny_sft")
    text = str(caught.value)
    assert "refused: 1 of 3" in text
    assert "tiny_sft: data/tiny_sft.json, row 2: " in text
    assert "skip_bad_rows" in text


def test_refused_rows_are_left_out_up_to_the_cap_and_listed(bench: Bench):
    bench.write([a_row(), {"instruction": "q", "input": ""}, a_row()])
    rows, report = bench.prepare("tiny_sft", skip_bad_rows=True, max_bad_rows=1)
    assert [row["row"] for row in rows] == [1, 3]
    assert (report.total.refused, report.refused[0].row) == (1, 2)
    with pytest.raises(DatasetError, match=r"max_bad_rows 0\.3 allows 0 refused rows of 3; refused: 1"):
        bench.prepare("tiny_sft", skip_bad_rows=True, max_bad_rows=0.3)


def test_rows_without_a_target_left_are_counted_and_left_out(bench: Bench):
    bench.write([a_row(), a_row("word " * 40)])
    rows, report = bench.prepare("tiny_sft", view=View(cutoff_len=40))
    assert [row["row"] for row in rows] == [1]
    assert report.fully_masked == 1
    assert "1 left out because no target token is within cutoff_len" in report.sentences()[0]


def test_when_no_row_has_a_target_the_reason_is_said_with_counts(bench: Bench):
    with pytest.raises(DatasetError, match="0 of 40 rows of tiny_sft have target tokens at cutoff_len 4"):
        bench.prepare("tiny_sft", view=View(cutoff_len=4))


def test_texts_are_refused_once_where_conversations_are_needed(bench: Bench):
    with pytest.raises(DatasetError, match=r"dataset 'tiny_pt' in .*holds plain texts. Use --stage pt") as caught:
        bench.prepare("tiny_sft", "tiny_pt")
    assert "row 1" not in str(caught.value)


def test_a_signal_ends_the_work_and_leaves_no_half_result(bench: Bench):
    bench.write([a_row(f"Question {number}?") for number in range(3000)])

    def stop(number: int, frame: object) -> None:
        raise StoppedError("stopped on request")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(StoppedError):
            bench.prepare("tiny_sft", progress=lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert bench.kept == []


def test_a_result_that_another_process_made_meanwhile_is_taken(bench: Bench):
    bench.prepare("tiny_sft")
    (theirs,) = bench.kept
    aside = theirs.rename(bench.place.root / "aside")
    rows, report = bench.prepare("tiny_sft", progress=lambda *_: aside.rename(theirs))
    assert (report.cached, len(rows), bench.kept) == (True, 40, [theirs])


def test_a_file_that_changes_while_it_is_read_is_refused_and_not_kept(bench: Bench):
    with pytest.raises(DatasetError, match="must not change while it is read"):
        bench.prepare("tiny_sft", progress=lambda *_: bench.write([a_row()]))
    assert bench.kept == []


def test_a_broken_file_is_told_with_its_place_and_nothing_is_kept(bench: Bench):
    (bench.place.data / "tiny_sft.json").write_text('[{"instruction": "a", "output": "b"}, nonsense]')
    with pytest.raises(DatasetError, match="line 1"):
        bench.prepare("tiny_sft")


def several(bench: Bench, **keys: Any) -> None:
    """Register `parts`: three files of two, one and two rows."""
    for name, count in (("a", 2), ("b", 1), ("c", 2)):
        bench.write([a_row(f"{name} {number}?") for number in range(count)], f"part-{name}.json")
    info = bench.place.dataset_info
    entries = json.loads(info.read_text()) | {"parts": {"file_name": "part-*.json", **keys}}
    info.write_text(json.dumps(entries))


def test_a_dataset_of_several_files_is_numbered_through(bench: Bench):
    several(bench)
    rows, report = bench.prepare("parts")
    assert [row["row"] for row in rows] == [1, 2, 3, 4, 5]
    assert list(report.hashes) == [f"data/part-{name}.json" for name in "abc"]
    assert report.datasets["parts"].rows == 5


def test_a_refused_row_is_told_by_its_file_and_its_row_there(bench: Bench):
    several(bench)
    bench.write([a_row(), {"instruction": "q", "input": ""}], "part-c.json")
    with pytest.raises(DatasetError, match=r"parts: data/part-c\.json, row 2: "):
        bench.prepare("parts")


def test_a_file_more_or_one_that_changed_makes_other_rows(bench: Bench):
    several(bench)
    bench.prepare("parts")
    assert bench.prepare("parts")[1].cached
    bench.write([a_row()], "part-d.json")
    rows, report = bench.prepare("parts")
    assert (len(rows), report.cached) == (6, False)
    bench.write([a_row("other?")], "part-b.json")
    assert not bench.prepare("parts")[1].cached


def test_where_the_files_lie_in_the_entry_does_not_matter(bench: Bench):
    several(bench)
    bench.prepare("parts")
    several(bench, file_name=[f"part-{name}.json" for name in "abc"])
    assert bench.prepare("parts")[1].cached


def test_a_number_of_samples_is_drawn_exactly_and_repeated_where_rows_lack(bench: Bench):
    several(bench, num_samples=3)
    rows, report = bench.prepare("parts")
    assert (len(rows), report.rows, len({row["row"] for row in rows})) == (3, 3, 3)
    several(bench, num_samples=12)
    rows, report = bench.prepare("parts")
    assert (len(rows), report.rows, {row["row"] for row in rows}) == (12, 12, {1, 2, 3, 4, 5})


def test_a_dataset_in_another_encoding_is_rendered_as_its_text(bench: Bench):
    plain = bench.prepare("tiny_sft")[0]
    text = (bench.place.data / "tiny_sft.json").read_text(encoding="utf-8")
    (bench.place.data / "tiny_gb.json").write_bytes(text.encode("gb18030"))
    info = bench.place.dataset_info
    entry = {"file_name": "tiny_gb.json", "encoding": "gb18030"}
    info.write_text(json.dumps(json.loads(info.read_text()) | {"tiny_gb": entry}))
    assert list(bench.prepare("tiny_gb")[0]) == list(plain)


def test_tokens_for_what_the_tokenizer_does_not_know_are_counted(bench: Bench):
    folder = bench.place.models / "tiny-chat"
    # A character that stands for a byte is taken out of the vocabulary, and an unknown token put in.
    saved = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    saved["model"]["unk_token"] = "<unk>"
    saved["model"]["vocab"]["<unk>"] = saved["model"]["vocab"].pop("X")
    (folder / "tokenizer.json").write_text(json.dumps(saved), encoding="utf-8")
    tokenizer = open_tokenizer(folder, bench.place.cache)
    bench = Bench(bench.place, tokenizer, bench.template)
    bench.write([a_row("X", "XX!"), a_row("What is it", "A bridge.")])
    rows, report = bench.prepare("tiny_sft")
    assert report.total.unknown == sum(row["input_ids"].count(tokenizer.unknown_id) for row in rows) == 3
    assert any("3 of " in said and "are the unknown token" in said for said in report.sentences())
