"""Registry[T]: a name leads to a thing, and a wrong name to a suggestion."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from studio.errors import StudioError

T = TypeVar("T")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' Did you mean x?' for the nearest known name, or '' when none is near."""
    names = list(known)
    same = [each for each in names if each.casefold() == name.casefold()]
    near = same or difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    return f" Did you mean {near[0]}?" if near else ""


class Registry(Generic[T]):
    """Things of one kind, by name. `kind` is the word used in complaints."""

    def __init__(self, kind: str, load: Callable[[], None] | None = None) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}
        # Called once, before the first look-up: imports the modules that add the things.
        self._load = load
        # A second thread waits until all things are there; what is imported may itself look something up.
        self._lock = threading.RLock()
        self._ready = load is None

    def add(self, name: str, thing: T) -> T:
        """Put a thing under a name that is still free."""
        if name in self._things:
            raise ValueError(f"two {self.kind}s are named {name!r}")
        self._things[name] = thing
        return thing

    def named(self, name: str) -> Callable[[T], T]:
        """As a decorator: `@FORMATS.named("alpaca")`."""
        return lambda thing: self.add(name, thing)

    def __getitem__(self, name: str) -> T:
        things = self._all()
        if name not in things:
            raise StudioError(
                f"no {self.kind} is named {name!r}; there are {', '.join(things)}." + did_you_mean(name, things)
            )
        return things[name]

    def __contains__(self, name: str) -> bool:
        return name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def _all(self) -> dict[str, T]:
        if not self._ready:
            with self._lock:
                load, self._load = self._load, None
                if load is not None:
                    load()
                    self._ready = True
        return self._things
