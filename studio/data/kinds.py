"""What the rows of a dataset are for: texts, conversations, pairs to compare, or answers with a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from studio.data.entry import DatasetEntry

Kind = Literal["text", "conversation", "pairs", "judged"]


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
