"""The numbers of a dataset agree with what training counts, and name what is refused and what is cut."""

import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.data.catalog import read_catalog
from studio.data.histogram import bars, summary
from studio.data.render import View
from studio.data.rows import prepare
from studio.data.statistics import Question, as_text, kept_statistics, statistics
from studio.model.templates import choose_template
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.workspace import Workspace


@pytest.fixture
def tokenizer(tiny_chat_model: Path, tmp_path: Path) -> LightTokenizer:
    return open_tokenizer(tiny_chat_model, tmp_path / "cache")


def question(workspace: Workspace, name: str, tokenizer: LightTokenizer | None, **view: Any) -> Question:
    entry = read_catalog(workspace)[name]
    template = choose_template("", tokenizer, workspace)[0] if tokenizer else None
    return Question(entry, View(**view), tokenizer, template)


def write(workspace: Workspace, rows: list[dict[str, Any]], **keys: Any) -> None:
    (workspace.data / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    workspace.dataset_info.write_text(json.dumps({"mine": {"file_name": "mine.jsonl", **keys}}))


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("tiny_sft", {"cutoff_len": 2048}),
        ("tiny_sft", {"cutoff_len": 24}),
        ("tiny_share", {"cutoff_len": 40}),
        ("tiny_share", {"cutoff_len": 85, "mask_history": True}),
        ("tiny_sft", {"cutoff_len": 20, "train_on_prompt": True}),
        ("tiny_pt", {"cutoff_len": 8, "wants": "documents"}),
    ],
)
def test_the_numbers_are_those_of_training(
    workspace: Workspace, tokenizer: LightTokenizer, name: str, view: dict[str, Any]
) -> None:
    asked = question(workspace, name, tokenizer, **view)
    _, report = prepare([asked.entry], tokenizer, asked.template, asked.view, workspace)
    found = statistics(asked, workspace)
    tokens = found["tokens"]
    assert (found["rows"], found["refused"]) == (report.rows, 0)
    assert tokens["kept"] == report.kept
    assert tokens["learned"] == report.label_tokens
    assert tokens["tokens"] == report.tokens
    assert tokens["without_target"] == report.fully_masked
    # A row without a target is cut too, and training counts only those it keeps.
    assert tokens["truncated"] - report.truncated in range(report.fully_masked + 1)


def test_cut_answers_are_told_apart_from_cut_rows(workspace: Workspace, tokenizer: LightTokenizer) -> None:
    asked = question(workspace, "tiny_sft", tokenizer, cutoff_len=4096)
    whole = statistics(asked, workspace)["tokens"]
    assert whole["answer_cut"] == whole["truncated"] == whole["learned_cut"] == 0
    cut = statistics(question(workspace, "tiny_sft", tokenizer, cutoff_len=whole["p50"]), workspace)["tokens"]
    assert 0 < cut["answer_cut"] <= cut["truncated"] < 40
    assert cut["learned"] + cut["learned_cut"] >= whole["learned"] - 40
    assert cut["cut_rows"][0] >= 1
    assert cut["longest"] == whole["longest"]


def test_refused_rows_come_with_row_place_and_reason(workspace: Workspace) -> None:
    rows = [{"instruction": f"q{n}", "output": "a"} for n in range(5)]
    write(workspace, [*rows, {"instruction": "no answer"}, *rows, {"instruction": 7, "output": "a"}])
    found = statistics(question(workspace, "mine", None), workspace)
    assert (found["rows"], found["refused"]) == (12, 2)
    assert [(each["row"], each["row_in_file"]) for each in found["refused_rows"]] == [(6, 6), (12, 12)]
    assert found["refused_rows"][0]["file"] == "data/mine.jsonl"
    assert sum(each["count"] for each in found["reasons"]) == 2
    assert found["tokens"] is None
    assert "2 refused" in as_text(found)


def test_pairs_and_labels_are_counted(workspace: Workspace, tokenizer: LightTokenizer) -> None:
    pairs = [{"prompt": "q", "chosen": "yes", "rejected": "no"}, {"prompt": "q", "chosen": "a", "rejected": "a"}]
    columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    write(workspace, pairs, ranking=True, columns=columns)
    found = statistics(question(workspace, "mine", tokenizer), workspace)
    assert (found["kind"], found["equal_sides"], found["tokens"]["rows"]) == ("pairs", 1, 4)
    rows = [{"instruction": "q", "output": "a", "kto_tag": tag} for tag in (True, True, False)]
    write(workspace, rows, columns={"prompt": "instruction", "response": "output", "kto_tag": "kto_tag"})
    found = statistics(question(workspace, "mine", tokenizer), workspace)
    assert found["labels"] == {"wanted": 2, "not_wanted": 1}


def test_turns_are_counted_without_the_system_message(workspace: Workspace) -> None:
    found = statistics(question(workspace, "tiny_share", None), workspace)
    assert found["turns"] == [{"turns": 4, "count": 20}]
    assert found["with_system"] == 10


def test_a_result_is_kept_until_content_or_question_change(workspace: Workspace, tokenizer: LightTokenizer) -> None:
    asked = question(workspace, "tiny_sft", tokenizer)
    assert kept_statistics(asked, workspace) is None
    assert not statistics(asked, workspace)["cached"]
    kept = kept_statistics(asked, workspace)
    assert kept is not None and kept["cached"] and kept["rows"] == 40
    assert kept_statistics(question(workspace, "tiny_sft", tokenizer, cutoff_len=9), workspace) is None
    assert kept_statistics(question(workspace, "tiny_sft", None), workspace) is None
    path = workspace.data / "tiny_sft.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(rows[:-1]))
    assert kept_statistics(asked, workspace) is None
    assert statistics(asked, workspace)["rows"] == 39


def test_progress_goes_up_to_all_rows(workspace: Workspace) -> None:
    heard: list[tuple[int, int | None]] = []
    statistics(question(workspace, "tiny_pt", None), workspace, lambda _, done, total: heard.append((done, total)))
    assert heard[-1] == (60, 60)


def test_memory_does_not_grow_with_the_file(workspace: Workspace) -> None:
    peaks = []
    for count in (3_000, 12_000):
        write(workspace, [{"instruction": f"{n} " * 300, "output": "It is so."} for n in range(count)])
        tracemalloc.start()
        statistics(question(workspace, "mine", None), workspace)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


@given(st.dictionaries(st.integers(1, 5000), st.integers(1, 50), max_size=60), st.integers(4, 10_000))
def test_the_bars_hold_every_row_once(counted: dict[int, int], cutoff: int) -> None:
    found = bars(counted, cutoff)
    assert sum(bar["count"] for bar in found["bars"]) + found["beyond"] == sum(counted.values())
    assert len(found["bars"]) <= 41
    for bar in found["bars"]:
        inside = sum(count for length, count in counted.items() if bar["from"] <= length <= bar["to"])
        assert bar["count"] == inside


@given(st.dictionaries(st.integers(1, 500), st.integers(1, 5), min_size=1, max_size=40))
def test_the_summary_is_that_of_the_list(counted: dict[int, int]) -> None:
    each = sorted(Counter(counted).elements())
    found = summary(counted)
    assert (found["shortest"], found["longest"]) == (each[0], each[-1])
    assert found["p50"] == each[(len(each) - 1) // 2]
    assert found["p95"] == each[round((len(each) - 1) * 0.95)]
