"""The tokenizer of a model folder, opened without transformers.

`tokenizers` reads `tokenizer.json`; the small files beside it name the special tokens and the
chat template. The page and the preview live on this alone. Training uses the same ids, and
`check_against_transformers` holds them against what transformers makes of the same folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from studio.errors import ModelError
from studio.model.coverage import Coverage, coverage_of, unknown_token
from studio.model.tokenizer_files import (
    TOKENIZER_FILE,
    chat_templates,
    converted,
    from_pretrained,
    read_object,
    read_text,
    special_tokens,
    token_text,
)
from studio.model.words import Words, few_threads, words_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

# An unescaped key, so no token of the vocabulary can match.
TRIMMED = re.compile(r'(?<!\\)"trim_offsets"\s*:\s*true')
# A sign of cuneiform, which hardly a vocabulary has.
RARE = "\U0001242b"


@dataclass(frozen=True, eq=False)
class LightTokenizer:
    """A tokenizer and what its folder says about it.

    `files` is where tokenizer.json lies: the model's folder, or the cache for a converted one.
    `special` maps bos_token, eos_token and so on to their strings, as templates read them.
    `chat_template` is empty when the model has none; `other_templates` names those beside it.
    `stop_ids` are the ids that end an answer: eos and what generation_config.json adds.
    `fingerprint` is a SHA-256 over everything that decides the ids.
    `trusted` says that transformers may run code of the folder, where the tokenizer has some.
    """

    folder: Path
    files: Path
    fast: Tokenizer
    special: Mapping[str, str]
    chat_template: str
    other_templates: tuple[str, ...]
    stop_ids: tuple[int, ...]
    fingerprint: str
    trusted: bool = False

    @property
    def name(self) -> str:
        """The model's folder by its last name."""
        return self.folder.name

    @property
    def eos_token(self) -> str:
        """The end token; never empty."""
        return self.special["eos_token"]

    @property
    def bos_token(self) -> str:
        """The begin token, or empty."""
        return self.special.get("bos_token", "")

    @property
    def pad_token(self) -> str:
        """The padding token, or empty. It may be the end token: mask by length, never by id."""
        return self.special.get("pad_token", "")

    @cached_property
    def eos_id(self) -> int:
        """The id of the end token."""
        return self._id("eos_token")

    @cached_property
    def pad_id(self) -> int:
        """The id to fill batches with: the padding token's, or the end token's without one."""
        return self._id("pad_token") if self.pad_token else self.eos_id

    @cached_property
    def size(self) -> int:
        """The rows that the embeddings must have at least: added tokens and holes counted."""
        return max(self._vocabulary.values(), default=-1) + 1

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        return dict(self.fast.get_vocab(with_added_tokens=True))

    @cached_property
    def head(self) -> tuple[int, ...]:
        """The ids that it puts in front of a text; what it puts behind one would end it."""
        for probe in ("a", "0", "中", " "):  # a vocabulary may have nothing for one of them
            plain, whole = (self.fast.encode(probe, add_special_tokens=around).ids for around in (False, True))
            if plain:
                return tuple(whole[: next((at for at in range(len(whole)) if whole[at : at + len(plain)] == plain), 0)])
        return ()

    @cached_property
    def end_strings(self) -> tuple[str, ...]:
        """Strings that may end a turn: every special token, the end token first."""
        added = self.fast.get_added_tokens_decoder().values()
        return (self.eos_token, *(token.content for token in added if token.special))

    @cached_property
    def byte_widths(self) -> NDArray[np.int32] | None:
        """The bytes of text that each id stands for; None when the tokenizer is not byte-level BPE.

        Ids alone then say where a token begins, as long as the widths add up to the text: a text
        that a normaliser changes, or a token that swallows white space, must be told by that sum.
        """
        if not _is_byte_level(self.fast):
            return None
        import numpy as np

        widths = np.zeros(self.size, dtype=np.int32)
        # In the vocabulary of byte-level BPE one character stands for one byte.
        widths[list(self._vocabulary.values())] = [len(token) for token in self._vocabulary]
        for id, token in self.fast.get_added_tokens_decoder().items():
            widths[id] = len(token.content.encode())
        return widths

    @cached_property
    def words(self) -> Words | None:
        """The faster way to the same ids where one is known and few threads may be used; else None."""
        return words_of(self.fast) if self.byte_widths is not None and few_threads() else None

    @cached_property
    def coverage(self) -> Coverage | None:
        """What it has tokens for, when it leaves the rest of a text out; None when it can write everything."""
        return coverage_of(self.fast)

    @cached_property
    def unknown_id(self) -> int | None:
        """The id that stands for what it does not know; None when it needs none."""
        token = unknown_token(self.fast, self.special.get("unk_token", ""))
        return self.fast.token_to_id(token) if token else None

    def _id(self, key: str) -> int:
        # Opening added every special token that the vocabulary lacked, so none is without an id.
        return cast(int, self.fast.token_to_id(self.special[key]))


def _is_byte_level(fast: Tokenizer) -> bool:
    """Whether every token is a run of the text's own bytes: byte-level BPE, no normaliser but NFC."""
    from tokenizers import models, normalizers

    model = fast.model
    if not isinstance(model, models.BPE) or not isinstance(fast.normalizer, normalizers.NFC | None):
        return False
    if model.byte_fallback or model.continuing_subword_prefix or model.end_of_word_suffix or model.dropout:
        return False
    rules = repr(fast.pre_tokenizer)
    return "ByteLevel(" in rules and "add_prefix_space=True" not in rules


def open_tokenizer(folder: Path, cache: Path, *, trust: bool = False) -> LightTokenizer:
    """Open the tokenizer of a model folder; one without tokenizer.json is converted once into `cache`.

    With `trust` its own code may run in a conversion.

    Raises ModelError when there is no tokenizer, a file is broken, or no end token is named.
    """
    if not folder.is_dir():
        raise ModelError(f"a tokenizer must lie in a folder; {folder} is none. Check the path of the model.")
    files = folder if (folder / TOKENIZER_FILE).is_file() else converted(folder, cache, trust=trust)
    config = read_object(files / "tokenizer_config.json")
    legacy = {} if "added_tokens_decoder" in config else read_object(files / "special_tokens_map.json")
    special = special_tokens({**config, **legacy})
    if "eos_token" not in special:
        raise ModelError(
            f"a tokenizer must name its end token; tokenizer_config.json in {folder} has no eos_token. "
            'Add it there, for example "eos_token": "<|im_end|>".'
        )
    text = read_text(files / TOKENIZER_FILE)
    fast = _load(files / TOKENIZER_FILE, text)
    _add_missing(fast, {**config, **legacy}, special, files)
    templates = chat_templates(files, config)
    own = templates.pop("default", "")
    facts = json.dumps([text, dict(special), fast.get_vocab_size()], ensure_ascii=True)
    return LightTokenizer(
        folder=folder,
        files=files,
        fast=fast,
        special=special,
        chat_template=own,
        other_templates=tuple(sorted(templates)),
        stop_ids=_stop_ids(folder, fast, special["eos_token"]),
        fingerprint=hashlib.sha256(facts.encode()).hexdigest(),
        trusted=trust,
    )


def _load(path: Path, text: str) -> Tokenizer:
    from tokenizers import Tokenizer

    # With trimmed offsets a token that begins before a span would seem to lie inside it. Ids do not change.
    text = TRIMMED.sub('"trim_offsets": false', text)
    try:
        fast = Tokenizer.from_str(text)
    except Exception as error:  # noqa: BLE001  tokenizers raises nothing narrower
        raise ModelError(
            f"{path} must be a tokenizer that tokenizers can read: {error}. Copy the model anew, or update "
            "the tokenizers package."
        ) from None
    # Files in the wild carry both; ids would be cut or filled in silence.
    fast.no_truncation()
    fast.no_padding()
    try:
        fast.encode(RARE)
    except Exception as error:  # noqa: BLE001  the same
        raise ModelError(
            f"a tokenizer must have a token for what it does not know; {path} has none: {error}. Save it with an "
            "unknown token, such as <unk>."
        ) from None
    return fast


def _add_missing(fast: Tokenizer, config: Mapping[str, Any], special: Mapping[str, str], files: Path) -> None:
    """Add the tokens that only the small files name, in the order in which transformers adds them."""
    from tokenizers import AddedToken

    present = {token.content: token for token in fast.get_added_tokens_decoder().values()}
    listed = config.get("added_tokens_decoder") or {}
    wanted: dict[str, AddedToken] = {}
    for _, spec in sorted(listed.items(), key=lambda item: int(item[0])):
        token = AddedToken(**{key: value for key, value in spec.items() if not key.startswith("__")})
        if repr(token) != repr(present.get(token.content)):
            wanted[token.content] = token
    for text, id in sorted(read_object(files / "added_tokens.json").items(), key=lambda item: int(item[1])):
        if text not in present:
            wanted.setdefault(text, AddedToken(text, normalized=True))
            listed = {**listed, str(id): {"content": text}}
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or ()
    more = [token_text(value) for value in extra] if isinstance(extra, list) else []
    for text in [*special.values(), *more]:
        if text and text not in present:
            wanted.setdefault(text, AddedToken(text, special=True))
    fast.add_tokens(list(wanted.values()))
    for id, spec in listed.items():
        if (got := fast.token_to_id(spec["content"])) != int(id):
            raise ModelError(
                f"the files in {files} must agree on every id; {spec['content']!r} is {id} by the small "
                f"files and {got} by {TOKENIZER_FILE}. Copy the model anew."
            )


def _stop_ids(folder: Path, fast: Tokenizer, eos: str) -> tuple[int, ...]:
    named = read_object(folder / "generation_config.json").get("eos_token_id")
    more = named if isinstance(named, list) else [named]
    ids = [fast.token_to_id(eos), *more]
    return tuple(dict.fromkeys(id for id in ids if isinstance(id, int)))


def check_against_transformers(light: LightTokenizer, texts: Sequence[str], *, documents: bool = False) -> None:
    """Hold the ids of `texts` against those of the AutoTokenizer that transformers will use.

    With `documents` the tokens that begin and end a document are compared too.
    Raises ModelError naming the first text that differs.
    """
    theirs = from_pretrained(light.folder, trust=light.trusted)
    if theirs.eos_token != light.eos_token:
        raise ModelError(
            f"both readings of {light.folder} must name one end token; transformers says "
            f"{theirs.eos_token!r}, tokenizer_config.json {light.eos_token!r}. Write the right one there."
        )
    for number, text in enumerate(texts, 1):
        ours = light.fast.encode(text, add_special_tokens=documents).ids
        # Rows longer than the model takes are cut later, to cutoff_len: nobody is to be warned of their length here.
        other = theirs(text, add_special_tokens=documents, truncation=False, padding=False, verbose=False)["input_ids"]
        if ours != other:
            raise ModelError(_difference(light, number, text, ours, list(other)))


def _difference(light: LightTokenizer, number: int, text: str, ours: list[int], other: list[int]) -> str:
    pairs = zip(ours, other, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(other)))
    shown = text if len(text) <= 80 else text[:80] + "…"
    return (
        f"{TOKENIZER_FILE} in {light.folder} must give the ids that transformers gives; text {number} "
        f"({shown!r}) differs at token {at}: {ours[at : at + 4]} here, {other[at : at + 4]} there. "
        "transformers builds this model's class of tokenizer anew, with rules of its own. Copy the tokenizer's "
        "files anew; for a tokenizer of your own, train it with the rules of its class, or save what "
        "AutoTokenizer opens over it."
    )
