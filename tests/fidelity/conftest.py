"""What a fidelity test measures is held against its tolerance, and kept for docs/fidelity.md."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

# The runs of these tests are those of tests/flow: the same commands, forked from one loaded process.
from tests.flow.conftest import command, look, place, small, train  # noqa: F401

# `docs/write_fidelity.py` names a file here; each measure becomes a line of it.
ASKED = "STUDIO_FIDELITY_LINES"
Record = Callable[[str, str, str, float, float], None]


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """`record(stage, what, reference, difference, tolerance)` fails unless difference <= tolerance.

    `stage` is a stage's name, or "all" for what holds for every one. `what` says what is compared, `reference` with
    what; both become a row of the table. The row is kept also where the difference is too large.
    """

    def keep(stage: str, what: str, reference: str, difference: float, tolerance: float) -> None:
        line = {
            "stage": stage, "what": what, "reference": reference, "difference": float(difference),
            "tolerance": float(tolerance), "test": request.node.nodeid.rpartition("/")[2],
        }  # fmt: skip
        if path := os.environ.get(ASKED):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        # A difference that is not a number is not within anything.
        assert float(difference) <= tolerance, f"{stage}: {what}: {difference:.3g} is more than {tolerance:.3g}"

    return keep


@pytest.fixture(autouse=True)
def _exact() -> None:
    """The kernels that a comparison needs: one thread adds in one order."""
    import torch

    torch.set_num_threads(1)
