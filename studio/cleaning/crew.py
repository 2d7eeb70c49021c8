"""Chunks of rows cleaned by several processes, their results in order; memory holds a few chunks for each."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from studio.cleaning import chunk, language, mend, units
from studio.cleaning.chunk import Cleaned, Recipe
from studio.cleaning.sources import Source, placed_rows
from studio.data.reading import Placed
from studio.errors import MemoryFullError, RowError
from studio.model.hardware import cores
from studio.model.worker import begin_worker

# A chunk ends at so many rows, or characters of them.
ROWS, CHARACTERS = 2_000, 1_000_000
# Less is cleaned sooner than processes start.
_WORTH_PROCESSES = 4 * 2**20
_WAITING = 3


def cleaned(recipe: Recipe, source: Source, workers: int | None, hear: Callable[[float], None]) -> Iterator[Cleaned]:
    """The chunks of a source, cleaned. Raises DatasetError for a broken file, MemoryFullError for a lost process."""
    count = workers or cores()
    every = _chunks(source, hear)
    if count == 1 or source.size < _WORTH_PROCESSES:
        yield from (chunk.clean(recipe, some) for some in every)
        return
    _warm(recipe)
    # Forked, so that tables and the model of languages are shared.
    with ProcessPoolExecutor(count, multiprocessing.get_context("fork"), begin_worker) as crew:
        try:
            # The processes start now, before a reader has threads of its own.
            crew.submit(int).result()
            yield from _in_order(crew, recipe, every, count * _WAITING)
        except BrokenProcessPool:
            raise MemoryFullError(
                "a process that cleaned rows was ended from outside, most likely because memory ran out. Use fewer "
                "with --preprocessing_num_workers 1, or close other programs."
            ) from None
        finally:
            crew.shutdown(wait=True, cancel_futures=True)


def _in_order(crew: ProcessPoolExecutor, recipe: Recipe, every: Iterator[list[Placed]], most: int) -> Iterator[Cleaned]:
    waiting: deque[Future[Cleaned]] = deque()
    for some in every:
        waiting.append(crew.submit(chunk.clean, recipe, some))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _warm(recipe: Recipe) -> None:
    """Load before the fork what every process needs."""
    units.units_of(["a"])
    mend.repair_encoding("Ã©")
    if recipe.asked.filters.languages:
        language.foreign("a" * language.FEWEST_LETTERS, ("en",), 0.0)


def _chunks(source: Source, hear: Callable[[float], None]) -> Iterator[list[Placed]]:
    some: list[Placed] = []
    size = 0
    for placed in placed_rows(source, hear):
        some.append(placed)
        size += 0 if isinstance(placed.value, RowError) else sum(_length(value) for value in placed.value.values())
        if len(some) == ROWS or size > CHARACTERS:
            yield some
            some, size = [], 0
    if some:
        yield some


def _length(value: object) -> int:
    """About how many characters a value has."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list | tuple):
        return sum(map(_length, value))
    return sum(map(_length, value.values())) if isinstance(value, dict) else 8
