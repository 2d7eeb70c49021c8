"""studio tokenizer: train a vocabulary, extend that of a model, look at one, begin a model from nothing."""

from __future__ import annotations

from studio.verbs.working import run_verb

ABOUT = "Vocabularies: of what pieces a model reads and writes text."


def run(words: list[str], workspace: str) -> int:
    """Exit code of the verb."""
    return run_verb("tokenizer", ABOUT, words, workspace)
