"""One entry of the registry: every key is read or refused by name."""

from pathlib import Path
from typing import Any

import pytest

from studio.data.entry import DatasetEntry, HubSource, entry_of
from studio.data.example import FORMATS
from studio.errors import DatasetError


def entry(base: Path, **keys: Any) -> DatasetEntry:
    return entry_of("mine", {"file_name": "rows.json", **keys}, base / "dataset_info.json", base)


def complaint(base: Path, raw: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        entry_of("mine", raw, base / "dataset_info.json", base)
    assert "'mine'" in str(caught.value) and "dataset_info.json" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("formatting", list(FORMATS))
def test_without_columns_a_format_has_its_usual_names(tmp_path: Path, formatting: str) -> None:
    found = entry(tmp_path, formatting=formatting)
    assert dict(found.columns) == dict(FORMATS[formatting].columns)
    assert not found.listed


def test_with_columns_an_unlisted_one_means_none(tmp_path: Path) -> None:
    found = entry(tmp_path, columns={"prompt": "q", "response": "a", "query": None})
    assert dict(found.columns) == {"prompt": "q", "response": "a"}
    assert found.listed


def test_with_tags_an_unlisted_one_keeps_its_default(tmp_path: Path) -> None:
    tags = entry(tmp_path, formatting="sharegpt", tags={"user_tag": "user", "role_tag": "role"}).tags
    assert (tags["user_tag"], tags["role_tag"], tags["assistant_tag"]) == ("user", "role", "gpt")


def test_null_means_not_given(tmp_path: Path) -> None:
    found = entry(tmp_path, hf_hub_url=None, num_samples=None, ranking=False)
    assert (found.file_name, found.hub, found.num_samples) == (("rows.json",), None, 0)


def test_files_may_be_listed_or_be_a_folder_alone(tmp_path: Path) -> None:
    assert entry(tmp_path, file_name=["b.json", "a-*.json"]).file_name == ("b.json", "a-*.json")
    found = entry(tmp_path, file_name=None, folder="mine", split="train")
    assert (found.file_name, found.folder, found.split) == (("mine",), "", "train")


def test_a_hub_is_chosen_by_what_is_given_and_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {
        "file_name": None,
        "hf_hub_url": "a/b",
        "ms_hub_url": "c/d",
        "om_hub_url": "e/f",
        "subset": "en",
        "folder": "x",
    }
    assert entry(tmp_path, **both).hub == HubSource("hf", "a/b", "", "x", "en")
    assert entry(tmp_path, ms_hub_url="c/d", revision="v1").hub == HubSource("ms", "c/d", "v1")
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    assert entry(tmp_path, **both).hub == HubSource("ms", "c/d", "", "x", "en")
    assert entry(tmp_path, hf_hub_url="a/b").hub == HubSource("hf", "a/b")
    monkeypatch.setenv("USE_OPENMIND_HUB", "1")
    assert "om_hub_url is not supported" in complaint(tmp_path, both)


def test_pairs_need_both_sides(tmp_path: Path) -> None:
    columns = {"prompt": "prompt", "query": "query", "chosen": "chosen", "rejected": "rejected"}
    found = entry(tmp_path, ranking=True, columns=columns)
    assert found.ranking and dict(found.columns) == columns
    assert entry(tmp_path, formatting="pairs").columns["chosen"] == "chosen"
    less = {key: columns[key] for key in ("prompt", "chosen")}
    assert "rows in pairs need columns.rejected" in complaint(
        tmp_path, {"file_name": "x", "ranking": True, "columns": less}
    )
    assert "need columns.chosen and columns.rejected" in complaint(tmp_path, {"file_name": "x", "ranking": True})
    assert 'are read with "ranking": true only' in complaint(tmp_path, {"file_name": "x", "columns": columns})
    assert "rows of text are no pairs" in complaint(tmp_path, {"file_name": "x", "formatting": "text", "ranking": True})


def test_an_encoding_is_known_by_any_of_its_names(tmp_path: Path) -> None:
    assert entry(tmp_path).encoding == entry(tmp_path, encoding="UTF8").encoding == ""
    assert entry(tmp_path, encoding="GB18030").encoding == "gb18030"
    assert entry(tmp_path, encoding="windows-1252").encoding == "cp1252"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {"file_name": "x", "formating": "alpaca"},
            "'formating' is no key of an entry. Did you mean formatting",
        ),
        ({"hf_hub_url": "https://hub/a/b"}, "hf_hub_url must be the name of a repository such as owner/name"),
        ({"ms_hub_url": 7, "file_name": "x"}, "ms_hub_url must be the name of a repository such as owner/name, not 7"),
        ({"om_hub_url": "a/b"}, "om_hub_url is not supported: download the file"),
        ({"script_url": "x"}, "script_url is not supported: a script would run foreign code"),
        ({"cloud_file_name": "s3://x"}, "cloud_file_name is not supported"),
        ({"file_name": "x", "revision": "v1"}, "revision is that of a dataset on a hub"),
        ({"file_name": "x", "num_samples": 0}, "num_samples must be a number of rows from 1"),
        ({"file_name": "x", "num_samples": True}, "num_samples must be a number of rows"),
        ({"file_name": "x", "num_samples": "5"}, "num_samples must be a number of rows"),
        ({"file_name": "x", "subset": 3}, "subset must be a name, not 3"),
        ({"file_name": "x", "folder": "../up"}, "folder must be a name, not '../up'"),
        ({"file_name": "x", "ranking": "yes"}, "ranking must be true or false, not 'yes'"),
        ({"file_name": "x", "split": "train[:10%]"}, "split must be one word such as train or test"),
        ({"file_name": "x", "split": "train+test"}, "for a part of a split set num_samples"),
        ({"file_name": "x", "encoding": "gb2313"}, "encoding: no text encoding is named 'gb2313'"),
        ({"file_name": "x", "encoding": 3}, "encoding: no text encoding is named '3'"),
        ({"file_name": "x", "formatting": "sharegtp"}, "Did you mean sharegpt"),
        ({"file_name": "x", "sample_by": "word"}, "sample_by must be one of line, paragraph, document"),
        ({"file_name": "x", "columns": []}, "columns must be an object of names, not []"),
        ({"file_name": "x", "columns": {}}, "columns is empty"),
        ({"file_name": "x", "columns": {"promt": "q"}}, "columns.promt is not known here; there are prompt"),
        ({"file_name": "x", "columns": {"prompt": 3}}, "columns.prompt must be a name, not 3"),
        ({"file_name": "x", "formatting": "text", "columns": {"tools": "t"}}, "columns.tools is not known here"),
        ({"file_name": "x", "columns": {"images": "t"}}, "columns.images is not supported"),
        ({"file_name": "x", "tags": {"user": "t"}}, "tags.user is not known here"),
        ({"file_name": "x", "tags": {"user_tag": "t"}}, "tags say nothing to formatting alpaca"),
        (
            {"file_name": "x", "formatting": "sharegpt", "tags": {"user_tag": "a", "assistant_tag": "a"}},
            "tags.user_tag and tags.assistant_tag must differ, but both are 'a'",
        ),
        ({"file_name": "x", "formatting": "openai", "tags": {"content_tag": "role"}}, "both are 'role'; correct one"),
        ({"file_name": "x", "columns": {"prompt": "a", "response": "a"}}, "must be two columns, but both are 'a'"),
        (
            {"file_name": "x", "formatting": "pairs", "columns": {"prompt": "a", "chosen": "b", "rejected": "b"}},
            "columns.chosen and columns.rejected must be two columns, but both are 'b'; correct one",
        ),
        ({"file_name": "x", "tags": "human"}, "tags must be an object of names"),
        ({"file_name": "https://x/y.json"}, "not the address 'https://x/y.json'"),
        ({"file_name": ["x", "s3://y"]}, "not the address 's3://y'"),
        ({"file_name": ""}, "file_name must be the path of a file, or a list of paths, not ''"),
        ({"file_name": []}, "or a list of paths, not []"),
        ({"file_name": ["x", 7]}, "or a list of paths, not ['x', 7]"),
        ({"file_name": 7}, "file_name must be the path of a file, or a list of paths, not 7"),
        ({}, "it lacks file_name"),
        ("rows.json", 'it must be an object such as {"file_name": "rows.json"}'),
    ],
)
def test_a_key_that_cannot_be_followed_is_refused_by_name(tmp_path: Path, raw: Any, said: str) -> None:
    assert said in complaint(tmp_path, raw)


def test_all_complaints_about_an_entry_come_at_once(tmp_path: Path) -> None:
    said = complaint(tmp_path, {"file_name": 3, "ranking": 1, "colums": {}})
    assert "file_name must" in said and "ranking must" in said and "Did you mean columns" in said


def test_a_suggestion_ends_with_one_mark(tmp_path: Path) -> None:
    said = complaint(tmp_path, {"file_name": "x", "formatting": "sharegtp"})
    assert said.endswith("Did you mean sharegpt?")
    said = complaint(tmp_path, {"formating": "alpaca"})
    assert "Did you mean formatting? Also, it lacks file_name; name the data file." in said
