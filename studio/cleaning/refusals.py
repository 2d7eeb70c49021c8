"""Rows that cannot be read: counted and told, and more of them than allowed end the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from studio.data.report import SHOWN, RefusedRows
from studio.errors import DatasetError, RowError, counted
from studio.works.clean import CleanSet


class Refusals:
    """The rows that could not be read so far, by the rules of skip_bad_rows and max_bad_rows as in training."""

    def __init__(self, asked: CleanSet) -> None:
        self._asked = asked.output
        self._rows = RefusedRows()
        self.count = 0

    def add(self, dataset: str, errors: Sequence[RowError]) -> None:
        """Take some. Raises DatasetError when none is allowed, or more than a number that is."""
        for error in errors:
            self._rows.add(dataset, error)
        self.count += len(errors)
        most = self._asked.max_bad_rows
        if not self._asked.skip_bad_rows and self.count:
            raise DatasetError(
                "\n".join(
                    [
                        "every row must be usable, and these are not (the rest was not read):",
                        *self._lines(),
                        "Mend these rows in the data file, or leave up to max_bad_rows of them out with "
                        "--skip_bad_rows True.",
                    ]
                )
            )
        if most >= 1 and self.count > most:
            self._too_many(f"max_bad_rows {most:g}")

    def check(self, rows: int) -> None:
        """Raise DatasetError when the share of all rows is above what is allowed."""
        most = self._asked.max_bad_rows
        if most < 1 and self.count > most * rows:
            self._too_many(f"max_bad_rows {most:g} allows {int(most * rows):,} of {counted(rows, 'row')}")

    def first(self) -> list[dict[str, Any]]:
        """The first hundred."""
        return [asdict(each) for each in self._rows.first]

    def reasons(self) -> dict[str, int]:
        """Why, and how often."""
        return self._rows.reasons()

    def _lines(self) -> list[str]:
        lines = [f"  {each}" for each in self._rows.first[:SHOWN]]
        return lines + ([f"  … and {self.count - SHOWN:,} more"] if self.count > SHOWN else [])

    def _too_many(self, limit: str) -> None:
        raise DatasetError(
            "\n".join(
                [
                    f"{limit}, but {self.count:,} cannot be used:",
                    *self._lines(),
                    "Mend these rows in the data file, or raise max_bad_rows.",
                ]
            )
        )
