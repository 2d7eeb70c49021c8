"""Answers that a run was rewarded for, a page at a time, and the scores of a reward model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from studio.web import rollouts
from studio.web.rollouts import Rollouts, read_scores
from studio.web.site import Site
from tests.unit.web.jobs_page import api, site, write_run

__all__ = ["api", "site"]

ID = "outside:saves/m/lora/ppo"


def sample(step: int, reward: Any, answer: str = "yes", **more: Any) -> str:
    asked = [{"role": "user", "content": f"question of step {step}"}]
    row = {"step": step, "messages": asked, "answer": answer, "reward": reward, "kl": 0.5, "tokens": 3}
    return json.dumps(row | more) + "\n"


@pytest.fixture
def folder(site: Site) -> Path:
    return write_run(site.workspace.saves / "m/lora/ppo")


def page(api: TestClient, **asked: Any) -> dict[str, Any]:
    return dict(api.get(f"/jobs/{ID}/rollouts", params=asked).json())


def rewards(told: dict[str, Any]) -> list[float]:
    return [row["reward"] for row in told["rows"]]


def test_answers_come_by_pages_in_the_order_that_is_asked_for(api: TestClient, folder: Path) -> None:
    assert page(api) == {"total": 0, "step": None, "steps": None, "spread": None, "rows": []}
    values = [0.5, 3.0, -1.0, 2.0, None]
    (folder / "rollouts.jsonl").write_text("".join(sample(n // 2 + 1, value) for n, value in enumerate(values)))
    told = page(api, order="highest", count=2)
    assert (rewards(told), told["total"], told["steps"]) == ([3.0, 2.0], 5, {"first": 1, "last": 3})
    assert told["spread"] == {"lowest": -1.0, "mean": 1.125, "highest": 3.0}
    assert rewards(page(api, order="highest", start=2)) == [0.5, -1.0, None], "one without a reward is the last"
    assert rewards(page(api, order="lowest", count=2)) == [-1.0, 0.5]
    assert rewards(page(api, order="newest", count=2)) == [None, 2.0]
    assert rewards(page(api, order="oldest", count=2)) == [0.5, 3.0]
    assert api.get(f"/jobs/{ID}/rollouts", params={"count": 51}).status_code == 422
    assert api.get(f"/jobs/{ID}/rollouts", params={"order": "odd"}).status_code == 422


def test_the_step_that_has_answers_is_the_nearest_to_the_one_asked_for(api: TestClient, folder: Path) -> None:
    (folder / "rollouts.jsonl").write_text("".join(sample(step, step / 10) for step in (10, 20, 20, 30)))
    told = page(api, step=22)
    assert (told["step"], told["total"], rewards(told)) == (20, 2, [2.0, 2.0])
    assert page(api, step=-5)["step"] == 10


def test_what_was_read_is_read_again_only_where_a_resumed_run_wrote_it_anew(tmp_path: Path) -> None:
    path, rollouts = tmp_path / "rollouts.jsonl", Rollouts()

    def told() -> list[tuple[int, float]]:
        found = rollouts.page(path, step=None, order="oldest", start=0, count=50)
        return [(row["step"], row["reward"]) for row in found["rows"]]

    path.write_text(sample(1, 1) + sample(2, 2))
    assert told() == [(1, 1), (2, 2)]
    with path.open("a") as out:
        out.write(sample(3, 3) + "not JSON\n" + '{"step": 4, "rew')
    assert told() == [(1, 1), (2, 2), (3, 3)]
    # Cut back to step 1 and gone on, so that the file is longer than it was, and another.
    path.write_text(sample(1, 1) + "".join(sample(step, -step) for step in (2, 3, 4, 5)))
    assert told() == [(1, 1), (2, -2), (3, -3), (4, -4), (5, -5)]
    path.unlink()
    assert told() == []


def test_texts_are_folded_hidden_marks_are_written_out_and_one_is_told_whole(api: TestClient, folder: Path) -> None:
    (folder / "rollouts.jsonl").write_text(
        sample(1, 1, "x" * 3000 + "\u202e<script>", messages=["odd", {"content": 7}])
    )
    (row,) = page(api)["rows"]
    assert (row["answer"]["length"], row["answer"]["folded"], len(row["answer"]["text"])) == (3009, True, 2000)
    assert [(each["role"], each["text"]) for each in row["messages"]] == [("", "7")]
    whole = api.get(f"/jobs/{ID}/rollouts/{row['number']}").json()
    assert whole["answer"]["text"].endswith("x\\u202e<script>")
    assert not whole["answer"]["folded"]
    assert api.get(f"/jobs/{ID}/rollouts/9").status_code == 404


def test_a_file_that_is_a_link_belongs_to_somebody_else(api: TestClient, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text(sample(1, 1))
    (folder / "rollouts.jsonl").symlink_to(tmp_path / "other.jsonl")
    (tmp_path / "other.json").write_text(json.dumps({"splits": {"eval": SPLIT}}))
    (folder / "scores.json").symlink_to(tmp_path / "other.json")
    assert page(api)["total"] == 0
    assert api.get(f"/jobs/{ID}/scores").json() == {"splits": {}}


def test_a_run_that_is_called_like_a_route_is_found(api: TestClient, site: Site) -> None:
    for name in ("rollouts", "scores"):
        write_run(site.workspace.saves / "m" / name)
        assert api.get(f"/jobs/outside:saves/m/{name}").json()["output"] == f"saves/m/{name}"
    assert api.get("/jobs/77/rollouts").status_code == 404


SPLIT = {"pairs": 8, "accuracy": 0.75, "interval": [0.4, 0.9], "margin": 0.2, "edges": [-1, 0, 1],
         "chosen": [2, 6], "rejected": [6, 2]}  # fmt: skip


def test_scores_that_can_be_drawn_are_told_and_others_left_out(api: TestClient, folder: Path) -> None:
    broken = [{**SPLIT, "edges": [0, 1]}, {**SPLIT, "chosen": None}, {**SPLIT, "accuracy": "high"}, 7]
    splits = {"eval": SPLIT} | {f"broken{n}": each for n, each in enumerate(broken)}
    (folder / "scores.json").write_text(json.dumps({"splits": splits}))
    assert api.get(f"/jobs/{ID}/scores").json() == {"splits": {"eval": SPLIT}}
    (folder / "scores.json").write_text("[]")
    assert read_scores(folder / "scores.json") == {}


@pytest.mark.parametrize("worth", ["1" + "0" * 400, "-1" + "0" * 400, "1e999", "NaN", '"7"', "[]", "1e308"])
def test_a_number_that_json_cannot_say_hides_no_answer(api: TestClient, folder: Path, worth: str) -> None:
    line = '{"step": 1, "reward": %s, "kl": %s, "tokens": %s, "answer": "yes"}\n' % ((worth,) * 3)
    (folder / "rollouts.jsonl").write_text(line * 3 + sample(1, 2.0))
    told = page(api, order="lowest")
    assert told["total"] == 4 and {row["answer"]["text"] for row in told["rows"]} == {"yes"}


def test_a_line_without_an_end_is_not_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "_LONGEST_LINE", 200)
    path, kept = tmp_path / "rollouts.jsonl", Rollouts()
    path.write_text(sample(1, 1) + sample(2, 2, "x" * 1000) + sample(3, 3) + '{"step": 4')
    told = kept.page(path, step=None, order="oldest", start=0, count=50)
    assert [row["step"] for row in told["rows"]] == [1, 3]


def test_a_role_is_a_word(api: TestClient, folder: Path) -> None:
    (folder / "rollouts.jsonl").write_text(sample(1, 1, messages=[{"role": "x" * 5000, "content": "?"}]))
    assert len(page(api)["rows"][0]["messages"][0]["role"]) == 80


def test_nothing_waits_at_a_pipe_that_is_called_like_a_file_of_a_run(api: TestClient, folder: Path) -> None:
    for name in ("rollouts.jsonl", "scores.json"):
        os.mkfifo(folder / name)
    assert page(api)["total"] == 0
    assert api.get(f"/jobs/{ID}/scores").json() == {"splits": {}}


def test_of_scores_only_what_is_known_and_finite_is_told(api: TestClient, folder: Path) -> None:
    odd = {**SPLIT, "evil": "\ud800", "margin": "M"}
    text = json.dumps({"splits": {"\ud800": odd, "far": {**SPLIT, "edges": "E"}}})
    (folder / "scores.json").write_text(text.replace('"M"', "1e999").replace('"E"', "[0, 1, 1e999]"))
    splits = api.get(f"/jobs/{ID}/scores").json()["splits"]
    assert splits == {"\\ud800": {name: value for name, value in SPLIT.items() if name != "margin"}}
