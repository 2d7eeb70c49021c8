"""What came since a page last asked: points of the curve, lines of the log."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from studio.jobs.store import folder_of
from studio.web import news as news_of_files
from studio.web.site import Site
from tests.unit.web.jobs_page import api, site, submit, write_points, write_run

__all__ = ["api", "site"]


def news(api: TestClient, id: object, points: str = "", log: object = "") -> dict[str, Any]:
    return dict(api.get(f"/jobs/{id}/news", params={"points": points, "log": str(log)}).json())


def test_points_come_once_and_from_the_start_when_the_file_is_another(api: TestClient, site: Site) -> None:
    folder = write_run(site.workspace.saves / "m/lora/out")
    id = "outside:saves/m/lora/out"
    assert news(api, id)["points"] == {"reset": False, "cursor": "", "rows": []}
    write_points(folder, 3)
    first = news(api, id)["points"]
    assert first["reset"] and [row["step"] for row in first["rows"]] == [1, 2, 3]
    again = news(api, id, first["cursor"])["points"]
    assert again == {"reset": False, "cursor": first["cursor"], "rows": []}
    write_points(folder, 2, start=4)
    with (folder / "progress.jsonl").open("a") as out:
        out.write('{"step": 6, "loss": 1')  # still being written
    more = news(api, id, first["cursor"])["points"]
    assert not more["reset"] and [row["step"] for row in more["rows"]] == [4, 5]
    lines = (folder / "progress.jsonl").read_text().splitlines(keepends=True)[:2]
    (folder / "new").write_text("".join(lines))
    (folder / "new").replace(folder / "progress.jsonl")
    reset = news(api, id, more["cursor"])["points"]
    assert reset["reset"] and [row["step"] for row in reset["rows"]] == [1, 2]


def test_a_long_curve_without_a_loss_is_thinned_by_its_reward_and_keeps_every_alarm() -> None:
    rows = [{"step": step, "loss": None, "reward": step % 7} for step in range(10_000)]
    rows[4321]["reward"], rows[5000]["alarm"] = 99, "kl_blowup"
    kept = {row["step"] for row in news_of_files.thin(rows, 200)}
    assert {0, 4321, 5000, 9999} <= kept
    assert 150 < len(kept) <= 200


def test_a_long_curve_is_thinned_without_losing_its_peaks(api: TestClient, site: Site) -> None:
    folder = write_run(site.workspace.saves / "long")
    write_points(folder, 4999)
    with (folder / "progress.jsonl").open("a") as out:
        out.write(
            '{"step": 5000, "loss": 99}\n{"step": 5001, "loss": "nan"}\n{"step": 5001, "loss": null, "eval_loss": 1}\n'
        )
    write_points(folder, 5000, start=5002)
    rows = news(api, "outside:saves/long")["points"]["rows"]
    assert len(rows) <= 2000
    steps_told = [row["step"] for row in rows]
    assert steps_told == sorted(steps_told) and steps_told[0] == 1 and steps_told[-1] == 10_001
    assert any(row["loss"] == 99 for row in rows) and any("eval_loss" in row for row in rows)


def test_a_log_comes_by_lines_without_colours_and_bars(api: TestClient, site: Site) -> None:
    id = submit(site)
    path = folder_of(site.workspace, id) / "log.txt"
    path.write_bytes(b"\x1b[31mred\x1b[0m\n  1%|\r 50%|\r100%| done\nhalf")
    first = news(api, id)["log"]
    assert first["reset"] and first["text"] == "red\n100%| done\n"
    with path.open("ab") as out:
        out.write(b" a line\n\xff and \x07\n")
    more = news(api, id, log=first["next"])["log"]
    assert not more["reset"] and more["text"] == "half a line\n\ufffd and \n"
    path.write_bytes(b"new\n")
    assert news(api, id, log=more["next"])["log"] == {"reset": True, "next": 4, "text": "new\n"}


def test_a_first_look_at_a_long_log_begins_at_a_line_near_its_end(api: TestClient, site: Site) -> None:
    id = submit(site)
    path = folder_of(site.workspace, id) / "log.txt"
    path.write_text("".join(f"line {number}\n" for number in range(20_000)))
    text = news(api, id)["log"]["text"]
    assert len(text) <= 64 * 1024 and text.startswith("line ") and text.endswith("line 19999\n")


def test_a_very_long_line_is_cut_with_a_note(api: TestClient, site: Site) -> None:
    id = submit(site)
    path = folder_of(site.workspace, id) / "log.txt"
    path.write_bytes(b"before\n" + b"x" * 900_000 + b"\nafter\n")
    told = news(api, id, log=0)["log"]
    offset, text = 7, told["text"]
    for _ in range(6):
        told = news(api, id, log=offset)["log"]
        offset, text = told["next"], text + told["text"]
    assert len(text) < 40_000 and "cut here" in text and text.endswith("after\n")


def test_the_whole_log_is_a_file_to_keep(api: TestClient, site: Site) -> None:
    id = submit(site)
    assert api.get(f"/jobs/{id}/log").status_code == 404
    (folder_of(site.workspace, id) / "log.txt").write_text("all of it\n")
    answer = api.get(f"/jobs/{id}/log")
    assert answer.text == "all of it\n" and "attachment" in answer.headers["content-disposition"]


def test_ten_pages_on_a_long_curve_stay_cheap(api: TestClient, site: Site) -> None:
    folder = write_run(site.workspace.saves / "m/lora/busy")
    write_points(folder, 10_000)
    for number in range(200):
        submit(site, str(number))
    id = "outside:saves/m/lora/busy"
    cursor, offset = news(api, id)["points"]["cursor"], news(api, id)["log"]["next"]
    api.get("/jobs")
    began = time.process_time()
    for number in range(20):
        write_points(folder, 1, start=10_001 + number)
        for _ in range(10):
            told = news(api, id, cursor, offset)
        cursor = told["points"]["cursor"]
    # The client itself is the larger part of what is measured here.
    assert time.process_time() - began < 20 * 0.25


def test_many_long_curves_do_not_stay_in_memory(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news_of_files, "_KEPT_ROWS", 250)
    curves = news_of_files.Curves()
    for name in ("a", "b", "c", "d"):
        folder = site.workspace.saves / name
        folder.mkdir()
        write_points(folder, 100)
        assert len(curves.news(folder / "progress.jsonl", "")["rows"]) == 100
    assert [path.parent.name for path in curves._kept] == ["c", "d"]


def test_an_ended_job_that_wrote_one_endless_line_shows_its_end(api: TestClient, site: Site) -> None:
    id = submit(site)
    site.store.wish(id, "stop")
    (folder_of(site.workspace, id) / "log.txt").write_bytes(b"x" * 1_000_000)
    told = news(api, id)["log"]
    assert told["text"].startswith("xxx") and "cut here" in told["text"] and told["next"] == 1_000_000
