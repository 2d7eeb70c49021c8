"""tokenizer.model beside tokenizer.json: a vocabulary of SentencePiece's BPE with what it grew by.

SentencePiece joins any two neighbours whose text is a piece, the piece with the highest score first. `tokenizers`
joins listed pairs in their order. Both say the same where every pair that makes a piece is listed, in the order of
scores, which TokenFile.grown sees to; new pieces have lower scores than all old ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import ModelError
from studio.vocabulary.pieces import CONTROL, NORMAL, UNUSED, USER_DEFINED, read_proto
from studio.vocabulary.tokenfile import Growth

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.model"
BPE = 2
SHOWN = 60


def grown_model(path: Path, raw: Mapping[str, Any], growth: Growth, fast: Tokenizer, texts: Sequence[str]) -> bytes:
    """The model at `path` with the new tokens, as bytes; `raw` is the new tokenizer.json, `fast` what it opens as.

    Tokens that only tokenizer.json lists, such as padding, get their ids too: special ones as control pieces, which
    are never read out of a text, others as pieces of the user. Raises ModelError where it would not give the ids of
    `fast` for all `texts`.
    """
    proto = read_proto(path)
    if proto.trainer_spec.model_type != BPE:
        raise ModelError(f"{path} is no BPE")
    by_id = {number: token for token, number in raw["model"]["vocab"].items()}
    added = {int(entry["id"]): entry for entry in raw["added_tokens"]}
    lowest = min((piece.score for piece in proto.pieces if piece.type == NORMAL), default=0.0)
    for number in range(len(proto.pieces), max([*by_id, *added]) + 1):
        lowest -= 1
        if number in added:
            kind = CONTROL if added[number]["special"] else USER_DEFINED
            proto.pieces.add(piece=added[number]["content"], score=0.0, type=kind)
        elif by_id.get(number) in growth.tokens:
            proto.pieces.add(piece=by_id[number], score=lowest, type=NORMAL)
        else:
            proto.pieces.add(piece=f"<unused_{number}>", score=0.0, type=UNUSED)
    proto.trainer_spec.vocab_size = len(proto.pieces)
    written: bytes = proto.SerializeToString()
    _compare(written, fast, texts)
    return written


def _compare(model: bytes, fast: Tokenizer, texts: Sequence[str]) -> None:
    import sentencepiece

    try:
        own = sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise ModelError(f"sentencepiece cannot read it: {' '.join(str(error).split())}") from None
    for text in texts:
        ours, theirs = fast.encode(text, add_special_tokens=False).ids, own.encode(text)
        if ours != theirs:
            at = next((at for at, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), len(theirs))
            raise ModelError(
                f"sentencepiece would write {text[:SHOWN]!r} with other ids than tokenizer.json from token {at} on"
            )
