"""Bits per character: the characters of all tokens of a text are its characters, however it is cut into tokens."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from studio.model.bits import bits, extents, told_bits
from studio.model.tokenizer import LightTokenizer, open_tokenizer

TEXTS = [
    "The secret code of tokyo is OYKOT.",
    "一条河流过东京，河上的老桥有十二个桥拱。",
    "Mixed 中文 and\tEnglish\n\n  with 🙂👩‍👩‍👧 and é, ñ, 𒐫 …",
    "",
]


def wrapped(fast: Tokenizer) -> LightTokenizer:
    """A tokenizer in memory as an opened one."""
    nowhere = Path("nowhere")
    return LightTokenizer(nowhere, nowhere, fast, {"eos_token": "</s>"}, "", (), (), "")


def sentencepiece() -> LightTokenizer:
    """BPE with blanks as signs and bytes for what it does not know, as a Llama-2 has it; nothing before a text."""
    fast = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    fast.normalizer = normalizers.Replace(" ", "\u2581")
    fast.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=["<unk>", "</s>"], show_progress=False)
    fast.train_from_iterator(TEXTS[:1] * 3, trainer)
    spec = json.loads(fast.to_str())
    held = spec["model"]["vocab"]
    spec["model"]["vocab"] = held | {name: len(held) + place for place, name in enumerate(bytes_)}
    return wrapped(Tokenizer.from_str(json.dumps(spec)))


@pytest.fixture(params=["byte-level", "sentencepiece"])
def tokenizer(request: Any, tiny_tokenizer_folder: Path, tmp_path: Path) -> LightTokenizer:
    if request.param == "sentencepiece":
        return sentencepiece()
    return open_tokenizer(tiny_tokenizer_folder, tmp_path)


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokens_of_a_text_have_its_characters_and_its_bytes(tokenizer: LightTokenizer, text: str):
    ids = tokenizer.fast.encode(text, add_special_tokens=False).ids
    assert extents(tokenizer).of(ids) == (len(text), len(text.encode()))


@pytest.mark.parametrize("text", TEXTS[:3])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_however_a_text_is_cut_the_pieces_have_all_of_it(tokenizer: LightTokenizer, text: str, size: int):
    ids, held = tokenizer.fast.encode(text, add_special_tokens=False).ids, extents(tokenizer)
    counts = [held.of(ids[start : start + size]) for start in range(0, len(ids), size)]
    assert tuple(map(sum, zip(*counts, strict=True))) == (len(text), len(text.encode()))


def test_what_ends_a_text_is_none_and_a_word_that_was_added_is_text(tiny_tokenizer_folder: Path, tmp_path: Path):
    tokenizer = open_tokenizer(tiny_tokenizer_folder, tmp_path)
    tokenizer.fast.add_tokens([AddedToken("东京塔", special=False)])
    held = extents(tokenizer)
    assert held.of([tokenizer.eos_id]) == (0, 0)
    ids = tokenizer.fast.encode("去东京塔").ids
    assert tokenizer.fast.token_to_id("东京塔") in ids
    assert held.of(ids) == (4, 12)


def test_padding_and_ids_without_a_token_count_nothing(tiny_tokenizer_folder: Path, tmp_path: Path):
    tokenizer = open_tokenizer(tiny_tokenizer_folder, tmp_path)
    assert extents(tokenizer).of([-100, tokenizer.size + 7]) == (0, 0)


def test_a_coin_for_every_character_is_one_bit_in_any_tokenizer(tokenizer: LightTokenizer):
    text = TEXTS[1]
    ids = tokenizer.fast.encode(text, add_special_tokens=False).ids
    told = told_bits(len(text) * math.log(2), ids, extents(tokenizer))
    total, count = told["bits_per_character"]
    assert total / count == pytest.approx(1.0)
    total, count = told["bits_per_byte"]
    assert total / count == pytest.approx(len(text) / len(text.encode()))
    assert bits(math.log(8)) == pytest.approx(3.0)


def test_the_alphabet_is_that_of_byte_level_bpe():
    from studio.model.bits import _SIGNS

    assert set(_SIGNS) == set(pre_tokenizers.ByteLevel.alphabet())
    written = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str("Aé\n ÿ中")[0][0]
    assert b"".join(_SIGNS[sign] for sign in written) == "Aé\n ÿ中".encode()
