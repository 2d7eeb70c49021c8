"""Several rows in one sequence: which rows share one, so that little of it stays empty."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Sequence

from studio.errors import DatasetError


def pack(lengths: Sequence[int], capacity: int, seed: int) -> list[list[int]]:
    """Groups of row numbers (from 0) whose lengths sum to at most `capacity` tokens.

    Every row stands in exactly one group. Longest rows first, each into the fullest group that
    still has room for it (best fit decreasing). The seed decides between rows of equal length and
    the order of the groups; equal arguments give equal groups.

    Raises DatasetError for a row longer than the capacity.
    """
    longest = max(lengths, default=0)
    if longest > capacity:
        raise DatasetError(
            f"a packed sequence holds {capacity} tokens; one row has {longest}. "
            f"Raise cutoff_len to {longest} or switch packing off."
        )
    chance = random.Random(seed)
    order = list(range(len(lengths)))
    chance.shuffle(order)
    order.sort(key=lengths.__getitem__, reverse=True)

    groups: list[list[int]] = []
    # Free tokens → the groups with exactly that many, and the free sizes in order: one look-up by
    # bisection finds the tightest fit however many groups are open.
    open_groups: dict[int, list[int]] = {}
    free_sizes: list[int] = []
    for row in order:
        length = lengths[row]
        place = bisect_left(free_sizes, length)
        if place == len(free_sizes):
            group, free = len(groups), capacity
            groups.append([])
        else:
            free = free_sizes[place]
            group = open_groups[free].pop()
            if not open_groups[free]:
                del open_groups[free], free_sizes[place]
        groups[group].append(row)
        left = free - length
        if left and left not in open_groups:
            open_groups[left] = []
            insort(free_sizes, left)
        if left:
            open_groups[left].append(group)
    # The groups came out by length; a model should not see all long rows first.
    chance.shuffle(groups)
    return groups
