"""The verbs of the command line; each imports what it needs only when it is called.

Older Pythons must be able to read this file and what it imports here, to hear that they are too old.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from studio import __version__
from studio.errors import DiskFullError, StudioError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Verb = Callable[[list[str], str], int]

OLDEST_PYTHON = (3, 11)

USAGE = """usage: studio VERB [arguments]

  webui       the studio in the browser: train, look at data, watch, chat, export
  train       train a model: pt goes on with pretraining, sft learns to answer
  export      merge adapters into their base and write a model for other programs
  chat        talk with a model, with or without its adapter
  api         answer any OpenAI client with a model
  data        look at datasets, clean them, make shards and mixtures of them
  tokenizer   vocabularies: train, extend, inspect; a model from nothing
  eval        measure a model: single choice, answers, perplexity, pairs
  jobs        what runs, waits and ran: list, show, logs, stop, resume, clone
  worker      take jobs from the queue (webui starts one by itself)
  doctor      is everything here that a run needs, and what to do where it is not
  env         versions and hardware, to paste into a report
  version     the version

studio VERB --help tells a verb's arguments. Everywhere:
  --workspace DIR   the folder with models/, data/, saves/ (else STUDIO_WORKSPACE, else this folder)
  --traceback       show where in the code an error was raised
"""

# What the system says of a path that a person chose badly.
UNUSABLE = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP,
    errno.ENOENT, errno.EEXIST, errno.EISDIR,
)  # fmt: skip

VERBS = (
    "webui",
    "train",
    "export",
    "chat",
    "api",
    "data",
    "tokenizer",
    "eval",
    "jobs",
    "worker",
    "env",
    "doctor",
    "version",
)


def unfit(version: tuple[int, ...], platform: str) -> str:
    """Why studio cannot run on a Python of this version on this system, and what to do; '' where it can."""
    if tuple(version[:2]) < OLDEST_PYTHON:
        return (
            "studio needs Python {}.{} or newer; this is {}.{} ({}). Make an environment with a newer one, for example "
            'python3.11 -m venv .venv, and install studio there: README.md, "Where it runs".'
        ).format(*OLDEST_PYTHON, version[0], version[1], sys.executable)
    if platform != "linux":
        return (
            f"studio runs on Linux; this is {platform}. On Windows use it inside WSL 2, elsewhere in a Linux container "
            'or on a Linux machine that you reach by ssh: README.md, "Where it runs".'
        )
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb and return the exit code; errors of the user are sentences."""
    if reason := unfit(sys.version_info[:2], sys.platform):
        sys.stderr.write(reason + "\n")
        return 2
    words = list(sys.argv[1:] if argv is None else argv)
    shows_trace = _take_flag(words, "--traceback")
    if not words or words[0] in ("--help", "-h", "help"):
        print(USAGE, end="")
        return 0
    if words[0] in ("version", "--version"):
        print(f"studio {__version__}")
        return 0
    try:
        workspace = _take_value(words, "--workspace")
        if not words:
            raise UsageError(f"studio needs a verb.\n\n{USAGE}")
        _check_endpoint(os.environ.get("HF_ENDPOINT", ""))
        return _verb(words[0])(words[1:], workspace)
    except StudioError as error:
        return _tell(error, shows_trace)
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno in UNUSABLE and error.filename:
            text = f"{error.filename} cannot be used: {error.strerror}. Choose another place, or change its rights."
            return _tell(StudioError(text), shows_trace)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = f" while writing {error.filename}" if error.filename else ""
        return _tell(DiskFullError(f"the disk is full{place}. Free space, then give the same command."), shows_trace)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return 130


def _tell(error: StudioError, shows_trace: bool) -> int:
    if shows_trace:
        traceback.print_exception(error)
    elif os.environ.get("RANK", "0") == "0":
        sys.stderr.write(f"{error}\n")
    return error.exit_code


def _check_endpoint(address: str) -> None:
    """Raise StudioError for an address that the libraries cannot read: they would end while they are imported."""
    try:
        _ = urlsplit(address).port
    except ValueError as error:
        shown = address.rpartition("@")[2]
        raise StudioError(
            f"HF_ENDPOINT must be the address of a hub, such as https://huggingface.co; {shown!r} is none ({error}). "
            "Correct it, or unset it."
        ) from None


def _verb(name: str) -> Verb:
    """The function of a verb."""
    if name not in VERBS:
        from studio.registry import did_you_mean

        raise UsageError(f"studio {name}: there is no such verb.{did_you_mean(name, VERBS)}\n\n{USAGE}")
    found: Verb = importlib.import_module(f"studio.verbs.{name}").run
    return found


def _take_flag(words: list[str], name: str) -> bool:
    found = name in words
    while name in words:
        words.remove(name)
    return found


def _take_value(words: list[str], name: str) -> str:
    for index, word in enumerate(words):
        if word.startswith(f"{name}="):
            return words.pop(index).partition("=")[2]
        if word == name:
            if index + 1 == len(words):
                raise UsageError(f"{name} needs a value: a folder.")
            del words[index]
            return words.pop(index)
    return ""


if __name__ == "__main__":
    sys.exit(main())
