"""Writes docs/fidelity.md from the tests in tests/fidelity, which it runs: python docs/write_fidelity.py.

`--lines FILE` takes what an earlier run kept instead of running them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.recipe import STAGES

TOP = Path(__file__).resolve().parent.parent
PAGE = Path(__file__).with_name("fidelity.md")
# The name of `ASKED` in tests/fidelity/conftest.py.
ASKED = "STUDIO_FIDELITY_LINES"
PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes")
HEAD = """# Fidelity

Written by `python docs/write_fidelity.py`, which runs the tests in `tests/fidelity`, the slow ones too, and fails when
one fails. Each row is one comparison: a run of the studio, or its loss alone, against a reference that knows nothing of
it. *Difference* is the largest absolute one unless the row says otherwise; the test fails above the *tolerance*. All on
a CPU in float32 with models of two layers, unless the row says otherwise.
"""


def main() -> int:
    """Run the tests and write the page; the exit code is theirs."""
    parser = argparse.ArgumentParser(description="Write docs/fidelity.md from the fidelity tests.")
    parser.add_argument("--lines", type=Path, help="take these lines instead of running the tests")
    asked = parser.parse_args()
    if asked.lines:
        code, text = 0, asked.lines.read_text(encoding="utf-8")
    else:
        with tempfile.TemporaryDirectory() as folder:
            kept = Path(folder) / "lines"
            kept.touch()
            code, text = measured(kept), kept.read_text(encoding="utf-8")
    if code:
        sys.stderr.write("the tests failed; docs/fidelity.md is left as it was\n")
        return code
    PAGE.write_text(page([json.loads(line) for line in text.splitlines()]), encoding="utf-8")
    return 0


def measured(lines: Path) -> int:
    """Run every fidelity test; each measure becomes a line of the file."""
    environment = {
        **os.environ, ASKED: str(lines), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    words = [sys.executable, "-m", "pytest", "-q", "-m", "not gpu", "tests/fidelity"]
    return subprocess.run(words, cwd=TOP, env=environment, check=False).returncode


def page(lines: list[dict[str, Any]]) -> str:
    """The whole page: a table for each stage, in the order in which they are registered."""
    known = {**{name: STAGES[name].title for name in STAGES}, "eval": "Evaluation"}
    unknown = {line["stage"] for line in lines} - known.keys() - {"all"}
    if unknown:
        raise SystemExit(f"no stage has the name {', '.join(sorted(unknown))}; mend the record() of these tests")
    parts = [HEAD, *_versions()]
    for name, title in {**known, "all": "Every stage"}.items():
        rows = [line for line in lines if line["stage"] == name]
        if rows:
            parts += ["", f"## {title}" + (f" (`{name}`)" if name in known else ""), "", *_table(rows)]
    return "\n".join(parts) + "\n"


def _versions() -> Iterator[str]:
    told = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    yield f"Python {platform.python_version()}, {told}."
    yield "To repeat one stage: `python -m pytest tests/fidelity/test_dpo.py`."


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| what | reference | difference | tolerance | test |"
    yield "|---|---|---|---|---|"
    for row in rows:
        what, reference = (str(row[name]).replace("|", "\\|") for name in ("what", "reference"))
        numbers = f"{row['difference']:.1e} | {row['tolerance']:.1e}"
        yield f"| {what} | {reference} | {numbers} | `{row['test'].partition('::')[0]}` |"


if __name__ == "__main__":
    sys.exit(main())
