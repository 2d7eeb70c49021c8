"""The whole chain of `make demo-chain`, a few steps of each stage on the tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "examples"))


def test_the_interval_of_a_share_is_wilsons():
    from chain import wilson

    # Brown, Cai and DasGupta (2001): for no hit the lower end is 0, the upper z^2 / (n + z^2).
    low, high = wilson(0.0, 20)
    assert low == pytest.approx(0.0, abs=1e-12)
    assert high == pytest.approx(1.96**2 / (20 + 1.96**2))
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)


def test_no_held_out_row_is_learned_from(tmp_path: Path):
    from chain import WHOLE, write_rows

    assert write_rows(tmp_path, *WHOLE) == WHOLE[1][1]
    for name, keys, counts in (("texts", ["text"], WHOLE[0]), ("pairs", ["selected", "rejected"], WHOLE[1])):
        parts = [
            [json.loads(line) for line in (tmp_path / f"{name}_{part}.jsonl").read_text("utf-8").splitlines()]
            for part in ("train", "held_out")
        ]
        assert tuple(map(len, parts)) == counts
        learned, held_out = ({row[key] for row in part for key in keys} for part in parts)
        assert not learned & held_out


@pytest.mark.slow
def test_the_chain_runs_from_pretraining_to_the_last_answer(tiny_chat_model: Path, tmp_path: Path):
    words = [sys.executable, str(TOP / "examples/chain.py"), "--quick", "--model", str(tiny_chat_model)]
    done = subprocess.run(
        [*words, "--folder", str(tmp_path / "chain")], capture_output=True, text=True, check=False, timeout=1500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout.rpartition("stage  measure")[2]
    for stage in ("pt", "sft", "rm", "dpo", "ppo"):
        assert f"\n{stage} " in table
        assert json.loads((tmp_path / "chain" / stage / "run.json").read_text())["finished"]
    answers = table.rpartition("The likeliest")[2]
    for stage in ("sft", "ppo", "dpo"):
        assert f"\n{stage} " in answers
    for name in ("ppo_merged", "dpo_merged"):
        assert (tmp_path / "chain" / name / "model.safetensors").is_file()
