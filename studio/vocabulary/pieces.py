"""The pieces of a SentencePiece model as merges of another tokenizer, and lists of tokens."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from studio.errors import ArgumentError, ModelError, counted
from studio.vocabulary.merging import Merged
from studio.vocabulary.scripts import Rule
from studio.vocabulary.tokenfile import SPACE, TokenFile

# The kinds of a piece in the file: ordinary, special, given by the user, a place without text.
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
# The largest file of either kind that is read; real ones have some megabytes.
LARGEST_BYTES = 256 * 2**20
TELL_EVERY = 500
SHOWN = 10


@dataclass
class Derived(Merged):
    """Merges that make pieces; `left_out` says why others are not made, with some of each, `between` counts steps.

    A step is a token that no piece asks for: a longer piece is made over it.
    """

    left_out: dict[str, list[str]] = field(default_factory=dict)
    already: int = 0
    made: int = 0
    between: int = 0


def pieces_of(path: Path) -> list[str]:
    """The pieces of a SentencePiece model, the most likely first, `▁` written as a space. Raises ModelError."""
    if not path.is_file():
        raise ModelError(f"--sentencepiece_model must be a file; there is none at {path}. Check the path.")
    kept = (piece.piece for piece in read_proto(path).pieces if piece.type in (NORMAL, USER_DEFINED))
    return [piece.replace(SPACE, " ") for piece in kept if piece]


def read_proto(path: Path) -> Any:
    """A SentencePiece model as its protobuf says it. Raises ModelError for a file that is none, or has no pieces."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from sentencepiece import sentencepiece_model_pb2

    if path.stat().st_size > LARGEST_BYTES:
        raise ModelError(_no_model(path))
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        proto.ParseFromString(path.read_bytes())
    except (DecodeError, OSError, ValueError):
        raise ModelError(_no_model(path)) from None
    if not any(piece.piece for piece in proto.pieces if piece.type in (NORMAL, USER_DEFINED)):
        raise ModelError(_no_model(path))
    return proto


def _no_model(path: Path) -> str:
    return (
        f"{path} must be a SentencePiece model, such as tokenizer.model; it holds no pieces. Name a .model file that "
        "sentencepiece wrote; for a list of words in text or JSON, use --add_tokens_file."
    )


def derived(
    pieces: Sequence[str], file: TokenFile, rule: Rule, model: object, *,
    known: dict[str, int], tell: Callable[[int, int], None],
) -> Derived:  # fmt: skip
    """Merges by which `model` (that of the tokenizer, with `known` tokens behind its own) makes the pieces.

    Short pieces come first, so that a long one is joined of those; among pieces of one length the more likely one.
    """
    found, ranks = Derived(left_out={}), dict[tuple[str, str], int]()
    names = {**file.vocab, **known}
    first = max(names.values(), default=-1) + 1
    fitting = _fitting(pieces, file, rule, found)
    chosen = set(fitting)
    ordered = sorted(range(len(fitting)), key=lambda place: (len(fitting[place]), place))
    for done, place in enumerate(ordered):
        piece = fitting[place]
        symbols = _joined([token.value for token in model.tokenize(file.spelled(piece))], ranks)  # type: ignore[attr-defined]
        found.already += len(symbols) == 1
        found.made += len(symbols) > 1
        while len(symbols) > 1 and (pair := _first_fitting(symbols, file, rule)):
            ranks[pair] = len(ranks)
            found.merges.append(pair)
            token = "".join(pair)
            if token not in names:
                names[token] = found.tokens[token] = first + len(found.tokens)
                found.parts[token] = pair
                found.between += file.content(token).decode(errors="replace") not in chosen
            symbols = _joined(symbols, ranks)
        if len(symbols) > 1:
            found.made -= 1
            found.left_out.setdefault("cannot be joined", []).append(piece)
        if done % TELL_EVERY == 0:
            tell(done, len(ordered))
    return found


def likeliest(pieces: Sequence[str], file: TokenFile, rule: Rule, most: int | None) -> list[str]:
    """The pieces, but of those that would be new tokens only the first `most`; what is a token already costs none."""
    kept, fresh = list[str](), 0
    for piece in dict.fromkeys(pieces):
        if piece.strip() and rule.fits(piece.encode()) and file.spelled(piece) not in file.vocab and file.whole(piece):
            fresh += 1
            if most and fresh > most:
                continue
        kept.append(piece)
    return kept


def _fitting(pieces: Sequence[str], file: TokenFile, rule: Rule, found: Derived) -> list[str]:
    """The pieces that may become tokens; the others are told by reason."""
    fitting = []
    for piece in dict.fromkeys(pieces):
        if not piece.strip() or not rule.fits(piece.encode()):
            found.left_out.setdefault("not in the scripts, or longer than max_token_length", []).append(piece)
        elif not file.whole(piece):
            found.left_out.setdefault("split by the tokenizer's own rules before the merges", []).append(piece)
        else:
            fitting.append(piece)
    return fitting


def _joined(symbols: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """The symbols after all merges, the earliest one first."""
    while len(symbols) > 1:
        pairs = [(ranks.get(pair, len(ranks)), at) for at, pair in enumerate(pairwise(symbols))]
        rank, at = min(pairs)
        if rank == len(ranks):
            break
        symbols = [*symbols[:at], symbols[at] + symbols[at + 1], *symbols[at + 2 :]]
    return symbols


def _first_fitting(symbols: list[str], file: TokenFile, rule: Rule) -> tuple[str, str] | None:
    pairs = pairwise(symbols)
    clean = (pair for pair in pairs if not any(map(file.is_byte, pair)))
    return next((pair for pair in clean if rule.fits(file.content("".join(pair)))), None)


def listed(path: Path) -> list[str]:
    """The tokens of a file: one a line, or a JSON list of texts. Raises ArgumentError with every line that is wrong."""
    if not path.is_file():
        raise ArgumentError([f"--add_tokens_file {path}: must be a file; none is there. Check the path."])
    if (size := path.stat().st_size) > LARGEST_BYTES:
        raise ArgumentError([
            f"--add_tokens_file {path}: must have at most {LARGEST_BYTES:,} bytes; it has {size:,}. Is it a text to "
            "learn from? Then name it with --train_file."
        ])  # fmt: skip
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError([f"--add_tokens_file {path}: must be a readable text in UTF-8: {error}."]) from None
    if path.suffix == ".json":
        tokens = _json_list(path, text)
        places = [f"entry {number}" for number in range(1, len(tokens) + 1)]
    else:
        tokens = text.splitlines()
        places = [f"line {number}" for number in range(1, len(tokens) + 1)]
    if not tokens:
        raise ArgumentError([f"--add_tokens_file {path}: must hold at least one token; it is empty."])
    counts = Counter(tokens)
    wrong = [f"{place} is empty" for place, token in zip(places, tokens, strict=True) if not token.strip()]
    firsts = {token: place for place, token in reversed(list(zip(places, tokens, strict=True)))}
    wrong += [
        f"{place} repeats {token!r} of {firsts[token]}"
        for place, token in zip(places, tokens, strict=True)
        if token.strip() and counts[token] > 1 and firsts[token] != place
    ]
    if wrong:
        more = f", and {counted(len(wrong) - SHOWN, 'other')}" if len(wrong) > SHOWN else ""
        raise ArgumentError([
            f"--add_tokens_file {path}: each token must stand there once: {'; '.join(wrong[:SHOWN])}{more}. "
            "Correct the file."
        ])  # fmt: skip
    return tokens


def _json_list(path: Path, text: str) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ArgumentError([f"--add_tokens_file {path}: must be JSON: {error}."]) from None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ArgumentError([f'--add_tokens_file {path}: must be a JSON list of texts, such as ["one", "two"].'])
    return found
