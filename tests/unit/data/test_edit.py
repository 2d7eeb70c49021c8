"""The registry as a text: what is refused with its place, what is kept, and that nobody's work is lost."""

import json
import multiprocessing
from pathlib import Path

import pytest

from studio.data import edit
from studio.data.catalog import Unreadable
from studio.data.register import register
from studio.errors import DatasetError, StudioError, WorkspaceError
from studio.workspace import Workspace

GOOD = '{\n  "one": {"file_name": "one.json"}\n}\n'
BETTER = '{\n  "one": {"file_name": "one.json"},\n  "two": {"file_name": "two.json"}\n}\n'


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    (tmp_path / "data").mkdir()
    (tmp_path / "dataset_info.json").write_text(GOOD)
    return Workspace(tmp_path.resolve())


def save(place: Workspace, text: str, version: str | None = None, *, broken: bool = False) -> str:
    path = place.dataset_info
    return edit.save(path, place.data, text, edit.read(path)[1] if version is None else version, place, broken=broken)


def test_what_is_saved_is_on_the_disk_and_its_version_goes_on(place: Workspace) -> None:
    version = save(place, BETTER)
    assert edit.read(place.dataset_info) == (BETTER, version)
    assert save(place, GOOD, version) != version


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('{\n  "one": {"file_name": "one.json",}\n}', 2, 34),
        ('{"a": {}', 1, 9),
        ('// mine\n{"a": {}}', 1, 1),
        ("[1]", 1, 1),
        ("   ", 1, 1),
        ('{"a": \x00}', 1, 7),
        ('{"a": "\ud800"}', 1, 8),
    ],
)
def test_a_text_that_is_no_registry_is_refused_with_its_place(
    place: Workspace, text: str, line: int, column: int
) -> None:
    with pytest.raises(Unreadable) as caught:
        save(place, text, broken=True)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert place.dataset_info.read_text() == GOOD


def test_a_nesting_without_end_is_refused(place: Workspace) -> None:
    with pytest.raises(Unreadable):
        save(place, '{"a": ' + "[" * 100_000)


def test_broken_entries_are_told_with_their_lines_and_saved_only_when_asked(place: Workspace) -> None:
    text = (
        '{\n  "good": {"file_name": "a.json"},\n  "bad": {"file_nme": "b.json"},\n  "a,b": {"file_name": "c.json"}\n}\n'
    )
    with pytest.raises(edit.BrokenEntries) as caught:
        save(place, text)
    assert [(each.name, each.line) for each in caught.value.entries] == [("bad", 3), ("a,b", 4)]
    assert "file_name" in caught.value.entries[0].sentence
    assert place.dataset_info.read_text() == GOOD
    save(place, text, broken=True)
    assert place.dataset_info.read_text() == text
    assert edit.usable_catalog(place)[0]["good"].formatting == "alpaca"


def test_a_name_that_stands_twice_is_told_at_its_lines(place: Workspace) -> None:
    text = '{\n"a": {"file_name": "a.json"},\n"a": {"file_name": "b.json"}\n}'
    (found,) = edit.check(text, place.dataset_info, place.data)
    assert "lines 2 and 3" in found.sentence


def test_a_registry_that_was_changed_meanwhile_is_not_overwritten(place: Workspace) -> None:
    _, version = edit.read(place.dataset_info)
    place.dataset_info.write_text(BETTER)
    with pytest.raises(edit.Changed) as caught:
        save(place, GOOD, version)
    assert caught.value.text == BETTER
    assert caught.value.exit_code == WorkspaceError.exit_code
    assert place.dataset_info.read_text() == BETTER
    # Whoever has seen the other text may save over it.
    save(place, GOOD, caught.value.version)
    assert place.dataset_info.read_text() == GOOD


def test_a_registry_that_appeared_meanwhile_is_not_overwritten(place: Workspace) -> None:
    place.dataset_info.unlink()
    assert edit.read(place.dataset_info) == ("", "")
    place.dataset_info.write_text(BETTER)
    with pytest.raises(edit.Changed):
        save(place, GOOD, "")


def test_what_stood_there_before_is_kept_and_the_oldest_of_it_goes(place: Workspace) -> None:
    texts = [f'{{"n{number}": {{"file_name": "a.json"}}}}' for number in range(edit.BACKUPS + 3)]
    for text in texts:
        save(place, text)
    kept = edit.backups(place.dataset_info, place)
    assert len(kept) == edit.BACKUPS
    assert edit.backup(place.dataset_info, kept[0].name, place) == texts[-2]
    with pytest.raises(DatasetError):
        edit.backup(place.dataset_info, "../../dataset_info.json", place)


def test_registering_a_file_keeps_what_stood_there_too(place: Workspace) -> None:
    (place.data / "two.json").write_text('[{"instruction": "a", "output": "b"}]')
    register("two", {"file_name": "two.json"}, place)
    (kept,) = edit.backups(place.dataset_info, place)
    assert kept.read_text() == GOOD


def test_line_ends_and_byte_order_mark_stay(place: Workspace) -> None:
    place.dataset_info.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    text, version = edit.read(place.dataset_info)
    save(place, text.replace("\r\n", "\n").replace("one.json", "数.json"), version)
    data = place.dataset_info.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf{\r\n")
    assert "数.json" in data.decode()
    assert b"\n" not in data.replace(b"\r\n", b"")


def test_a_link_to_the_registry_stays_a_link(place: Workspace, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.json"
    place.dataset_info.rename(real)
    place.dataset_info.symlink_to(real)
    save(place, BETTER)
    assert place.dataset_info.is_symlink()
    assert real.read_text() == BETTER


def test_while_a_registry_is_broken_its_last_good_text_is_in_use(place: Workspace) -> None:
    save(place, BETTER)
    assert edit.usable_catalog(place)[1] == []
    place.dataset_info.write_text(BETTER[:30])
    catalog, (broken,) = edit.usable_catalog(place)
    assert catalog.names == ["one", "two"]
    assert broken.line == 2
    place.dataset_info.write_text(GOOD)
    assert edit.usable_catalog(place)[0].names == ["one"]


@pytest.mark.parametrize("data", [b"", b"\xff\xfe{\x00}\x00", b"version https://git-lfs.github.com/spec/v1\n"])
def test_whatever_lies_there_is_told_and_the_last_good_text_stays(place: Workspace, data: bytes) -> None:
    edit.usable_catalog(place)
    place.dataset_info.write_bytes(data)
    catalog, (broken,) = edit.usable_catalog(place)
    assert catalog.names == ["one"]
    assert broken.sentence


def test_a_registry_that_was_never_right_lists_nothing(place: Workspace) -> None:
    place.dataset_info.write_text("{")
    catalog, broken = edit.usable_catalog(place)
    assert catalog.names == []
    assert len(broken) == 1


def test_both_registries_are_kept_apart(place: Workspace) -> None:
    inner = place.data / "dataset_info.json"
    inner.write_text('{"inner": {"file_name": "i.json"}}')
    edit.usable_catalog(place)
    inner.write_text("{")
    place.dataset_info.write_text("{")
    catalog, broken = edit.usable_catalog(place)
    assert catalog.names == ["one", "inner"]
    assert len(broken) == 2


def _save_in_a_loop(root: str, mark: str, count: int) -> None:
    place = Workspace(Path(root))
    done = 0
    while done < count:
        text, version = edit.read(place.dataset_info)
        entries = json.loads(text) | {f"{mark}{done}": {"file_name": "a.json"}}
        try:
            edit.save(place.dataset_info, place.data, json.dumps(entries), version, place)
        except edit.Changed:
            continue
        done += 1


def test_two_that_save_at_once_lose_nothing_of_each_other(place: Workspace) -> None:
    spawn = multiprocessing.get_context("fork")
    both = [spawn.Process(target=_save_in_a_loop, args=(str(place.root), mark, 15)) for mark in "ab"]
    for each in both:
        each.start()
    for each in both:
        each.join(60)
    assert [each.exitcode for each in both] == [0, 0]
    found = json.loads(place.dataset_info.read_text())
    assert len(found) == 31


def test_a_registry_outside_the_roots_is_not_reached(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_ROOTS", str(place.root / "data"))
    with pytest.raises(StudioError, match="outside"):
        edit.registry_path(place, place.dataset_info)
