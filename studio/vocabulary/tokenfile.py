"""A tokenizer.json as data: what its tokens stand for, and the same file with more tokens and merges.

Two kinds can go on merging: byte-level BPE, whose tokens are runs of bytes, and BPE of characters that writes what
it does not know as bytes, as SentencePiece's is stored (Llama 2).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from studio.errors import ModelError
from studio.model.coverage import byte_alphabet
from studio.model.tokenizer import LightTokenizer
from studio.model.tokenizer_files import TOKENIZER_FILE, read_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPACE = "▁"


@dataclass
class Growth:
    """What is added: tokens in the order of their ids, merges in the order of their rank, special tokens.

    `made_of` leads from a new token to the old ids that wrote it before, `parts` to the two tokens it is joined of.
    `kept` are old tokens that become special.
    """

    tokens: dict[str, int] = field(default_factory=dict)
    merges: list[tuple[str, str]] = field(default_factory=list)
    special: dict[str, int] = field(default_factory=dict)
    plain: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    made_of: dict[str, tuple[int, ...]] = field(default_factory=dict)
    parts: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def ids(self) -> dict[str, int]:
        """Every new token with its id."""
        return {**self.tokens, **self.plain, **self.special}


class TokenFile:
    """The tokenizer.json of an opened tokenizer. Raises ModelError when it is of another kind than the two."""

    def __init__(self, light: LightTokenizer) -> None:
        self.light = light
        self.raw: dict[str, Any] = json.loads(read_text(light.files / TOKENIZER_FILE))
        self.vocab: dict[str, int] = dict(light.fast.get_vocab(with_added_tokens=True))
        self.added: dict[int, str] = {
            number: token.content for number, token in light.fast.get_added_tokens_decoder().items()
        }
        self.bytes = _kind(self.raw, light)
        self._bytes_of = byte_alphabet()
        self._written = {value[0]: key for key, value in self._bytes_of.items()}

    @property
    def size(self) -> int:
        """The first id that is free behind all others."""
        return self.light.size

    @cached_property
    def by_id(self) -> dict[int, str]:
        """Tokens by id."""
        return {number: token for token, number in self.vocab.items()}

    def content(self, token: str) -> bytes:
        """The bytes of text that a token stands for, a leading space written as one."""
        if self.bytes:
            return b"".join(self._bytes_of.get(character, character.encode()) for character in token)
        return token.replace(SPACE, " ").encode()

    def spelled(self, text: str) -> str:
        """A text as the model's merges see it."""
        if self.bytes:
            return "".join(self._written[byte] for byte in text.encode())
        return text.replace(" ", SPACE)

    def is_byte(self, token: str) -> bool:
        """Whether a token stands for one byte of what a BPE of characters does not know."""
        return not self.bytes and len(token) == 6 and token.startswith("<0x") and token.endswith(">")

    def whole(self, text: str) -> bool:
        """Whether the rules before the merges leave a text in one piece."""
        fast = self.light.fast
        normal = fast.normalizer.normalize_str(text) if fast.normalizer and self.bytes else text
        if normal != text:
            return False
        return not self.bytes or fast.pre_tokenizer is None or len(fast.pre_tokenizer.pre_tokenize_str(text)) == 1

    def grown(self, growth: Growth) -> dict[str, Any]:
        """The file with what is added. Old ids stay; added tokens get a place in the vocabulary, which fixes theirs."""
        raw = copy.deepcopy(self.raw)
        model = raw["model"]
        vocab = {**model["vocab"], **{content: number for number, content in self.added.items()}, **growth.ids}
        model["vocab"] = dict(sorted(vocab.items(), key=lambda item: item[1]))
        merges = model["merges"]
        text = bool(merges) and isinstance(merges[0], str)
        old = [tuple(merge.split(" ", 1)) if text else (merge[0], merge[1]) for merge in merges]
        grown = [*old, *growth.merges] if self.bytes else self._all_pairs(old, growth)
        # In the way in which the file writes its old ones: a pair, or one text with a space.
        model["merges"] = [f"{a} {b}" if text else [a, b] for a, b in grown]
        raw["added_tokens"] = _added(raw, self.light, growth)
        return raw

    def _all_pairs(self, old: Sequence[tuple[str, ...]], growth: Growth) -> list[tuple[str, ...]]:
        """The old merges with every pair that has a new token in it, or makes one: SentencePiece joins them all.

        Pairs that make an old token go behind its own, others to the end in the order of the new tokens.
        """
        known = {
            token: number for token, number in {**self.vocab, **growth.tokens}.items()
            if number not in self.added and not self.is_byte(token)
        }  # fmt: skip
        new, fresh = growth.tokens, dict[str, list[tuple[str, str]]]()
        for whole in known:
            cuts = [(whole[:at], whole[at:]) for at in range(1, len(whole))]
            pairs = [(a, b) for a, b in cuts if a in known and b in known and (whole in new or a in new or b in new)]
            if pairs:
                fresh[whole] = sorted(pairs, key=lambda pair: (known[pair[0]], known[pair[1]]))
        last = {"".join(pair): at for at, pair in enumerate(old)}
        found: list[tuple[str, ...]] = []
        for at, pair in enumerate(old):
            found.append(pair)
            whole = "".join(pair)
            if last[whole] == at:
                found += fresh.pop(whole, [])
        return [*found, *(pair for token in new for pair in fresh.get(token, []))]


def with_lists(light: LightTokenizer, growth: Growth) -> dict[str, Any]:
    """The tokenizer.json of any kind of vocabulary with whole and special tokens behind its own."""
    raw: dict[str, Any] = json.loads(read_text(light.files / TOKENIZER_FILE))
    raw["added_tokens"] = _added(raw, light, growth)
    return raw


def _added(raw: Mapping[str, Any], light: LightTokenizer, growth: Growth) -> list[dict[str, Any]]:
    listed = {entry["content"]: entry for entry in raw.get("added_tokens") or []}
    for number, token in light.fast.get_added_tokens_decoder().items():
        listed.setdefault(token.content, _entry(number, token.content, special=token.special))
    for content, number in {**growth.kept, **growth.plain, **growth.special}.items():
        listed[content] = _entry(number, content, special=content not in growth.plain)
    return sorted(listed.values(), key=lambda entry: int(entry["id"]))


def opened(raw: Mapping[str, Any]) -> Tokenizer:
    """A tokenizer of the data of its file. Raises ModelError when it is none."""
    from tokenizers import Tokenizer

    try:
        fast = Tokenizer.from_str(json.dumps(raw, ensure_ascii=False))
    except Exception as error:  # noqa: BLE001  tokenizers raises nothing narrower
        raise ModelError(
            f"the extended tokenizer cannot be read by tokenizers: {error}. Ask for fewer tokens."
        ) from None
    fast.no_truncation()
    fast.no_padding()
    return fast


def _entry(number: int, content: str, *, special: bool) -> dict[str, Any]:
    return {
        "id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
        "normalized": False, "special": special,
    }  # fmt: skip


def _kind(raw: Mapping[str, Any], light: LightTokenizer) -> bool:
    """Whether the tokens are bytes; False for characters with bytes behind. Raises ModelError for any other kind."""
    model = raw["model"]
    name = str(model.get("type") or ("BPE" if "merges" in model else "Unigram" if "vocab" in model else "?"))
    if name != "BPE":
        raise ModelError(
            f"a vocabulary that goes on growing must be BPE, whose merges can be continued; {light.folder} has "
            f"{name}. Extend another model, or add whole tokens with --add_tokens_file."
        )
    plain = not any(model.get(key) for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"))
    rules = json.dumps([raw.get("pre_tokenizer"), raw.get("normalizer")])
    if plain and light.byte_widths is not None:
        return True
    if plain and model.get("byte_fallback") and "ByteLevel" not in rules:
        return False
    raise ModelError(
        "merges are continued in byte-level BPE (GPT-2, Llama 3, Qwen) and in SentencePiece's BPE with bytes behind it "
        f"(Llama 2); {light.folder} has BPE of another form. Extend another model, or add whole tokens with "
        "--add_tokens_file."
    )
