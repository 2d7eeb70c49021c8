"""A reward from a Python function that somebody wrote: found by reading the file, run by importing it."""

from __future__ import annotations

import ast
import importlib.util
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import RewardError
from studio.registry import did_you_mean
from studio.rewards.base import Sample, numbers
from studio.workspace import Workspace

# A function whose first parameter has this name is given one sample at a time.
ONE = "sample"


@dataclass(frozen=True)
class Named:
    """A function by its file and its name; `asked` is how it was written. `each`: it takes one sample at a time."""

    asked: str
    path: Path
    name: str
    each: bool


def find_function(asked: str, place: Workspace) -> Named:
    """The function that `path/to/file.py:name` names, without running the file. Raises StudioError."""
    file, colon, name = asked.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise RewardError(f"--reward_function {asked}: must be path/to/file.py:name, such as rewards.py:reward.")
    path = place.path(file)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except OSError as error:
        raise RewardError(
            f"--reward_function {asked}: {file} cannot be read ({error.strerror}). Check the path."
        ) from None
    except (SyntaxError, ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise RewardError(f"--reward_function {asked}: {file} is no Python that can be read{line} ({error}).") from None
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    if name not in functions:
        held = ", ".join(functions) or "no function"
        hint = did_you_mean(name, functions)
        raise RewardError(f"--reward_function {asked}: {file} defines no function {name}; it defines {held}.{hint}")
    return Named(asked, path, name, _takes_one(asked, functions[name]))


def _takes_one(asked: str, found: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    taken = [*found.args.posonlyargs, *found.args.args]
    needed = len(taken) - len(found.args.defaults)
    wanted = sum(default is None for default in found.args.kw_defaults)
    if isinstance(found, ast.AsyncFunctionDef) or not taken or needed > 1 or wanted:
        raise RewardError(
            f"--reward_function {asked}: must be a plain function of one argument: samples, the list of all, or "
            f"sample, each by itself. Line {found.lineno} declares it otherwise."
        )
    return taken[0].arg == ONE


class FunctionReward:
    """Calls the function; what it raises becomes a sentence that names the line."""

    def __init__(self, found: Named) -> None:
        self.found = found
        self.name = f"function {found.name}"
        self._call = self._imported()

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        """One number for each sample. Raises RewardError."""
        try:
            given = [self._call(sample) for sample in samples] if self.found.each else self._call(list(samples))
        except (Exception, SystemExit) as error:
            raise RewardError(self._told(error, "failed")) from error
        return numbers(given, len(samples), f"--reward_function {self.found.asked}")

    def _imported(self) -> Callable[[Any], Any]:
        spec = importlib.util.spec_from_file_location(f"studio_reward_{self.found.path.stem}", self.found.path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
            call: Callable[[Any], Any] = getattr(module, self.found.name)
        except (Exception, SystemExit) as error:
            raise RewardError(self._told(error, "cannot be imported")) from error
        return call

    def _told(self, error: Exception | SystemExit, what: str) -> str:
        """The error with the line of the user's own file that it came through."""
        lines = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == str(self.found.path)]
        where = f" in line {lines[-1].lineno} ({lines[-1].line})" if lines else ""
        reason = ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split())[:300])))
        return (
            f"--reward_function {self.found.asked} {what}{where}: {reason}. "
            "Mend the function, then give the same command."
        )
