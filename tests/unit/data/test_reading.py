"""Rows of several files: numbered through, told by file and row, and drawn at random the same way every time."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.data.entry import DatasetEntry, entry_of
from studio.data.reading import chosen_rows, counts, dataset_page, dataset_rows, draw
from studio.errors import DatasetError, RowError


def entry(base: Path, **keys: Any) -> DatasetEntry:
    return entry_of("mine", {"file_name": "part-*.jsonl", **keys}, base / "dataset_info.json", base)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Rows 0 to 6 in three files of three, one and three rows."""
    for name, numbers in (("a", (0, 1, 2)), ("b", (3,)), ("c", (4, 5, 6))):
        lines = "".join(json.dumps({"n": number}) + "\n" for number in numbers)
        (tmp_path / f"part-{name}.jsonl").write_text(lines)
    return tmp_path


def chosen(mine: DatasetEntry, cache: Path, limit: int | None = None) -> list[int]:
    return [placed.number - 1 for placed in chosen_rows(mine, mine.files(), cache, limit)]


def test_rows_are_numbered_through_and_know_their_place(parts: Path) -> None:
    mine = entry(parts)
    read = list(dataset_rows(mine, mine.files()))
    assert [(placed.number, placed.file.name[5], placed.row) for placed in read] == [
        *((1, "a", 1), (2, "a", 2), (3, "a", 3)),
        (4, "b", 1),
        *((5, "c", 1), (6, "c", 2), (7, "c", 3)),
    ]
    assert [placed.value for placed in read] == [{"n": number} for number in range(7)]
    assert counts(mine, mine.files(), parts / "cache") == [3, 1, 3]


@pytest.mark.parametrize("start", range(9))
@pytest.mark.parametrize("size", [1, 3, 20])
def test_a_page_is_that_slice_of_all_rows(parts: Path, start: int, size: int) -> None:
    mine = entry(parts)
    whole = list(dataset_rows(mine, mine.files()))
    assert dataset_page(mine, start, size, parts / "cache") == whole[start : start + size]


def test_a_page_over_large_files_counts_each_once(tmp_path: Path) -> None:
    line = json.dumps({"text": "x" * 1000}) + "\n"
    for name in "ab":
        (tmp_path / f"part-{name}.jsonl").write_text(line * 20_000)
    mine, heard = entry(tmp_path), list[float]()
    found = dataset_page(mine, 39_998, 5, tmp_path / "cache", heard.append)
    assert [(placed.number, placed.row) for placed in found] == [(39_999, 19_999), (40_000, 20_000)]
    again = len(heard)
    dataset_page(mine, 39_998, 5, tmp_path / "cache", heard.append)
    assert again and len(heard) == again


def test_a_bad_row_keeps_its_place_in_its_file(parts: Path) -> None:
    (parts / "part-b.jsonl").write_text('{"n": \n')
    mine = entry(parts)
    (bad,) = [placed for placed in dataset_rows(mine, mine.files()) if isinstance(placed.value, RowError)]
    assert (bad.number, bad.row) == (4, 1) and "part-b.jsonl: row 1" in str(bad.value)


def test_an_encoding_holds_for_every_text_file_of_the_dataset(tmp_path: Path) -> None:
    (tmp_path / "part-a.csv").write_bytes("问,答\n甲,乙\n".encode("gb18030"))
    (tmp_path / "part-b.jsonl").write_bytes('{"问": "丙", "答": "丁"}\n'.encode("gb18030"))
    mine = entry(tmp_path, file_name="part-*", encoding="gb18030")
    assert [placed.value for placed in dataset_rows(mine, mine.files())] == [
        {"问": "甲", "答": "乙"},
        {"问": "丙", "答": "丁"},
    ]


def test_the_first_rows_are_taken_over_files(parts: Path) -> None:
    assert chosen(entry(parts), parts / "cache", 5) == [0, 1, 2, 3, 4]
    assert chosen(entry(parts), parts / "cache") == [*range(7)]


def test_a_number_of_rows_is_drawn_the_same_each_time(parts: Path) -> None:
    mine = entry(parts, num_samples=4)
    drawn = chosen(mine, parts / "cache")
    assert len(drawn) == len(set(drawn)) == 4 and drawn == sorted(drawn)
    assert chosen(mine, parts / "cache") == drawn


def test_more_rows_than_there_are_repeat_some(parts: Path) -> None:
    drawn = Counter(chosen(entry(parts, num_samples=17), parts / "cache"))
    assert sum(drawn.values()) == 17 and set(drawn) == set(range(7))


def test_fewer_samples_are_drawn_when_the_command_says_so(parts: Path) -> None:
    assert len(chosen(entry(parts, num_samples=6), parts / "cache", 2)) == 2
    assert len(chosen(entry(parts, num_samples=3), parts / "cache", 200)) == 3


@given(total=st.integers(1, 60), wanted=st.integers(1, 200))
def test_a_draw_has_each_row_as_evenly_as_can_be_promised(total: int, wanted: int) -> None:
    drawn = draw(total, wanted).tolist()
    assert len(drawn) == wanted and drawn == sorted(drawn)
    assert set(drawn) <= set(range(1, total + 1))
    assert len(set(drawn)) == min(total, wanted)


def test_the_draw_is_random_over_the_whole_dataset() -> None:
    drawn = draw(10_000, 1000)
    assert 400 < sum(number <= 5000 for number in drawn.tolist()) < 600


def test_a_file_without_rows_is_named(parts: Path) -> None:
    (parts / "part-b.jsonl").write_text("\n")
    mine = entry(parts)
    with pytest.raises(DatasetError, match=r"part-b\.jsonl is empty"):
        list(dataset_rows(mine, mine.files()))
