"""The padding token of a reward model, which must not be one that a row ends with.

transformers reads a score at the last token that is not the padding token. Where that is also the end
token, and rows end with it, the score would be read a token too early.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.data.rows import Rows
from studio.errors import ModelError
from studio.material import Material
from studio.model.tokenizer import LightTokenizer
from studio.model.tokenizer_files import read_object
from studio.workspace import write_json

# Rows whose last tokens are looked at.
LOOKED_AT = 1000


@dataclass(frozen=True)
class Padding:
    """The padding token; `told` is a note where it is another than the tokenizer's, else empty."""

    id: int
    token: str
    told: str = ""

    def write(self, folder: Path) -> None:
        """Name it in the tokenizer's files of a folder, where it is another than theirs."""
        if self.told:
            path = folder / "tokenizer_config.json"
            write_json(path, read_object(path) | {"pad_token": self.token})


def padding_of(material: Material, rows: Rows) -> Padding:
    """The tokenizer's own padding token, or another special token when rows end with that one.

    Raises ModelError when every special token ends rows.
    """
    tokenizer = material.tokenizer
    ends = {int(rows[index]["input_ids"][-1]) for index in range(min(len(rows), LOOKED_AT))}
    own = tokenizer.pad_token or tokenizer.eos_token
    if tokenizer.pad_id not in ends:
        return Padding(tokenizer.pad_id, own)
    for token in _others(tokenizer):
        number: Any = tokenizer.fast.token_to_id(token)
        if number is not None and number not in ends:
            return Padding(
                number, token,
                f"note: rows end with {own}, the padding token, and a score is read at the last token that is none; so "
                f"the padding token is {token} from here on",
            )  # fmt: skip
    raise ModelError(
        f"a reward model needs a padding token that no row ends with; the tokenizer in {tokenizer.folder} has only "
        f"{own}. Name another in its tokenizer_config.json (pad_token)."
    )


def _others(tokenizer: LightTokenizer) -> list[str]:
    """Special tokens, those first whose names say that they stand for nothing."""
    special = [token for token in tokenizer.end_strings if token != tokenizer.eos_token]
    words = ("pad", "reserved", "unused", "unk")
    return sorted(special, key=lambda token: next((at for at, word in enumerate(words) if word in token.lower()), 9))
