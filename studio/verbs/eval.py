"""studio eval: measure a model, its base beside it."""

from __future__ import annotations

from studio.verbs.working import run_verb

ABOUT = "Measures of a model, of its checkpoints and of its base, with intervals."


def run(words: list[str], workspace: str) -> int:
    """Exit code of the verb."""
    return run_verb("eval", ABOUT, words, workspace)
