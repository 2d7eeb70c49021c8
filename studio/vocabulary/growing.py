"""From what was asked for to the tokens that a vocabulary grows by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.errors import ArgumentError, ModelError, StudioError, counted
from studio.model.tokenizer import LightTokenizer
from studio.vocabulary import merging, pieces, scripts, special
from studio.vocabulary.merging import Merged
from studio.vocabulary.scripts import Rule
from studio.vocabulary.special import Special
from studio.vocabulary.texts import Texts
from studio.vocabulary.tokenfile import Growth, TokenFile, opened
from studio.works.base import Ear
from studio.workspace import Workspace

USUAL_TOKENS = 8_000
# Characters that tell which scripts the texts are in.
LOOKED_AT = 2_000_000
SHOWN_LEFT_OUT = 12


@dataclass
class Grown:
    """What was found: the growth, how ("merges", "pieces" or "lists"), the rule, and what to tell."""

    growth: Growth
    how: str
    rule: Rule
    special: Special
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def grown(asked: Any, file: TokenFile | None, light: LightTokenizer, texts: Texts, place: Workspace, ear: Ear) -> Grown:
    """The tokens to add. `file` is None for a vocabulary whose merges cannot be continued; lists need none.

    Raises ArgumentError and ModelError with what is wrong.
    """
    extend, growth = asked.extend, Growth()
    found = Grown(growth, "lists", Rule((scripts.ANY,), extend.max_token_length), Special())
    if extend.sentencepiece_model or texts.learned:
        assert file is not None, "a vocabulary of another kind was refused before"
        known = pieces.pieces_of(place.path(extend.sentencepiece_model)) if extend.sentencepiece_model else []
        names, told = scripts.chosen(extend.scripts, known or _some(texts.all))
        found.rule, found.notes = Rule(names, extend.max_token_length), [told]
        if known:
            _from_pieces(extend, file, known, found, ear)
        else:
            _from_texts(extend, file, texts, found, ear)
        _remember_parts(file, found)
    _add_lists(extend, light, found, place)
    if not growth.ids and not growth.kept and not found.special.named:
        raise ArgumentError([_nothing(found)])
    return found


def _some(texts: list[str]) -> list[str]:
    found, total = [], 0
    for text in texts[:: max(sum(map(len, texts)) // LOOKED_AT, 1)]:
        found.append(text)
        total += len(text)
        if total > LOOKED_AT:
            break
    return found


def _nothing(found: Grown) -> str:
    why = "; ".join(f"{len(each):,} {reason}" for reason, each in found.left_out.items())
    return (
        "--num_new_tokens: something must be new, but no token comes of this"
        f"{f' ({why})' if why else ''}. Name more text, a lower --min_frequency or other --scripts."
    )


def _from_texts(extend: Any, file: TokenFile, texts: Texts, found: Grown, ear: Ear) -> None:
    wanted, all_texts = extend.num_new_tokens or USUAL_TOKENS, texts.all
    characters: dict[str, int] = {}
    if not file.bytes:
        characters = merging.characters_first(all_texts, file, found.rule, extend.character_coverage, wanted)
        found.growth.tokens = {file.spelled(c): file.size + at for at, c in enumerate(characters)}
        _add_leaves(file, found.growth)
        found.notes.append(f"{counted(len(characters), 'character')} of the texts get a token of their own")
    fast = opened(file.grown(found.growth)) if characters else file.light.fast
    usable = merging.usable_ids(file, found.rule, len(characters))
    ids = merging.runs(all_texts, fast, usable, lambda share: ear.tell(share, 1, "splitting the texts"))
    merged = merging.continued(
        ids, file, found.rule, wanted - len(characters), extend.min_frequency,
        known=found.growth.tokens, tell=lambda done: ear.tell(done, wanted, "merging"),
    )  # fmt: skip
    found.how = "merges"
    _take(merged, found)
    found.counts = {"run_tokens_before": merged.before, "run_tokens_after": merged.after}
    if len(found.growth.tokens) < wanted:
        found.notes.append(
            f"{len(found.growth.tokens):,} of {wanted:,} tokens were found: no other pair stands "
            f"{counted(extend.min_frequency, 'time')} in the texts"
        )


def _from_pieces(extend: Any, file: TokenFile, known: list[str], found: Grown, ear: Ear) -> None:
    count, known = len(known), pieces.likeliest(known, file, found.rule, extend.num_new_tokens)
    if not file.bytes:
        fitting = (c for piece in known for c in piece if found.rule.fits(c.encode()) and not c.isspace())
        fresh = [c for c in dict.fromkeys(fitting) if file.spelled(c) not in file.vocab]
        found.growth.tokens = {file.spelled(c): file.size + at for at, c in enumerate(fresh)}
        _add_leaves(file, found.growth)
    fast = opened(file.grown(found.growth)) if found.growth.tokens else file.light.fast
    made = pieces.derived(
        known, file, found.rule, fast.model,
        known=found.growth.tokens, tell=lambda done, total: ear.tell(done, total, "joining pieces"),
    )  # fmt: skip
    found.how = "pieces"
    singles = len(found.growth.tokens)
    _take(made, found)
    found.left_out = made.left_out
    found.counts = {
        "pieces": count, "made": made.made + singles, "already": made.already - singles, "between": made.between,
    }  # fmt: skip
    found.notes.append(
        f"of {count:,} pieces {made.made + singles:,} become tokens, {made.already - singles:,} were before; "
        f"{made.between:,} more tokens are steps on the way to longer ones"
    )
    found.notes += [f"{len(each):,} pieces left out: {reason}" for reason, each in made.left_out.items()]


def _take(merged: Merged, found: Grown) -> None:
    found.growth.tokens |= merged.tokens
    found.growth.merges += merged.merges
    found.growth.made_of |= dict.fromkeys(merged.tokens, ())
    found.growth.parts = merged.parts


def _add_leaves(file: TokenFile, growth: Growth) -> None:
    """New characters are made of the bytes that wrote them."""
    for token in growth.tokens:
        growth.made_of[token] = tuple(each.id for each in file.light.fast.model.tokenize(token))


def _remember_parts(file: TokenFile, found: Grown) -> None:
    """For each new token the old ids that its text was, by its merges from the last to the first."""
    growth = found.growth

    def ids(token: str) -> tuple[int, ...]:
        if token in file.vocab:
            return (file.vocab[token],)
        if not growth.made_of.get(token):
            first, second = growth.parts[token]
            growth.made_of[token] = ids(first) + ids(second)
        return growth.made_of[token]

    for token in growth.tokens:
        ids(token)


def _add_lists(extend: Any, light: LightTokenizer, found: Grown, place: Workspace) -> None:
    """Whole tokens and special tokens, behind those of the merges."""
    growth = found.growth
    named = extend.special_tokens_map
    found.special = special.read_map(_file(place, named)) if named else Special()
    known = set(found.special.texts)
    found.special.unnamed += [text for text in extend.add_special_tokens if text not in known]
    whole = [
        *extend.add_tokens,
        *(pieces.listed(_file(place, extend.add_tokens_file)) if extend.add_tokens_file else []),
    ]
    counts = Counter([*whole, *found.special.texts])
    if twice := [text for text in whole if counts[text] > 1]:
        raise ArgumentError([f"--add_tokens: each token must be named once; {twice[0]!r} is named again."])
    special.whole_tokens(whole, light, growth, light.size + len(growth.tokens))
    found.notes += special.grow(found.special, light, growth, light.size + len(growth.tokens) + len(growth.plain))


def _file(place: Workspace, asked: str) -> Path:
    try:
        return place.path(asked)
    except StudioError as error:
        raise ArgumentError([str(error)]) from None


def token_file(light: LightTokenizer, *, lists_only: bool) -> TokenFile | None:
    """The tokenizer's file where its merges can be continued; None where only lists are added to another kind.

    Raises ModelError where merges are asked of another kind.
    """
    try:
        return TokenFile(light)
    except ModelError:
        if lists_only:
            return None
        raise
