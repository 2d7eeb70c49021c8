"""The terminal answers at once: nothing heavy is loaded before it is needed.

How much time a start takes is measured by `benchmarks/start.py`; here only what it loads counts.
"""

import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "gradio",
    "peft",
    "trl",
    "accelerate",
    "pandas",
    "numpy",
    "pyarrow",
    "matplotlib",
    "tokenizers",
    "fastapi",
    "huggingface_hub",
}


def loaded(*code: str) -> set[str]:
    """The modules a fresh process loads, as the interpreter itself reports them."""
    asked = [sys.executable, "-X", "importtime", *code]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, cwd=TOP, check=False)
    times = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 0, said
    return {line.rpartition("|")[2].strip() for line in times}


@pytest.mark.parametrize("verb", [["--help"], ["version"], ["train", "--help"]], ids=" ".join)
def test_help_loads_nothing_heavy(verb: list[str]) -> None:
    roots = {name.partition(".")[0] for name in loaded("-m", "studio", *verb)}
    assert "studio" in roots
    assert not roots & HEAVY


@pytest.mark.parametrize("verb", [["--help"], ["version"]], ids=" ".join)
def test_the_verbs_are_listed_without_loading_the_arguments(verb: list[str]) -> None:
    names = loaded("-m", "studio", *verb)
    assert not {name for name in names if name.startswith(("studio.arguments", "pydantic"))}


def test_the_package_itself_loads_nothing() -> None:
    before = loaded("-c", "pass")
    assert loaded("-c", "import studio") - before == {"studio"}


def light() -> list[str]:
    """The modules that the page loads too: all of data and arguments, tokenizer and templates."""
    package = TOP / "studio"
    files = [*(package / "data").rglob("*.py"), *(package / "arguments").rglob("*.py")]
    files += [package / "model" / "tokenizer.py", package / "model" / "templates.py"]
    names = [".".join(path.relative_to(TOP).with_suffix("").parts) for path in files if path.exists()]
    return sorted(name for name in names if not name.endswith("__init__"))


def test_the_rooms_that_the_page_uses_load_neither_torch_nor_transformers() -> None:
    roots = {name.partition(".")[0] for name in loaded("-c", f"import {', '.join(light())}")}
    assert not roots & {"torch", "transformers", "datasets", "peft", "trl", "accelerate"}
