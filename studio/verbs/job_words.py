"""The words of `studio jobs`: flags, values, and which jobs are meant."""

from __future__ import annotations

from studio.errors import StudioError, UsageError
from studio.jobs.job import Job
from studio.jobs.runs import RunRow, read_run
from studio.jobs.store import Store
from studio.workspace import Workspace


def find(word: str, place: Workspace, store: Store) -> Job | RunRow:
    """The job of a number, or the job or run of a folder. Raises StudioError."""
    if word.isdecimal() and len(word) < 18:
        return store.get(int(word))
    folder = place.path(word)
    real = str(folder.resolve())
    row = read_run(folder)
    for job in store.jobs(limit=1_000_000):
        # A run that a terminal started in the folder of an old job stands for itself.
        if job.output == real and (row is None or row.job is not None or row.state != "running" or job.active):
            return job
    if row is None:
        raise StudioError(
            f"{word!r} is neither the number of a job nor the folder of a run. studio jobs list shows them."
        )
    return row


def flag(words: list[str], name: str) -> bool:
    """Whether a flag was given; it is taken out of the words."""
    found = name in words
    while name in words:
        words.remove(name)
    return found


def value(words: list[str], name: str) -> str:
    """The value of a flag, taken out with it; '' when it was not given."""
    for index, word in enumerate(words):
        if word.startswith(f"{name}="):
            return words.pop(index).partition("=")[2]
        if word == name:
            if index + 1 == len(words):
                raise UsageError(f"{name} needs a value.")
            del words[index]
            return words.pop(index)
    return ""


def nothing_more(words: list[str], verb: str) -> None:
    """Refuse words that are left. Raises UsageError."""
    if words:
        raise UsageError(f"studio jobs {verb} takes no {words[0]!r}. See studio jobs --help.")


def some(words: list[str], verb: str) -> list[str]:
    """The jobs that are named, at least one. Raises UsageError."""
    for word in words:
        if word.startswith("-"):
            raise UsageError(f"studio jobs {verb} takes no {word!r}. See studio jobs --help.")
    if not words:
        raise UsageError(f"studio jobs {verb} needs the number of a job or the folder of a run.")
    return words


def one(words: list[str], verb: str) -> str:
    """The one job that is named. Raises UsageError."""
    found = some(words, verb)
    if len(found) > 1:
        raise UsageError(f"studio jobs {verb} takes one job; got {', '.join(found)}.")
    return found[0]
