"""Which part of a dataset a file is: folder, subset and split, told by its path within the dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from studio.errors import DatasetError

K = TypeVar("K", Path, str)

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_SHARD = re.compile(r"(\w+)-\d{5}-of-\d{5}")
_NAMED = 8


def choose(files: Mapping[K, str], *, folder: str, subset: str, split: str) -> list[K]:
    """The files (each with its path within the dataset) that lie in a folder, and are of a subset and split.

    Raises DatasetError, with what there is, when none fits.
    """
    chosen = list(files)
    if folder:
        chosen = [file for file in chosen if PurePosixPath(files[file]).is_relative_to(folder.strip("/"))]
        if not chosen:
            there = sorted({str(PurePosixPath(name).parent) for name in files.values()} - {"."})
            found = f"the folders are {listed(there)}" if there else "there are no folders with files"
            raise DatasetError(f"folder {folder!r} holds no data file; {found}")
    if subset and subset != "*":
        within = [file for file in chosen if _says(files[file], subset)]
        if not within:
            raise DatasetError(
                f"subset {subset!r} is neither a folder nor a part of a file's name; "
                f"the files are {listed([files[file] for file in chosen])}"
            )
        chosen = within
    return _of_split(chosen, files, split) if split else chosen


def _of_split(chosen: list[K], files: Mapping[K, str], split: str) -> list[K]:
    wanted = _SPLITS.get(split.lower(), split)
    known = {file: split_of(files[file]) for file in chosen}
    fit = [file for file in chosen if known[file] == wanted]
    if not fit and split.lower() not in _SPLITS:
        fit = [file for file in chosen if _says(files[file], split)]
    there = sorted(set(known.values()) - {""})
    # Nobody writes train into the name of the only part there is.
    if not fit and wanted == "train" and not there:
        return chosen
    if fit:
        return fit
    found = f"they are of the split {', '.join(there)}" if there else "no file's name or folder says a split"
    raise DatasetError(f"split {split!r} is in none of its files; {found}. Correct split, or take it out")


def train_only(files: Mapping[K, str]) -> tuple[list[K], list[K]]:
    """The files to train on where no split is asked for, and the others: all when no name says a split, else train.

    Raises DatasetError when splits are named and train is none of them.
    """
    known = {file: split_of(name) for file, name in files.items()}
    there = sorted(set(known.values()) - {""})
    if there and "train" not in there:
        raise DatasetError(
            f"no split is asked for, so train is read, and the files are of the split {', '.join(there)}. "
            f'Write "split": "{there[0]}" in the entry, or name the files or their folder'
        )
    taken = [file for file in known if not there or known[file] == "train"]
    return taken, [file for file in known if there and known[file] != "train"]


def splits_left(names: Sequence[str]) -> str:
    """A sentence on the files that `train_only` leaves out."""
    there = sorted({split_of(name) for name in names} - {""})
    which = f" ({', '.join(there)})" if there else ""
    return f"only the split train is read, as no split is asked for; not read{which}: {listed(names)}"


def split_of(name: str) -> str:
    """The split that a file's name or a folder above it says, '' for none: train, validation, test or its own word."""
    path = PurePosixPath(name)
    shard = _SHARD.match(path.name)
    if shard and shard[1] not in ("data", "part", "shard"):
        return _SPLITS.get(shard[1].lower(), shard[1])
    for part in (path.name.partition(".")[0], *reversed(path.parts[:-1])):
        for word in re.split(r"[^A-Za-z]+", part):
            if word.lower() in _SPLITS:
                return _SPLITS[word.lower()]
    return ""


def _says(name: str, word: str) -> bool:
    """Whether a folder is called so, or the file's name begins with it or holds it between marks."""
    path = PurePosixPath(name)
    return word in path.parts[:-1] or re.search(rf"(^|[-_. ]){re.escape(word)}([-_. ]|$)", path.name) is not None


def part_of(name: str) -> str:
    """The folder a file lies in, without those that only say the split."""
    folders = [folder for folder in PurePosixPath(name).parts[:-1] if folder.lower() not in (*_SPLITS, "data")]
    return "/".join(folders) or "the top"


def listed(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
