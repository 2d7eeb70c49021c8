"""What can go wrong, as sentences: what must hold, what came, what to do.

Every error a user can cause is a `StudioError`. Its text is shown as it is, in the terminal
and in the page, without a traceback. Each class carries the exit code of the command.

    StudioError            10  bad input
    ├── UsageError          2  the command line cannot be read
    ├── ArgumentError      10  one or more arguments are wrong (all told at once)
    ├── WorkspaceError      3  the workspace or a folder is in use or unusable
    ├── SchemaError         4  a file was written by a newer version
    ├── DatasetError       10  the registry or a data file
    │   └── RowError       10  one row of a data file
    ├── ModelError         10  weights, tokenizer, template
    ├── RewardError        10  where rewards come from
    ├── SaveError          10  weights could not be written, for another reason than a full disk
    ├── DiskFullError      11
    ├── MemoryFullError    12
    ├── DivergedError      13
    ├── StoppedError       14  stopped on request, state saved
    ├── ResumeError        15  the checkpoint does not fit what is asked
    └── LostError          16  another process of the same run ended
"""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """So many of a thing as a sentence says it: '1 row', '1,204 rows'."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


class StudioError(Exception):
    """A sentence for the user; `exit_code` is what the command ends with."""

    exit_code = 10


class UsageError(StudioError):
    """The command line itself cannot be read."""

    exit_code = 2


class ArgumentError(StudioError):
    """One or more wrong arguments. `complaints` holds one sentence each, all of them."""

    def __init__(self, complaints: list[str]) -> None:
        self.complaints = complaints
        super().__init__("\n".join(complaints))

    def __reduce__(self) -> tuple[type[ArgumentError], tuple[list[str]]]:
        return type(self), (self.complaints,)


class WorkspaceError(StudioError):
    """The workspace or a run folder is in use, or is not what it must be."""

    exit_code = 3


class SchemaError(StudioError):
    """A file was written by a newer version of the studio."""

    exit_code = 4


class DatasetError(StudioError):
    """A registry entry or a data file cannot be used as asked."""


class RowError(DatasetError):
    """One row cannot become an `Example`: where it is and why.

    `file` and `row` (counted from 1) may be filled in later by whoever knows them.
    """

    def __init__(self, why: str, *, column: str = "", file: str = "", row: int = 0) -> None:
        self.why, self.column, self.file, self.row = why, column, file, row
        place = f"{file}: " if file else ""
        place += f"row {row}: " if row else ""
        place += f"column {column!r}: " if column else ""
        super().__init__(place + why)

    def __reduce__(self) -> tuple[object, ...]:
        return _row_error, (self.why, self.column, self.file, self.row)

    def at(self, file: str, row: int) -> RowError:
        """The same complaint with its place."""
        return RowError(self.why, column=self.column, file=file, row=row)


def _row_error(why: str, column: str, file: str, row: int) -> RowError:
    return RowError(why, column=column, file=file, row=row)


class ModelError(StudioError):
    """Weights, tokenizer or chat template cannot be used as asked."""


class RewardError(StudioError):
    """A source of rewards cannot be used as asked, or gave no numbers."""


class SaveError(StudioError):
    """Weights could not be written, for another reason than a full disk."""


class DiskFullError(StudioError):
    """The disk is full, or would be."""

    exit_code = 11


class MemoryFullError(StudioError):
    """Memory of the device or of the machine ran out."""

    exit_code = 12


class DivergedError(StudioError):
    """The loss or a gradient is not finite any more."""

    exit_code = 13


class StoppedError(StudioError):
    """Stopped on request, with the state saved."""

    exit_code = 14


class ResumeError(StudioError):
    """What was saved does not fit what is asked now."""

    exit_code = 15


class LostError(StudioError):
    """Another process of the same run cannot be reached any more. That one's end is the reason, not this one's."""

    exit_code = 16
