"""`studio eval harness`: what is said without lm-eval, and numbers of a task of one's own with it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from studio.workspace import Workspace
from tests.conftest import json_lines

TASK = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {path}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{q}}}}"
doc_to_choice: "{{{{o}}}}"
doc_to_target: a
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
ASKED = """task: asked
tag: asked_sums
dataset_path: json
dataset_kwargs:
  data_files:
    test: {path}
output_type: generate_until
test_split: test
doc_to_text: "{{{{q}}}}"
doc_to_target: "{{{{o[0]}}}}"
generation_kwargs:
  max_gen_toks: 4
  until: ["."]
filter_list:
  - name: first
    filter: [{{function: regex, regex_pattern: "([0-9]+)"}}, {{function: take_first}}]
  - name: last
    filter: [{{function: regex, group_select: -1, regex_pattern: "([0-9]+)"}}, {{function: take_first}}]
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""
RUNS = """task: runs_programs
unsafe_code: true
dataset_path: json
dataset_kwargs:
  data_files:
    test: {path}
output_type: generate_until
test_split: test
doc_to_text: "{{{{q}}}}"
doc_to_target: "{{{{o[0]}}}}"
metric_list:
  - metric: !function runs.score
"""
GROUP = """group: all_sums
task: [small_sums, large_sums]
aggregate_metric_list:
  - metric: acc
    weight_by_size: true
"""
HERE = importlib.util.find_spec("lm_eval") is not None


def test_programs_are_run_only_where_that_is_asked_for(place: Workspace, command: Any):
    words = ["--model_name_or_path", "models/tiny", "--tasks", "humaneval"]
    done = command(place, "eval", "harness", *words)
    assert done.code == 10 and "runs programs that the model writes. Set --allow_code_execution True" in done.err
    nothing = command(place, "eval", "harness", "--model_name_or_path", "models/tiny")
    assert nothing.code == 10 and "--tasks must name benchmarks, such as mmlu, ceval" in nothing.err


@pytest.mark.skipif(HERE, reason="lm-eval is installed")
def test_without_lm_eval_there_is_a_sentence(place: Workspace, command: Any):
    done = command(place, "eval", "harness", "--model_name_or_path", "models/tiny", "--tasks", "gsm8k")
    assert done.code == 10
    assert 'pip install "studio[harness]"' in done.err and "studio eval choice needs nothing more" in done.err


@pytest.fixture(scope="module")
def tasks(place: Workspace) -> Path:
    """Two tasks of one's own with a group that sums them up, a tag, one that runs programs, and one without data."""
    folder = place.root / "tasks"
    folder.mkdir()
    for name, beyond in (("small_sums", 1), ("large_sums", 10)):
        rows = [{"q": f"{at} plus {beyond} is", "o": [str(at + beyond), str(at + 2)], "a": 0} for at in range(8)]
        (folder / f"{name}.jsonl").write_text(json_lines(rows))
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, path=folder / f"{name}.jsonl"))
    (folder / "asked.yaml").write_text(ASKED.format(path=folder / "small_sums.jsonl"))
    (folder / "lost.yaml").write_text(TASK.format(name="lost_sums", path=folder / "nothing.jsonl"))
    (folder / "runs.py").write_text(f"open({str(place.root / 'it-ran')!r}, 'w').close()\ndef score(*_): return 1\n")
    (folder / "runs.yaml").write_text(RUNS.format(path=folder / "small_sums.jsonl"))
    (folder / "all.yaml").write_text(GROUP)
    (folder / "some.yaml").write_text("group: some_of_them\ntask:\n  - small_sums\n  - runs_programs\n")
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not HERE, reason="lm-eval is an optional extra")
def test_tasks_of_ones_own_are_measured_beside_the_base(place: Workspace, tasks: Path, command: Any):
    words = ["--model_name_or_path", "models/tiny", "--baseline_model", "models/tiny-chat", "--include_path", "tasks"]
    done = command(place, "eval", "harness", *words, "--tasks", "all_sums,asked_sums", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out.splitlines()[-1])
    apart = found["differences"]["models/tiny"]["all"]
    for result in found["results"]:
        own, both = result["groups"]["small_sums"]["acc"], result["measures"]["all_sums acc"]
        assert own["count"] == 8 and both["count"] == 16
        assert both["value"] == (own["value"] + result["groups"]["large_sums"]["acc"]["value"]) / 2
        assert own["low"] < own["value"] < own["high"] or own["value"] in (0, 1)
        # A tag has no numbers but those of its tasks; an answer is looked at in two ways.
        assert {"asked exact_match_first", "asked exact_match_last"} <= set(result["measures"])
        assert result["measures"]["asked exact_match_first"]["high"] > 0.2
    # Both have the same weights.
    assert {name: each["value"] for name, each in apart.items()} == dict.fromkeys(found["results"][0]["measures"], 0)


@pytest.mark.slow
@pytest.mark.skipif(not HERE, reason="lm-eval is an optional extra")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no_such_task", "lm-eval has no such task"),
        ("lost_sums", "nothing.jsonl"),
        ("all_sums,small_sums", "Duplicate task 'small_sums'"),
        ("some_of_them", "--tasks some_of_them: runs programs that the model writes. Set --allow_code_execution True"),
        ("mbpp", "--tasks mbpp: runs programs that the model writes. Set --allow_code_execution True"),
    ],
)
def test_a_task_that_cannot_be_measured_is_told_before_a_model_is_loaded(
    place: Workspace, tasks: Path, command: Any, name: str, sentence: str
):
    empty = place.models / "no-weights"
    shutil.copytree(place.models / "tiny", empty, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
    words = ["--model_name_or_path", "models/no-weights", "--include_path", "tasks", "--tasks", name]
    done = command(place, "eval", "harness", *words)
    assert done.code != 0 and sentence in done.err, done.err
    assert not (place.root / "it-ran").exists()


@pytest.mark.slow
@pytest.mark.skipif(not HERE, reason="lm-eval is an optional extra")
@pytest.mark.parametrize(
    ("text", "name"),
    [("task: broken\nmetric_list: [", "broken"), ("group: around\ntask: [around]\n", "around")],
)
def test_broken_files_of_tasks_are_told_in_a_sentence(place: Workspace, command: Any, text: str, name: str):
    folder = place.root / f"tasks-{name}"
    folder.mkdir()
    (folder / f"{name}.yaml").write_text(text)
    words = ["--model_name_or_path", "models/tiny", "--include_path", folder.name, "--tasks", name]
    done = command(place, "eval", "harness", *words)
    assert done.code != 0 and name in done.err
    assert "Traceback" not in done.err, done.err
