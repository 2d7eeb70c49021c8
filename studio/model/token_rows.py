"""Rows of the embeddings that learn alone: of tokens that are named, or that an extension of the vocabulary added.

A model whose vocabulary was extended says in vocabulary.json which of its tokens are new. Light: no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from studio.arguments.method import NEW, token_ranges
from studio.errors import ArgumentError, ModelError
from studio.model.changed import INPUTS, OUTPUTS
from studio.model.weights import Tensor

VOCABULARY = "vocabulary.json"
FLAG = "--trainable_token_indices"


def added_tokens(folder: Path) -> list[range]:
    """The ids that an extension added to the model in `folder`; none where it is not an extended one.

    Raises ModelError for a damaged file.
    """
    path = folder / VOCABULARY
    try:
        added = json.loads(path.read_text(encoding="utf-8"))["added"]
        pairs = [added] if added and not isinstance(added[0], list) else added
        found = [range(first, behind) for first, behind in pairs]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{path} must say which tokens were added, as studio tokenizer extend writes it; it does not ({error!r}). "
            "Extend the vocabulary again."
        ) from None
    return [each for each in found if each]


def learning_rows(asked: Sequence[str], folder: Path, rows: int) -> tuple[str, ...]:
    """The ids that are asked for, in rising order as ranges without `new`, for a model of so many embeddings.

    Raises ArgumentError when an id has no embedding, or there are no new ones.
    """
    wanted = token_ranges(asked)
    if NEW in asked:
        added = added_tokens(folder)
        if not added:
            raise ArgumentError([
                f"{FLAG} {NEW}: the model must be one whose vocabulary was extended; {folder} has no {VOCABULARY} that "
                "names new tokens. Extend it with studio tokenizer extend, or write the ids, such as 49152-49999."
            ])  # fmt: skip
        wanted += added
    for each in wanted:
        if each.stop > rows:
            raise ArgumentError([
                f"{FLAG} {_shown(each)}: every id must have an embedding; this model has {rows:,}, so the last is "
                f"{rows - 1}. Lower it."
            ])  # fmt: skip
    return ranges_told({id for each in wanted for id in each})


def ranges_told(ids: Iterable[int]) -> tuple[str, ...]:
    """Ids as ranges that are written, in rising order."""
    merged: list[range] = []
    for id in sorted(set(ids)):
        if merged and id == merged[-1].stop:
            merged[-1] = range(merged[-1].start, id + 1)
        else:
            merged.append(range(id, id + 1))
    return tuple(map(_shown, merged))


def ids_of(asked: Sequence[str]) -> list[int]:
    """Every id of ranges that are written, once and in rising order."""
    return sorted({id for each in token_ranges(asked) for id in each})


def ends_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The embeddings and, where it has weights of its own, the head: what has one row a token."""
    return {name: tensor for name, tensor in weights.items() if name.endswith((*INPUTS, *OUTPUTS))}


def _shown(ids: range) -> str:
    return f"{ids.start}-{ids.stop - 1}" if len(ids) > 1 else str(ids.start)
