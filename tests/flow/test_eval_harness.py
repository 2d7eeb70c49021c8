"""`studio eval harness`: what is said without lm-eval, and numbers of a task of one's own with it."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from studio.workspace import Workspace

TASK = """task: small_sums
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


@pytest.mark.slow
@pytest.mark.skipif(not HERE, reason="lm-eval is an optional extra")
def test_a_task_of_ones_own_is_measured_beside_the_base(place: Workspace, command: Any):
    rows = [{"q": f"{number} plus 1 is", "o": [str(number + 1), str(number + 2)], "a": 0} for number in range(8)]
    folder = place.root / "tasks"
    folder.mkdir()
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "sums.yaml").write_text(TASK.format(path=folder / "sums.jsonl"))
    words = ["--model_name_or_path", "models/tiny", "--baseline_model", "models/tiny-chat", "--tasks", "small_sums"]
    done = command(place, "eval", "harness", *words, "--include_path", "tasks", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out.splitlines()[-1])
    # Both have the same weights.
    assert found["differences"]["models/tiny"]["all"]["small_sums acc"]["value"] == 0
    for result in found["results"]:
        assert result["groups"]["small_sums"]["acc"]["count"] == 8 and len(result["rows"]) == 8
    unknown = command(place, "eval", "harness", *words[:4], "--tasks", "no_such_task")
    assert unknown.code == 10 and "lm-eval has no such task" in unknown.err
