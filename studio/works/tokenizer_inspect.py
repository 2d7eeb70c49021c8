"""studio tokenizer inspect: what a vocabulary makes of texts, beside another one."""

from __future__ import annotations

from studio.arguments.base import Arguments, Text, arg
from studio.works.base import WORKS, SourceOfRows, Work, WorkSet
from studio.works.text_sample import TextSampleArguments, facts_of

ABOUT = """Look at a vocabulary: tokens per character by language, text token by token, what never occurs.

With --compare_with two vocabularies stand side by side, and the ids that changed are told. The folder may hold a model
or a tokenizer alone."""


class InspectTokenizerArguments(Arguments):
    """Which vocabularies are looked at, and on what text."""

    model_name_or_path: Text = arg("", level="basic")
    """Folder of the model, or its name on the hub."""

    compare_with: Text = arg("", level="basic")
    """Folder of the other model or tokenizer, the one before; empty: the base in vocabulary.json where there is one."""

    text: Text = arg("", level="basic")
    """A text to show token by token; empty: the beginning of the first text of the datasets."""


class InspectSet(WorkSet):
    """The arguments of `studio tokenizer inspect`."""

    look: InspectTokenizerArguments
    source: SourceOfRows
    sample: TextSampleArguments

    def complaints(self) -> list[str]:
        """What must be said otherwise before anything is read."""
        asked = self.look
        return [] if asked.model_name_or_path else ["--model_name_or_path: name the folder of a model or tokenizer."]


WORKS.add(
    "tokenizer-inspect",
    Work(
        name="tokenizer-inspect",
        words=("tokenizer", "inspect"),
        asked=InspectSet,
        kind="data",
        does="studio.vocabulary.inspect",
        about=ABOUT,
        facts=facts_of("inspect"),
    ),
)
