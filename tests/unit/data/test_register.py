"""New entries: what a file is taken for, and the registry written so that nothing else in it changes."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.data.catalog import entry_of_file, read_catalog, registry_of
from studio.data.reading import dataset_rows
from studio.data.register import recognised, register, with_entry
from studio.errors import DatasetError, StudioError
from studio.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    (tmp_path / "data").mkdir()
    return Workspace(tmp_path)


def put(place: Workspace, name: str, rows: list[Any], encoding: str = "utf-8") -> str:
    path = place.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(encoding))
    return name


QA = [{"问题": f"第{n}个问题是什么？", "回答": "这是答案。"} for n in range(3)]


def add(place: Workspace, name: str, raw: dict[str, Any], folder: str = "data") -> Path:
    return register(name, raw, place, folder)


def test_a_file_without_an_entry_is_read_as_its_columns_say(place: Workspace) -> None:
    entry = entry_of_file(put(place, "data/qa.jsonl", QA), place)
    assert (entry.name, entry.formatting, entry.listed) == ("qa.jsonl", "alpaca", False)
    assert dict(entry.columns) == {"prompt": "问题", "response": "回答"}
    assert entry.why.startswith("data/qa.jsonl is read as alpaca: ")
    assert len(list(dataset_rows(entry, entry.files()))) == 3


def test_a_pattern_and_a_folder_without_an_entry_are_read_too(place: Workspace) -> None:
    put(place, "data/a-1.jsonl", QA)
    put(place, "data/a-2.jsonl", QA)
    assert len(entry_of_file("data/a-*.jsonl", place).files()) == 2
    assert len(entry_of_file("data", place).files()) == 2


def test_a_file_whose_columns_say_nothing_is_refused_by_name(place: Workspace) -> None:
    with pytest.raises(DatasetError, match=r"data/x\.jsonl: the columns must say what the rows are.*left.*right"):
        entry_of_file(put(place, "data/x.jsonl", [{"left": "a", "right": "b"}]), place)


def test_a_file_of_bad_rows_only_tells_the_first(place: Workspace) -> None:
    (place.data / "x.jsonl").write_text("[1]\n[2]\n")
    with pytest.raises(DatasetError, match=r"x\.jsonl"):
        entry_of_file("data/x.jsonl", place)


def test_another_encoding_must_be_said(place: Workspace) -> None:
    put(place, "data/qa.jsonl", QA, "gb18030")
    with pytest.raises(DatasetError, match=r"studio data add \S+/qa\.jsonl --encoding gb18030\)"):
        entry_of_file("data/qa.jsonl", place)
    assert entry_of_file("data/qa.jsonl", place, encoding="GB18030").encoding == "gb18030"
    raw, _ = recognised("data/qa.jsonl", place, encoding="gb18030")
    assert raw == {
        "file_name": "qa.jsonl",
        "encoding": "gb18030",
        "columns": {"prompt": "问题", "response": "回答"},
    }


def test_a_path_outside_the_data_folder_is_written_whole(place: Workspace) -> None:
    put(place, "elsewhere/qa.jsonl", QA)
    raw, _ = recognised("elsewhere/qa.jsonl", place)
    assert raw["file_name"] == str(place.root / "elsewhere" / "qa.jsonl")
    assert recognised(str(place.data / put(place, "data/b.jsonl", QA)[5:]), place)[0]["file_name"] == "b.jsonl"


def test_what_is_added_can_be_used_at_once(place: Workspace) -> None:
    raw, _ = recognised(put(place, "data/qa.jsonl", QA), place)
    assert add(place, "qa", raw) == place.dataset_info
    entry = read_catalog(place)["qa"]
    assert len(list(dataset_rows(entry, entry.files()))) == 3


def test_a_new_entry_goes_where_the_folder_has_its_registry(place: Workspace) -> None:
    assert registry_of(place) == (place.dataset_info, place.data)
    (place.data / "dataset_info.json").write_text("{}")
    assert registry_of(place) == (place.data / "dataset_info.json", place.data)
    (place.root / "mine").mkdir()
    put(place, "mine/qa.jsonl", QA)
    raw, _ = recognised("mine/qa.jsonl", place, dataset_dir="mine")
    assert raw["file_name"] == "qa.jsonl"
    assert add(place, "qa", raw, "mine") == place.root / "mine" / "dataset_info.json"


@pytest.mark.parametrize(
    ("name", "said"), [("a", "of this name is registered"), ("a,b", "without commas"), ("", "1 to 200 characters")]
)
def test_a_name_that_is_taken_or_cannot_be_one_is_refused(place: Workspace, name: str, said: str) -> None:
    before = '{"a": {"file_name": "x.json"}}'
    place.dataset_info.write_text(before)
    with pytest.raises(DatasetError, match=said):
        add(place, name, {"file_name": "x.json"})
    assert place.dataset_info.read_text() == before


def test_of_several_who_add_one_name_at_once_one_does(place: Workspace) -> None:
    def one(_: int) -> bool:
        try:
            return bool(add(place, "a", {"file_name": "x.json"}))
        except StudioError:
            return False

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(one, range(12))) == 1
    assert read_catalog(place).names == ["a"]
    assert place.dataset_info.read_text().count('"a"') == 1


def test_a_link_to_the_registry_stays_a_link(place: Workspace) -> None:
    (place.root / "real.json").write_text("{}")
    place.dataset_info.symlink_to("real.json")
    add(place, "a", {"file_name": "x.json"})
    assert place.dataset_info.is_symlink() and "x.json" in (place.root / "real.json").read_text()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{}", '{"new": {"file_name": "x"}}'),
        ('{"a": {"file_name": "y"}}\n', '{"a": {"file_name": "y"}, "new": {"file_name": "x"}}\n'),
        ("{\n}\n", '{\n  "new": {\n    "file_name": "x"\n  }\n}\n'),
        (
            '{\n    "a": {"file_name": "y"}\n}',
            '{\n    "a": {"file_name": "y"},\n    "new": {\n        "file_name": "x"\n    }\n}',
        ),
        ('\ufeff{\r\n\t"a": {}\r\n}', '\ufeff{\r\n\t"a": {},\r\n\t"new": {\r\n\t\t"file_name": "x"\r\n\t}\r\n}'),
    ],
)
def test_a_registry_keeps_its_style(before: str, after: str) -> None:
    assert with_entry(before, "new", {"file_name": "x"}) == after


@given(
    entries=st.dictionaries(st.text(max_size=6), st.dictionaries(st.text(max_size=6), st.text(max_size=6)), max_size=4),
    indent=st.sampled_from([None, 0, 1, 2, 4, "\t"]),
)
def test_a_registry_with_one_entry_more_holds_the_others_as_they_were(entries: dict[str, Any], indent: Any) -> None:
    raw = {"file_name": "x.json", "columns": {"prompt": "问"}}
    before = json.dumps(entries, indent=indent, ensure_ascii=False)
    entries.pop("new entry", None)
    after = with_entry(before, "new entry", raw)
    assert json.loads(after) == {**json.loads(before), "new entry": raw}
    assert after.startswith(before.rstrip("}\n\t "))


@pytest.mark.parametrize("ask", [entry_of_file, recognised])
def test_a_path_without_a_file_is_named_as_such_and_not_as_an_entry(ask: Any, place: Workspace) -> None:
    with pytest.raises(DatasetError) as caught:
        ask("gone.xyz", place)
    assert str(caught.value) == (
        f"{place.path('gone.xyz')}: there is no such file. Put it there, or correct the path ({place.root} exists)."
    )
    put(place, "data/here.jsonl", QA)
    with pytest.raises(DatasetError, match=r"Did you mean \S+/data/here\.jsonl\?$"):
        ask("here.jsonl", place)


def test_an_entry_for_a_folder_with_splits_says_that_it_is_its_train_split(place: Workspace) -> None:
    put(place, "data/parts/train.jsonl", QA)
    put(place, "data/parts/test.jsonl", QA)
    raw, why = recognised("data/parts", place)
    assert raw["split"] == "train"
    assert "only the split train is read, as no split is asked for; not read (test): test.jsonl" in why
    add(place, "parts", raw)
    assert [path.name for path in read_catalog(place)["parts"].files()] == ["train.jsonl"]
    (place.data / "parts" / "test.jsonl").unlink()
    assert "split" not in recognised("data/parts", place)[0]
