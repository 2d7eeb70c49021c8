"""One entry of the registry: every key is read or refused by name, and its file is found."""

import os
from pathlib import Path
from typing import Any

import pytest

from studio.data.entry import DatasetEntry, entry_of
from studio.errors import DatasetError


def entry(base: Path, **keys: Any) -> DatasetEntry:
    return entry_of("mine", {"file_name": "rows.json", **keys}, base / "dataset_info.json", base)


def complaint(base: Path, raw: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        entry_of("mine", raw, base / "dataset_info.json", base)
    assert "'mine'" in str(caught.value) and "dataset_info.json" in str(caught.value)
    return str(caught.value)


def test_without_columns_alpaca_has_its_usual_names(tmp_path: Path) -> None:
    found = entry(tmp_path)
    assert dict(found.columns) == {
        "prompt": "instruction",
        "query": "input",
        "response": "output",
        "system": "system",
        "history": "history",
    }
    assert not found.listed


def test_with_columns_an_unlisted_one_means_none(tmp_path: Path) -> None:
    found = entry(tmp_path, columns={"prompt": "q", "response": "a", "query": None})
    assert dict(found.columns) == {"prompt": "q", "response": "a"}
    assert found.listed


def test_with_tags_an_unlisted_one_keeps_its_default(tmp_path: Path) -> None:
    tags = entry(tmp_path, formatting="sharegpt", tags={"user_tag": "user", "role_tag": "role"}).tags
    assert (tags["user_tag"], tags["role_tag"], tags["assistant_tag"]) == ("user", "role", "gpt")


def test_null_means_not_given(tmp_path: Path) -> None:
    assert entry(tmp_path, hf_hub_url=None, num_samples=None, ranking=False).file_name == "rows.json"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {"file_name": "x", "formating": "alpaca"},
            "'formating' is no key of an entry. Did you mean formatting",
        ),
        ({"hf_hub_url": "a/b"}, "hf_hub_url is not supported: download the file"),
        ({"ms_hub_url": "a/b", "file_name": "x"}, "ms_hub_url is not supported"),
        ({"om_hub_url": "a/b"}, "om_hub_url is not supported"),
        ({"script_url": "x"}, "script_url is not supported: a script would run foreign code"),
        ({"cloud_file_name": "s3://x"}, "cloud_file_name is not supported"),
        ({"file_name": "x", "num_samples": 5}, "num_samples is not supported: set max_samples"),
        ({"file_name": "x", "subset": "en"}, "subset is not supported"),
        ({"file_name": "x", "folder": "en"}, "folder is not supported"),
        ({"file_name": "x", "ranking": True}, "ranking is not supported"),
        ({"file_name": "x", "ranking": "yes"}, "ranking must be true or false, not 'yes'"),
        ({"file_name": "x", "split": "test"}, "split 'test' is not in a single file"),
        ({"file_name": "x", "encoding": "gbk"}, "encoding 'gbk' is not supported; convert the file"),
        ({"file_name": "x", "formatting": "openai"}, "write sharegpt with columns messages and tags"),
        ({"file_name": "x", "formatting": "sharegtp"}, "Did you mean sharegpt"),
        ({"file_name": "x", "sample_by": "word"}, "sample_by must be one of line, paragraph, document"),
        ({"file_name": "x", "columns": []}, "columns must be an object of names, not []"),
        ({"file_name": "x", "columns": {}}, "columns is empty"),
        ({"file_name": "x", "columns": {"promt": "q"}}, "columns.promt is not known here; there are prompt"),
        ({"file_name": "x", "columns": {"prompt": 3}}, "columns.prompt must be a name, not 3"),
        ({"file_name": "x", "columns": {"tools": "t"}}, "columns.tools is not supported"),
        ({"file_name": "x", "columns": {"chosen": "t"}}, "columns.chosen is not supported"),
        ({"file_name": "x", "columns": {"images": "t"}}, "columns.images is not supported"),
        ({"file_name": "x", "tags": {"user": "t"}}, "tags.user is not known here"),
        ({"file_name": "x", "tags": "human"}, "tags must be an object of names"),
        ({"file_name": "https://x/y.json"}, "not the address 'https://x/y.json'"),
        ({"file_name": ""}, "file_name must be the path of a file, not ''"),
        ({"file_name": 7}, "file_name must be the path of a file, not 7"),
        ({}, "it lacks file_name"),
        ("rows.json", 'it must be an object such as {"file_name": "rows.json"}'),
    ],
)
def test_a_key_that_cannot_be_followed_is_refused_by_name(tmp_path: Path, raw: Any, said: str) -> None:
    assert said in complaint(tmp_path, raw)


def test_all_complaints_about_an_entry_come_at_once(tmp_path: Path) -> None:
    said = complaint(tmp_path, {"file_name": 3, "ranking": 1, "colums": {}})
    assert "file_name must" in said and "ranking must" in said and "Did you mean columns" in said


def test_a_missing_file_gets_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(DatasetError, match=r"there is no such file\. Did you mean rows\.jsonl\?"):
        entry(tmp_path).files()


def test_a_path_wrong_by_case_gets_the_right_spelling(tmp_path: Path) -> None:
    (tmp_path / "Data").mkdir()
    (tmp_path / "Data" / "Rows.json").touch()
    with pytest.raises(DatasetError, match=r"The right spelling is .*/Data/Rows\.json; upper and lower"):
        entry(tmp_path, file_name="data/rows.JSON").files()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "rows.json").mkdir()
    with pytest.raises(DatasetError, match="is a folder, and one file is needed"):
        entry(tmp_path).files()


def test_a_git_lfs_pointer_is_not_the_data(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(DatasetError, match=r"is a git-LFS pointer.*'git lfs pull'"):
        entry(tmp_path).files()


def test_a_link_to_nowhere_and_a_pipe_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "rows.json").symlink_to("gone.json")
    with pytest.raises(DatasetError, match="a link that leads nowhere"):
        entry(tmp_path).files()
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(DatasetError, match="no regular file"):
        entry(tmp_path, file_name="pipe.json").files()


def test_a_path_outside_the_allowed_roots_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_ROOTS", str(tmp_path))
    with pytest.raises(DatasetError, match="leads outside the folders"):
        entry(tmp_path, file_name="../../etc/passwd").files()


@pytest.mark.parametrize("name", ["数据 集.jsonl", "a b'\".jsonl", "-rf.jsonl", "😀.jsonl"])
def test_a_name_with_unusual_characters_works(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"a": 1}')
    assert entry(tmp_path, file_name=name).files() == [tmp_path / name]
