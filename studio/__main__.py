"""The verbs of the command line; each imports what it needs only when it is called."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from studio import __version__
from studio.errors import DiskFullError, StudioError, UsageError

USAGE = """usage: studio VERB [arguments]

  train       train a model: pt goes on with pretraining, sft learns to answer
  export      merge adapters into their base and write a model for other programs
  chat        talk with a model, with or without its adapter
  api         answer any OpenAI client with a model
  data        look at datasets: list, preview, recognise a file
  doctor      is everything here that a run needs, and what to do where it is not
  env         versions and hardware, to paste into a report
  version     the version

studio VERB --help tells a verb's arguments. Everywhere:
  --workspace DIR   the folder with models/, data/, saves/ (else STUDIO_WORKSPACE, else this folder)
  --traceback       show where in the code an error was raised
"""

# What the system says of a path that a person chose badly.
UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP)

VERBS = ("train", "export", "chat", "api", "data", "env", "doctor", "version")

Verb = Callable[[list[str], str], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb and return the exit code; errors of the user are sentences."""
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
