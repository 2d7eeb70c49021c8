"""Arguments of `studio data`: which part of a dataset is shown, and how a file without an entry is read."""

from __future__ import annotations

from studio.arguments.base import Arguments, Text, arg


class PreviewArguments(Arguments):
    """The page to show."""

    start: int = arg(1, level="basic", ge=1)
    """Number of the first row to show; the first of the file is 1."""

    count: int = arg(3, level="basic", ge=1, le=100_000)
    """How many rows to show."""


class SourceArguments(Arguments):
    """What a file without an entry does not say itself."""

    encoding: Text = arg("", level="basic")
    """Encoding of a text file that is not UTF-8, such as gb18030, utf-16 or big5."""


class EntryArguments(Arguments):
    """The entry that is written for a file."""

    name: Text = arg("", level="basic")
    """Name of the new entry; unset: the name of the file without its ending."""
