"""What the rows of a dataset are for: texts, conversations, pairs to compare, or answers with a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from studio.data.entry import DatasetEntry

Kind = Literal["text", "conversation", "pairs", "judged"]

# What the rows of each stage must be.
FITTING: Mapping[str, tuple[Kind, ...]] = {
    "pt": ("text", "conversation"),
    "sft": ("conversation",),
    "rm": ("pairs",),
    "dpo": ("pairs",),
    "kto": ("judged",),
    "ppo": ("conversation",),
}
_SAID: Mapping[Kind, str] = {
    "text": "plain texts",
    "conversation": "conversations",
    "pairs": "pairs of a chosen and a rejected answer",
    "judged": "answers with a label, wanted or not",
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


def why_not(kind: Kind, stage: str) -> str:
    """Why rows of a kind do not fit a stage, as a sentence; "" when they do."""
    wanted = FITTING.get(stage, ())
    if kind in wanted:
        return ""
    needs = " or ".join(_SAID[each] for each in wanted)
    return f"Stage {stage} needs {needs}; this dataset holds {_SAID[kind]}."
