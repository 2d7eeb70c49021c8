"""What the rows of a dataset are for, and what a way of learning makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from studio.data.entry import DatasetEntry

Kind = Literal["text", "conversation", "pairs", "judged"]

# What a stage wants: whole documents, the answers of conversations, two answers to compare, answers with a
# verdict, or prompts that the model answers itself.
Wanted = Literal["documents", "answers", "pairs", "judged", "prompts"]

# The kinds of rows that each can be made of. A pair is two answers with a verdict; of a row whose answers are
# not used the prompt is taken; a plain text is a question.
FITTING: Mapping[Wanted, tuple[Kind, ...]] = {
    "documents": ("text", "conversation"),
    "answers": ("conversation",),
    "pairs": ("pairs",),
    "judged": ("judged", "pairs"),
    "prompts": ("conversation", "pairs", "judged", "text"),
}
_SAID: Mapping[Kind, str] = {
    "text": "plain texts",
    "conversation": "conversations",
    "pairs": "pairs of a chosen and a rejected answer",
    "judged": "answers with a label, wanted or not",
}
_REMEDY: Mapping[Kind, str] = {
    "text": "Use --stage pt, or map the columns of question and answer (prompt, response)",
    "conversation": "Use --stage sft, or register the columns that compare or weigh answers (chosen and rejected with "
    "ranking, or kto_tag)",
    "pairs": "Use --stage dpo or rm. To learn the chosen answers alone, register the file once more without ranking, "
    "with the chosen column as columns.response",
    "judged": "Use --stage kto. To learn the wanted answers alone, make a file of them",
}


def kind_of(entry: DatasetEntry) -> Kind:
    """The kind of all rows of an entry, told by its formatting and columns alone.

    An alpaca entry that maps only `prompt` has no answers: its rows are texts to learn whole.
    """
    if entry.formatting == "pairs" or entry.ranking:
        return "pairs"
    if "kto_tag" in entry.columns:
        return "judged"
    only_prompt = entry.formatting == "alpaca" and entry.columns.keys() == {"prompt"}
    return "text" if entry.formatting == "text" or only_prompt else "conversation"


def why_not(kind: Kind, wanted: Wanted, stage: str = "") -> str:
    """Why rows of a kind do not fit a stage that wants others, as a sentence; "" when they do."""
    if kind in FITTING[wanted]:
        return ""
    needs = " or ".join(_SAID[each] for each in FITTING[wanted])
    return f"{f'Stage {stage}' if stage else 'This stage'} needs {needs}; this dataset holds {_SAID[kind]}."


def remedy(kind: Kind) -> str:
    """What to do with rows of this kind where they do not fit, without its full stop."""
    return _REMEDY[kind]
