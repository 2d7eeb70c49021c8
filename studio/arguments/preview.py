"""Arguments of `studio data preview`: which part of a dataset is shown, and in which form."""

from __future__ import annotations

from studio.arguments.base import Arguments, arg


class PreviewArguments(Arguments):
    """The page to show."""

    start: int = arg(1, level="basic", ge=1)
    """Number of the first row to show; the first of the file is 1."""

    count: int = arg(3, level="basic", ge=1, le=100_000)
    """How many rows to show."""
