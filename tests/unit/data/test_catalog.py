"""The registry: which names it knows, where its files lie, and how it complains."""

import json
from pathlib import Path

import pytest

from studio.data.catalog import Catalog, read_catalog
from studio.data.kinds import kind_of
from studio.errors import DatasetError
from studio.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    (tmp_path / "data").mkdir()
    return Workspace(tmp_path)


def register(place: Workspace, text: str, folder: str = "") -> Catalog:
    (place.root / folder / "dataset_info.json").write_text(text, encoding="utf-8")
    return read_catalog(place)


def complaint_of(place: Workspace, text: str, name: str | None = None) -> str:
    with pytest.raises(DatasetError) as caught:
        catalog = register(place, text)
        assert name is not None, "the registry as a whole was to be refused"
        catalog[name]
    return str(caught.value)


def test_the_tutorials_pretraining_entry_works_verbatim(place: Workspace) -> None:
    text = '{"custom_pt_train_data": {"file_name": "c4_demo.json", "columns": {"prompt": "text"}}}'
    entry = register(place, text)["custom_pt_train_data"]
    assert (entry.formatting, dict(entry.columns), kind_of(entry)) == ("alpaca", {"prompt": "text"}, "text")


def test_the_tutorials_chat_entry_with_a_nested_path_works_verbatim(place: Workspace) -> None:
    file = place.data / "nested" / "path" / "x.json"
    file.parent.mkdir(parents=True)
    file.write_text("[]")
    columns = {"prompt": "instruction", "query": "input", "response": "output"}
    text = json.dumps({"custom_sft_train_data": {"file_name": "nested/path/x.json", "columns": columns}})
    entry = register(place, text)["custom_sft_train_data"]
    assert entry.files() == [file]
    assert (dict(entry.columns), kind_of(entry)) == (columns, "conversation")


def test_the_top_registry_points_into_data_and_the_inner_one_into_its_folder(place: Workspace) -> None:
    (place.root / "mine").mkdir()
    (place.root / "dataset_info.json").write_text('{"a": {"file_name": "a.json"}}')
    (place.root / "mine" / "dataset_info.json").write_text('{"b": {"file_name": "b.json"}}')
    catalog = read_catalog(place, "mine")
    assert catalog.names == ["a", "b"]
    assert catalog["a"].base == place.data
    assert catalog["b"].base == place.root / "mine"
    assert catalog["b"].origin == place.root / "mine" / "dataset_info.json"


def test_a_name_in_both_registries_is_told_and_the_dataset_dir_wins(place: Workspace) -> None:
    (place.root / "dataset_info.json").write_text('{"a": {"file_name": "top.json"}}')
    catalog = register(place, '{"a": {"file_name": "inner.json"}}', "data")
    assert catalog["a"].file_name == ("inner.json",)
    assert len(catalog.notes) == 1 and "'a' stands in" in catalog.notes[0]


def test_one_file_reached_twice_is_read_once(place: Workspace) -> None:
    (place.data / "dataset_info.json").write_text('{"a": {"file_name": "a.json"}}')
    place.dataset_info.symlink_to("data/dataset_info.json")
    assert read_catalog(place).notes == []


def test_an_edit_is_seen_at_once(place: Workspace) -> None:
    assert register(place, '{"a": {"file_name": "a.json"}}').names == ["a"]
    assert register(place, '{"b": {"file_name": "a.json"}}').names == ["b"]


def test_no_registry_at_all_says_where_to_write_one(place: Workspace) -> None:
    with pytest.raises(DatasetError, match=r"dataset_info\.json and .*register none\. Write an entry"):
        read_catalog(place)["a"]


def test_a_wrong_name_gets_a_suggestion(place: Workspace) -> None:
    said = complaint_of(place, '{"alpaca_demo": {"file_name": "a.json"}}', "alpaca_dmeo")
    assert "Did you mean alpaca_demo?" in said


def test_a_byte_order_mark_is_accepted(place: Workspace) -> None:
    assert register(place, '\ufeff{"a": {"file_name": "a.json"}}').names == ["a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{\n "a": {"file_name": "x",},\n "b": {}\n}',
            "line 2, column 24: a comma stands before the closing",
        ),
        ('{"a": {"file_name": "x"},\n}', "line 1, column 25: a comma stands before the closing '}'"),
        ('{\n // mine\n "a": {}}', "line 2, column 2: a comment stands here"),
        ("{\n 'a': {}}", "line 2, column 2: a quotation mark ' stands here"),
        ('{"a": {}\n "b": {}}', "line 2, column 2: a comma is missing before"),
        ('{"a": {"ranking": True}}', "line 1, column 19: JSON writes true, false and null in small"),
        ('{"a": {"file_name": "C:\\data"}}', "line 1, column 24: a single \\ stands inside a text"),
        ('{"a": {"file_name": "x"}', "line 1, column 25: it ends too early"),
        ('{"a": {"file_name": "x', "line 1, column 21: a text opened here"),
        ('{"a" {}}', "line 1, column 6: a colon is missing"),
        ('{"a": }', "a value must stand here"),
        ("{a: {}}", "a key in double quotation marks must stand here"),
        ('{"a": {}} {}', "more text follows"),
        ('{"a": {"file_name": "x\ny"}}', "a line break or control character"),
        ("[]", "must be an object that leads from names to entries"),
        (" \n", "is empty"),
        ("[" * 2000 + "]" * 2000, "nested deeper"),
        ('{"a": ' + "[" * 2000 + "]" * 2000 + "}", "nested deeper"),
    ],
)
def test_a_registry_that_does_not_parse_names_place_and_cause(place: Workspace, text: str, said: str) -> None:
    found = complaint_of(place, text)
    assert said in found and "dataset_info.json" in found


def test_a_registry_in_another_encoding_is_named(place: Workspace) -> None:
    place.dataset_info.write_bytes('{"数据": {}}'.encode("utf-16"))
    with pytest.raises(DatasetError, match="UTF-16LE"):
        read_catalog(place)
    place.dataset_info.write_bytes('{\n"中文数据集名称": {}}'.encode("gb18030"))
    with pytest.raises(DatasetError, match=r"line 2, byte 2: .*looks like GB18030"):
        read_catalog(place)


def test_a_name_that_stands_twice_is_refused_with_both_lines_and_others_stay(place: Workspace) -> None:
    text = '{"a": {"file_name": "x"},\n"b": {"file_name": "y"},\n"a": {"file_name": "z"}}'
    assert "on lines 1 and 3" in complaint_of(place, text, "a")
    assert register(place, text)["b"].file_name == ("y",)


@pytest.mark.parametrize("name", ["a,b", "", " a", "../x", "a\\nb", "x" * 201])
def test_a_name_that_cannot_be_listed_is_refused(place: Workspace, name: str) -> None:
    text = f'{{"{name}": {{"file_name": "x"}}}}'
    said = complaint_of(place, text, json.loads(f'"{name}"'))
    assert "a name must be 1 to 200 characters without commas" in said


def test_a_key_written_twice_in_an_entry_refuses_that_entry_only(place: Workspace) -> None:
    text = '{"a": {"file_name": "x", "file_name": "y"}, "b": {"file_name": "y"}}'
    assert "the key 'file_name' stands twice" in complaint_of(place, text, "a")
    assert register(place, text)["b"].file_name == ("y",)


@pytest.mark.parametrize("asked", ["ONLINE", "REMOTE:someone/data", "nowhere"])
def test_a_dataset_dir_that_is_no_folder_is_refused(place: Workspace, asked: str) -> None:
    with pytest.raises(DatasetError, match="dataset_dir must be"):
        read_catalog(place, asked)


def test_a_hundred_thousand_entries_are_read_quickly(place: Workspace) -> None:
    many = {f"set_{number}": {"file_name": "x.json"} for number in range(100_000)}
    catalog = register(place, json.dumps(many))
    assert catalog["set_99999"].file_name == ("x.json",)
    assert catalog.names[0] == "set_0"


def test_a_registry_pasted_without_its_outer_braces_says_so(place: Workspace) -> None:
    said = complaint_of(place, '  "a": {"file_name": "x.json"},\n  "b": {"file_name": "y.json"}\n')
    assert "line 1, column 6" in said and "the outer braces are missing" in said


def test_an_empty_registry_says_what_to_write(place: Workspace) -> None:
    assert "dataset_info.json is empty. Write {}" in complaint_of(place, "")
