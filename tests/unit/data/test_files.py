"""Which files an entry means: paths, lists, patterns, folders, hubs, and a part of them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.data.entry import DatasetEntry, entry_of
from studio.errors import DatasetError
from tests.unit.model.fake_hub import FakeHub


def entry(base: Path, **keys: Any) -> DatasetEntry:
    return entry_of("mine", {"file_name": "rows.json", **keys}, base / "dataset_info.json", base)


def put(base: Path, *names: str, content: str = '{"a": 1}\n') -> None:
    for name in names:
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def names(base: Path, **keys: Any) -> list[str]:
    return [path.relative_to(base).as_posix() for path in entry(base, **keys).files()]


def refused(base: Path, **keys: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        entry(base, **keys).files()
    assert "'mine'" in str(caught.value)
    return str(caught.value)


def test_a_missing_file_gets_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(DatasetError, match=r"there is no such file\. Did you mean rows\.jsonl\?"):
        entry(tmp_path).files()


def test_a_path_wrong_by_case_gets_the_right_spelling(tmp_path: Path) -> None:
    (tmp_path / "Data").mkdir()
    (tmp_path / "Data" / "Rows.json").touch()
    with pytest.raises(DatasetError, match=r"The right spelling is .*/Data/Rows\.json; upper and lower"):
        entry(tmp_path, file_name="data/rows.JSON").files()


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


def test_a_list_is_read_in_its_order_and_each_file_once(tmp_path: Path) -> None:
    put(tmp_path, "b.json", "a.jsonl", "c.csv")
    assert names(tmp_path, file_name=["b.json", "a.jsonl", "c.csv"]) == ["b.json", "a.jsonl", "c.csv"]
    twice = entry(tmp_path, file_name=["b.json", "*.jsonl", "a.jsonl"])
    assert [path.name for path in twice.files()] == ["b.json", "a.jsonl"]
    assert twice.found().notes == ("dataset 'mine': a.jsonl: named twice in file_name, read once",)


def test_a_pattern_takes_the_files_it_fits_in_order(tmp_path: Path) -> None:
    put(tmp_path, "part-2.jsonl", "part-1.jsonl", "part-1.csv", "x/part-3.jsonl", ".part-0.jsonl", "x/y/part-4.jsonl")
    assert names(tmp_path, file_name="part-*.jsonl") == ["part-1.jsonl", "part-2.jsonl"]
    everywhere = ["part-1.jsonl", "part-2.jsonl", "x/part-3.jsonl", "x/y/part-4.jsonl"]
    assert names(tmp_path, file_name="**/part-?.jsonl") == everywhere
    assert names(tmp_path, file_name=str(tmp_path / "x" / "*.jsonl")) == ["x/part-3.jsonl"]


def test_a_name_with_the_marks_of_a_pattern_is_first_of_all_a_name(tmp_path: Path) -> None:
    put(tmp_path, "a[1].json", "a1.json")
    assert names(tmp_path, file_name="a[1].json") == ["a[1].json"]


def test_a_pattern_that_fits_nothing_says_what_is_there(tmp_path: Path) -> None:
    put(tmp_path, "parts/a.jsonl", "parts/b.jsonl")
    said = refused(tmp_path, file_name="parts/*.json")
    assert "no file fits 'parts/*.json'" in said and "parts holds a.jsonl, b.jsonl" in said


def test_a_pattern_leaves_notices_out_and_refuses_what_no_reader_takes(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "README.md", "LICENSE", "dataset_info.json")
    found = entry(tmp_path, file_name="*").found()
    assert [path.name for path in found.files] == ["a.jsonl"]
    assert found.notes == ("dataset 'mine': left out LICENSE, README.md, dataset_info.json",)
    put(tmp_path, "notes.docx")
    assert "'*' takes in notes.docx, which no reader takes" in refused(tmp_path, file_name="*")


def test_a_folder_is_all_data_files_in_it(tmp_path: Path) -> None:
    data = ["mine/b.csv", "mine/a.jsonl.zst", "mine/deep/c.parquet"]
    put(tmp_path, *data, "mine/README.md", "mine/Licence.txt", "mine/.hidden.jsonl", "mine/.cache/x.jsonl")
    put(tmp_path, "mine/licenses/MIT.txt")
    found = entry(tmp_path, file_name="mine").found()
    assert [path.relative_to(tmp_path).as_posix() for path in found.files] == [
        "mine/a.jsonl.zst",
        "mine/b.csv",
        "mine/deep/c.parquet",
    ]
    (note,) = found.notes
    assert all(name in note for name in ("README.md", "Licence.txt", ".hidden.jsonl", ".cache/", "licenses/"))
    assert names(tmp_path, file_name=None, folder="mine") == names(tmp_path, file_name="mine")
    assert names(tmp_path, file_name="mine", folder="deep") == ["mine/deep/c.parquet"]


def test_a_folder_without_data_or_with_a_strange_file_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "mine/README.md")
    assert "holds no data file" in refused(tmp_path, file_name="mine")
    put(tmp_path, "mine/a.jsonl", "mine/table.xlsx")
    assert "holds table.xlsx, which no reader takes" in refused(tmp_path, file_name="mine")
    (tmp_path / "mine" / "table.xlsx").unlink()
    assert "folder 'deep' holds no data file; there are no folders" in refused(
        tmp_path, file_name="mine", folder="deep"
    )


def test_links_to_folders_are_not_followed_and_that_is_said(tmp_path: Path) -> None:
    put(tmp_path, "mine/a.jsonl")
    (tmp_path / "mine" / "again").symlink_to(".")
    found = entry(tmp_path, file_name="mine").found()
    assert len(found.files) == 1 and "again/" in found.notes[0]


def test_a_folder_that_datasets_saved_is_its_listed_shards(tmp_path: Path) -> None:
    shards = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    for split in ("train", "test"):
        put(tmp_path, *(f"mine/{split}/{shard}" for shard in shards), f"mine/{split}/cache-1f.arrow")
        put(tmp_path, f"mine/{split}/dataset_info.json")
        state = json.dumps({"_data_files": [{"filename": shard} for shard in shards]})
        put(tmp_path, f"mine/{split}/state.json", content=state)
    put(tmp_path, "mine/dataset_dict.json", content='{"splits": ["train", "test"]}')
    assert names(tmp_path, file_name="mine", split="train") == [f"mine/train/{shard}" for shard in shards]
    assert names(tmp_path, file_name="mine") == [f"mine/train/{shard}" for shard in shards]


def test_a_split_is_told_by_file_or_folder(tmp_path: Path) -> None:
    put(tmp_path, "mine/train-00000-of-00002.parquet", "mine/train-00001-of-00002.parquet", "mine/dev.jsonl")
    put(tmp_path, "mine/more/test/x.jsonl", "mine/train_sft-00000-of-00001.parquet", "mine/other.jsonl")
    train = ["mine/train-00000-of-00002.parquet", "mine/train-00001-of-00002.parquet"]
    assert names(tmp_path, file_name="mine", split="train") == train
    assert names(tmp_path, file_name="mine", split="validation") == ["mine/dev.jsonl"]
    assert names(tmp_path, file_name="mine", split="test") == ["mine/more/test/x.jsonl"]
    assert names(tmp_path, file_name="mine", split="train_sft") == ["mine/train_sft-00000-of-00001.parquet"]
    assert names(tmp_path, file_name="mine", split="other") == ["mine/other.jsonl"]
    assert names(tmp_path, file_name="mine/*.parquet", split="train") == train


def test_a_split_that_no_file_fits_is_refused_with_those_there_are(tmp_path: Path) -> None:
    put(tmp_path, "mine/train.jsonl", "mine/dev.jsonl")
    said = refused(tmp_path, file_name="mine", split="test")
    assert "split 'test' is in none of its files; they are of the split train, validation" in said
    assert "split 'test'" in refused(tmp_path, file_name="mine/dev.jsonl", split="test")


def test_without_any_word_of_a_split_all_is_train(tmp_path: Path) -> None:
    put(tmp_path, "mine/a.jsonl", "mine/b.jsonl")
    assert len(names(tmp_path, file_name="mine", split="train")) == 2
    assert "no file's name or folder says a split" in refused(tmp_path, file_name="mine", split="test")


def test_one_file_that_is_named_is_train_whatever_it_is_called(tmp_path: Path) -> None:
    put(tmp_path, "test.jsonl")
    assert names(tmp_path, file_name="test.jsonl", split="train") == ["test.jsonl"]


def test_without_a_split_only_train_is_read_and_the_others_are_told(tmp_path: Path) -> None:
    put(tmp_path, "mine/train.jsonl", "mine/test.jsonl", "mine/dev.jsonl", "mine/more.jsonl", "extra.jsonl")
    found = entry(tmp_path, file_name="mine").found()
    assert [path.name for path in found.files] == ["train.jsonl"] and found.split == "train"
    (note,) = found.notes
    assert "only the split train is read" in note
    assert "not read (test, validation): dev.jsonl, more.jsonl, test.jsonl" in note
    assert names(tmp_path, file_name="mine/*.jsonl") == ["mine/train.jsonl"]
    assert names(tmp_path, file_name=["extra.jsonl", "mine"]) == ["extra.jsonl", "mine/train.jsonl"]
    assert names(tmp_path, file_name=["mine", "mine/test.jsonl"]) == ["mine/test.jsonl", "mine/train.jsonl"]


def test_splits_without_train_are_refused_by_name(tmp_path: Path) -> None:
    put(tmp_path, "mine/test.jsonl", "mine/dev.jsonl", "mine/more.jsonl")
    for asked in ("mine", "mine/*.jsonl"):
        said = refused(tmp_path, file_name=asked)
        assert 'the files are of the split test, validation. Write "split": "test" in the entry' in said
    assert names(tmp_path, file_name="mine", split="test") == ["mine/test.jsonl"]


def test_a_file_a_pattern_or_a_folder_may_itself_say_which_split_is_meant(tmp_path: Path) -> None:
    put(tmp_path, "mine/train.jsonl", "mine/test-1.jsonl", "mine/test-2.jsonl", "mine/dev/a.jsonl", "en/test.jsonl")
    assert names(tmp_path, file_name="mine/test-*.jsonl") == ["mine/test-1.jsonl", "mine/test-2.jsonl"]
    assert names(tmp_path, file_name="mine/dev") == ["mine/dev/a.jsonl"]
    assert names(tmp_path, file_name="mine/dev/*.jsonl") == ["mine/dev/a.jsonl"]
    assert names(tmp_path, file_name="mine", folder="dev") == ["mine/dev/a.jsonl"]
    assert names(tmp_path, file_name=["mine/train.jsonl", "en/test.jsonl"]) == ["mine/train.jsonl", "en/test.jsonl"]
    put(tmp_path, "whole/en/train.jsonl", "whole/de/test.jsonl")
    assert "the files are of the split test" in refused(tmp_path, file_name="whole", subset="de")


def test_a_subset_is_a_folder_or_a_part_of_the_name(tmp_path: Path) -> None:
    put(tmp_path, "mine/en/a.jsonl", "mine/zh/a.jsonl", "mine/en_more.jsonl", "mine/open.jsonl")
    assert names(tmp_path, file_name="mine", subset="en") == ["mine/en_more.jsonl", "mine/en/a.jsonl"]
    said = refused(tmp_path, file_name="mine", subset="fr")
    assert "subset 'fr' is neither a folder nor a part of a file's name" in said and "zh/a.jsonl" in said
    assert "subset: it chooses within a folder" in refused(tmp_path, file_name="mine/open.jsonl", subset="en")


ROW = b'{"instruction": "q", "output": "a"}\n'
REPOSITORIES = {
    "me/splits": {"data/train-00000-of-00001.jsonl": ROW * 3, "data/test-00000-of-00001.jsonl": ROW, "README.md": b"#"},
    "me/parts": {"main/train.jsonl": ROW, "other/train.jsonl": ROW * 2},
    "me/none": {"load.py": b"import os"},
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    hub = FakeHub(REPOSITORIES)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.address)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    yield hub
    hub.close()


def fetched(base: Path, repo: str, **keys: Any) -> list[str]:
    found = entry(base, **{"file_name": None, "ms_hub_url": repo, **keys}).files()
    assert all(path.is_file() for path in found)
    return ["/".join(path.parts[-2:]) for path in found]


def test_of_a_hub_only_the_files_of_the_split_are_fetched(tmp_path: Path, hub: FakeHub) -> None:
    assert fetched(tmp_path, "me/splits") == ["data/train-00000-of-00001.jsonl"]
    assert not [asked for asked in hub.asked if "test-00000" in asked]
    assert fetched(tmp_path, "me/splits", split="test") == ["data/test-00000-of-00001.jsonl"]
    told = entry(tmp_path, file_name=None, ms_hub_url="me/splits").found().notes[-1]
    assert "only the split train is read, as no split is asked for; not read (test): data/test-00000" in told


def test_what_an_entry_asks_of_a_hub_and_is_not_there_is_named(tmp_path: Path, hub: FakeHub) -> None:
    hubbed = {"file_name": "rows.json", "ms_hub_url": "me/splits"}
    put(tmp_path, "rows.json")
    assert "they are of the split test, train" in refused(tmp_path, **hubbed, split="dev")
    assert 'has several parts: main, other. Write "subset"' in refused(tmp_path, **{**hubbed, "ms_hub_url": "me/parts"})
    assert "has no data file that is read here" in refused(tmp_path, **{**hubbed, "ms_hub_url": "me/none"})
    assert fetched(tmp_path, "me/parts", subset="main") == ["main/train.jsonl"]
    assert len(fetched(tmp_path, "me/parts", subset="*")) == 2


def test_a_hub_comes_before_a_local_file_which_stands_in_for_it(
    tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "rows.json")
    both = entry(tmp_path, ms_hub_url="me/splits").found()
    assert both.files[0].name == "train-00000-of-00001.jsonl" and "rows.json is not read" in both.notes[0]
    gone = entry(tmp_path, ms_hub_url="me/gone").found()
    assert gone.files == (tmp_path / "rows.json",)
    assert "file_name is used in place of the hub, for the dataset 'me/gone'" in gone.notes[0]
    assert "put its files under data/" not in gone.notes[0]
    (tmp_path / "rows.json").unlink()
    with pytest.raises(DatasetError, match=r"could not be fetched: .* And dataset 'mine' .*no such file"):
        entry(tmp_path, ms_hub_url="me/gone").files()


def test_offline_an_earlier_copy_or_a_sentence_within_seconds(
    tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = fetched(tmp_path, "me/splits")
    asked = len(hub.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetched(tmp_path, "me/splits") == online
    with pytest.raises(DatasetError, match=r"HF_HUB_OFFLINE is set.*put its files under data/"):
        fetched(tmp_path, "me/parts", subset="main")
    assert len(hub.asked) == asked


def test_an_entry_asks_its_hub_once(tmp_path: Path, hub: FakeHub) -> None:
    mine = entry(tmp_path, file_name=None, ms_hub_url="me/splits")
    first, asked = mine.files(), len(hub.asked)
    assert mine.files() == first and len(hub.asked) == asked
