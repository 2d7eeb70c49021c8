"""How sure a number is: 95 % intervals of shares, means and paired differences. Light."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

# The standard normal quantile of 97.5 %.
Z95 = 1.959963984540054

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Measure:
    """One number that was measured on `count` things, with its 95 % interval; `better` says which way is good."""

    value: float
    low: float
    high: float
    count: int
    better: Better = "higher"

    def as_json(self) -> dict[str, Any]:
        """As it stands in files; a number that is not finite is None, for which JSON has a word."""
        plain = asdict(self)
        return {name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in plain.items()}  # fmt: skip

    @classmethod
    def of_json(cls, plain: Mapping[str, Any]) -> Measure:
        """From a file, where None is a number that is not finite."""
        value, low, high = (
            math.nan if plain[name] is None else float(plain[name]) for name in ("value", "low", "high")
        )
        return cls(value, low, high, int(plain["count"]), plain["better"])


def share(hits: int, count: int, better: Better = "higher") -> Measure:
    """The share hits / count with the interval of Wilson (1927), of no row at all with one from 0 to 1."""
    if not count:
        return Measure(math.nan, 0.0, 1.0, 0, better)
    part, square = hits / count, Z95 * Z95 / count
    middle = (part + square / 2) / (1 + square)
    half = Z95 / (1 + square) * math.sqrt(part * (1 - part) / count + square / (4 * count))
    # Rounding must not leave a share of all or nothing outside its own interval.
    low, high = min(part, max(0.0, middle - half)), max(part, min(1.0, middle + half))
    return Measure(part, low, high, count, better)


def mean(values: Sequence[float], better: Better = "higher") -> Measure:
    """The mean with Student's interval (Gosset, 1908); of a single value the interval has no end."""
    count = len(values)
    if not count:
        return Measure(math.nan, -math.inf, math.inf, 0, better)
    middle = math.fsum(values) / count
    if count == 1:
        return Measure(middle, -math.inf, math.inf, 1, better)
    spread = math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (count - 1))
    half = _student(count - 1) * spread / math.sqrt(count)
    return Measure(middle, middle - half, middle + half, count, better)


def paired(values: Sequence[float], base_values: Sequence[float], better: Better = "higher") -> Measure:
    """The mean difference of the same rows under two models, above 0 where the first is larger.

    For rows that are right or wrong (0 or 1) the interval is that of `paired_shares`, else Student's.
    Raises ValueError when there are not as many of both.
    """
    differences = [one - other for one, other in zip(values, base_values, strict=True)]
    if differences and all(value in (0, 1) for value in (*values, *base_values)):
        both = sum(1 for one, other in zip(values, base_values, strict=True) if one and other)
        only, lost = differences.count(1), differences.count(-1)
        return paired_shares(both, only, lost, len(differences) - both - only - lost, better)
    return mean(differences, better)


def paired_shares(both: int, only: int, lost: int, neither: int, better: Better = "higher") -> Measure:
    """The difference of two shares of the same rows (Newcombe, 1998, method 10: from Wilson's intervals of each).

    `both` were right under both models, `only` under the first alone, `lost` under the base alone.
    """
    count = both + only + lost + neither
    first, second = share(both + only, count), share(both + lost, count)
    margins = (both + only) * (lost + neither) * (both + lost) * (only + neither)
    cross = both * neither - only * lost
    if cross > count / 2:
        cross -= count / 2  # type: ignore[assignment]
    elif cross >= 0:
        cross = 0
    phi = cross / math.sqrt(margins) if margins else 0.0
    value = (only - lost) / count
    down, up = first.value - first.low, first.high - first.value
    base_down, base_up = second.value - second.low, second.high - second.value
    low = value - math.sqrt(max(0.0, down**2 - 2 * phi * down * base_up + base_up**2))
    high = value + math.sqrt(max(0.0, up**2 - 2 * phi * up * base_down + base_down**2))
    return Measure(value, low, high, count, better)


def _student(freedom: int) -> float:
    """The quantile of 97.5 % of Student's distribution, by halving: |error| below 1e-9."""
    if freedom > 2000:
        return Z95 * (1 + (Z95**2 + 1) / (4 * freedom))
    low, high = Z95, 13.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < 0.95 else (low, middle)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """The probability of Student's distribution within ±t (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    if freedom % 2:
        total, term = (cosine if freedom > 1 else 0.0), cosine
        for power in range(3, freedom - 1, 2):
            term *= cosine**2 * (power - 1) / power
            total += term
        return 2 / math.pi * (angle + sine * total)
    total = term = 1.0
    for power in range(2, freedom - 1, 2):
        term *= cosine**2 * (power - 1) / power
        total += term
    return sine * total
