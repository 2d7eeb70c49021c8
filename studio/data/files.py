"""Which files a dataset is: a path, a list, patterns, folders, a hub, and the part of them that is asked for."""

from __future__ import annotations

import glob
import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from studio.data.encoding import read_head
from studio.data.parts import choose, listed, part_of, split_of, splits_left, train_only
from studio.data.readers import is_data
from studio.data.shards import INDEX, index_of, shard_files
from studio.data.shards import listed as listed_shard
from studio.errors import DatasetError, StudioError
from studio.registry import did_you_mean
from studio.workspace import resolve

if TYPE_CHECKING:
    from studio.data.entry import DatasetEntry, HubSource

# What stands beside data and holds no rows: texts about it, and what libraries write about it.
_ABOUT = re.compile(
    r"(readme|licen[sc]es?|notice)[^.]*(\.(txt|rst|html|pdf))?|.*\.md|_success|dataset_(infos?|dict)\.json|state\.json",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Found:
    """The files of a dataset in the order they are read, and sentences on what was left out or done.

    `split` is train where nobody asked for a split and files of others were left out.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    split: str = ""


def local_files(entry: DatasetEntry) -> Found:
    """The files that `file_name` means, each there and readable. Raises DatasetError."""
    files: dict[Path, str] = {}
    notes: list[str] = []
    by_name: dict[str, dict[Path, str]] = {}
    for asked in entry.file_name:
        found, told = _of_name(entry, asked)
        by_name[asked] = found
        twice = [path.name for path in found if path in files]
        notes += [*told, *([f"{listed(twice)}: named twice in file_name, read once"] if twice else [])]
        files |= found
    explicit = all(_resolved(entry, asked).is_file() for asked in entry.file_name)
    # One file that is named is the whole dataset, so that it is its train split needs no proof.
    if not (explicit and len(files) == 1 and entry.split in ("", "train")):
        folder, subset = ("", "") if entry.hub else (entry.folder, entry.subset)
        try:
            chosen = choose(files, folder=folder, subset=subset, split=entry.split)
        except DatasetError as error:
            raise DatasetError(f"{entry.says('file_name')}{error}.") from None
        files = {path: files[path] for path in chosen}
    meant = set[Path]()
    for asked, found in by_name.items():
        meant |= _meant(entry, asked, {path: name for path, name in found.items() if path in files})
    others = [files.pop(path) for path in list(files) if path not in meant]
    notes += [splits_left(others)] if others else []
    for path in files:
        # A shard was found as its index says, and its head is looked at when it is read: there may be very many.
        if path.is_symlink() or listed_shard(path) is None:
            _resolved(entry, str(path))
            read_head(path)
    return Found(tuple(files), tuple(f"dataset {entry.name!r}: {note}" for note in notes), "train" if others else "")


def _meant(entry: DatasetEntry, asked: str, found: Mapping[Path, str]) -> set[Path]:
    """Of the files of one text of `file_name` those of the split that is meant: train, unless the entry says another.

    It says so by split, by naming a file, or by a word in a pattern, folder or subset.
    Raises DatasetError where splits are named and train is none of them.
    """
    path, within = _resolved(entry, asked), "" if entry.hub else f"{entry.folder}/{entry.subset}/"
    if entry.split or path.is_file() or split_of(f"{within}_"):
        return set(found)
    names = dict(found)
    if not path.is_dir():
        fixed = _fixed(asked)
        if split_of(str(Path(asked).expanduser().relative_to(fixed))):
            return set(found)
        names = {file: str(PurePosixPath(name).relative_to(fixed)) for file, name in found.items()}
    try:
        return set(train_only(names)[0])
    except DatasetError as error:
        raise DatasetError(f"{entry.says('file_name')}{error}.") from None


def _fixed(pattern: str) -> Path:
    """The folder that all files of a pattern lie below."""
    parts = Path(pattern).expanduser().parts
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), parts))


def hub_files(entry: DatasetEntry, hub: HubSource) -> Found:
    """The files of a dataset on a hub, fetched; when the hub fails those of `file_name`, with a note.

    Raises DatasetError.
    """
    from studio.model.hub import LOCAL_DATA, fetch_dataset, list_dataset

    try:
        names = list_dataset(hub.repo, where=hub.where, revision=hub.revision, cache=None)
        chosen, left = _of_hub(entry, hub, [name for name in names if is_data(Path(name)) and not _is_about(name)])
        folder = fetch_dataset(
            hub.repo,
            where=hub.where,
            revision=hub.revision,
            patterns=[glob.escape(name) for name in chosen],
            cache=None,
        )
    except DatasetError as error:
        if not entry.file_name or isinstance(error, _WrongPart):
            raise
        try:
            local = local_files(entry)
        except DatasetError as missing:
            raise DatasetError(f"{error} And {missing}") from None
        # The way out that the complaint names is the one that is taken here.
        why = str(error).removesuffix(LOCAL_DATA).strip()
        note = f"dataset {entry.name!r}: file_name is used in place of the hub, for {why}"
        return Found(local.files, (*local.notes, note), local.split)
    files = tuple(folder / name for name in chosen)
    for path in files:
        read_head(path)
    hint = f"; {entry.file_name[0]} is not read" if entry.file_name else ""
    note = f"dataset {entry.name!r} is {hub.repo} on the hub: {listed(chosen)}{hint}"
    told = [f"dataset {entry.name!r}: {splits_left(left)}"] if left else []
    return Found(files, (note, *told))


class _WrongPart(DatasetError):
    """The hub answered, and what the entry asks of it is not there."""


def _of_hub(entry: DatasetEntry, hub: HubSource, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The data files of a repository that the entry means, and those left out as of another split than train."""
    says = f"{entry.says('hub').removesuffix(': ')} {hub.repo}"
    if not names:
        raise _WrongPart(f"{says} has no data file that is read here. Choose another, or convert its files.")
    try:
        chosen = choose({name: name for name in names}, folder=hub.folder, subset=hub.subset, split=entry.split)
        left: list[str] = []
        if not entry.split and not split_of(f"{hub.folder}/{hub.subset}/_"):
            chosen, left = train_only({name: name for name in chosen})
    except DatasetError as error:
        raise _WrongPart(f"{says}: {error}.") from None
    parts = sorted({part_of(name) for name in chosen})
    if len(parts) > 1 and not hub.folder and not hub.subset:
        raise _WrongPart(
            f'{says} has several parts: {listed(parts)}. Write "subset" to choose one, or "subset": "*" for all.'
        )
    return chosen, left


def _of_name(entry: DatasetEntry, asked: str) -> tuple[dict[Path, str], list[str]]:
    """The files one text of `file_name` means, each with its path within the dataset, and what to tell."""
    path = _resolved(entry, asked)
    if path.is_dir():
        found, notes = _of_folder(entry, path)
        return {file: file.relative_to(path).as_posix() for file in found}, notes
    if path.exists():
        if (entry.folder or entry.subset) and not entry.hub:
            key = "folder" if entry.folder else "subset"
            raise DatasetError(f"{entry.says(key)}it chooses within a folder, and {asked} is a file; take {key} out.")
        return {path: Path(asked).name if Path(asked).is_absolute() else asked}, []
    if glob.has_magic(asked):
        return _of_pattern(entry, asked)
    link = "a link that leads nowhere stands there" if path.is_symlink() else "there is no such file"
    raise DatasetError(f"{entry.says('file_name')}{path}: {link}.{_spelling(path)}")


def _of_pattern(entry: DatasetEntry, asked: str) -> tuple[dict[Path, str], list[str]]:
    pattern = str(Path(asked).expanduser())
    # Path.glob would take hidden files in.
    names = sorted(glob.glob(pattern, root_dir=entry.base, recursive=True))  # noqa: PTH207
    paths = {_resolved(entry, name): name for name in names}
    files = {path: name for path, name in paths.items() if not path.is_dir()}
    kept = {path: name for path, name in files.items() if not _is_about(path.name)}
    if not kept:
        there = entry.base / _fixed(asked)
        beside = sorted(path.name for path in there.iterdir()) if there.is_dir() else []
        raise DatasetError(
            f"{entry.says('file_name')}no file fits {asked!r}; {there} holds {listed(beside) or 'nothing'}. "
            "Correct the pattern."
        )
    _refuse_strange(entry, [path.name for path in kept if not is_data(path)], f"{asked!r} takes in")
    left = [name for path, name in files.items() if path not in kept]
    return kept, [f"left out {listed(left)}"] if left else []


def _of_folder(entry: DatasetEntry, folder: Path) -> tuple[list[Path], list[str]]:
    """The data files anywhere in a folder, and which others are left out."""
    found, left, strange = list[Path](), list[str](), list[str]()
    for here, folders, names in os.walk(folder):
        top = Path(here)
        left += [str((top / name).relative_to(folder)) + "/" for name in folders if _is_closed(top / name)]
        folders[:] = sorted(name for name in folders if not _is_closed(top / name))
        if (index := index_of(top)) is not None:
            own, others = shard_files(index)
            found += own
            left += [f"{name} (not in {INDEX})" for name in others]
            continue
        shards = _saved_shards(top / "state.json")
        for path in (top / name for name in sorted(names)):
            shown = str(path.relative_to(folder))
            if path.name.startswith(".") or _is_about(path.name) or (shards and path.name not in shards):
                left.append(shown)
            elif is_data(path):
                found.append(path)
            else:
                strange.append(shown)
    _refuse_strange(entry, strange, f"{folder} holds")
    if not found:
        raise DatasetError(f"{entry.says('file_name')}the folder {folder} holds no data file. Put one there.")
    return found, [f"left out of {folder}: {listed(left)}"] if left else []


def _is_closed(folder: Path) -> bool:
    """Whether a folder below is not gone into: hidden, of licences, or a link, which could lead in a circle."""
    return folder.name.startswith((".", "__")) or _is_about(folder.name) or folder.is_symlink()


def _is_about(name: str) -> bool:
    return _ABOUT.fullmatch(PurePosixPath(name).name) is not None


def _saved_shards(state: Path) -> set[str]:
    """The data files that `datasets` lists in a folder it saved; others beside them are its cache."""
    try:
        listed = json.loads(state.read_text(encoding="utf-8"))["_data_files"]
        return {str(each["filename"]) for each in listed}
    except (OSError, ValueError, LookupError, TypeError):
        return set()


def _refuse_strange(entry: DatasetEntry, names: list[str], where: str) -> None:
    if names:
        raise DatasetError(
            f"{entry.says('file_name')}{where} {listed(names)}, which no reader takes. "
            'Name the data files, or write a pattern such as "folder/*.jsonl".'
        )


def _resolved(entry: DatasetEntry, asked: str) -> Path:
    try:
        return resolve(entry.base, asked)
    except StudioError as error:
        raise DatasetError(f"{entry.says('file_name')}{error}") from None


def _spelling(path: Path) -> str:
    """' Write …' when another spelling of the path exists, else what is near, else what to do."""
    real = Path(path.anchor)
    for part in path.parts[1:]:
        if (real / part).exists():
            real /= part
            continue
        try:
            present = [found.name for found in real.iterdir()]
        except OSError:
            present = []
        same = [name for name in present if name.casefold() == part.casefold()]
        if not same:
            within = path.parent / "data" / path.name
            near = f" Did you mean {within}?" if within.exists() else did_you_mean(part, present)
            return near or f" Put it there, or correct the path ({real} exists)."
        real /= same[0]
    return f" The right spelling is {real}; upper and lower case count."
