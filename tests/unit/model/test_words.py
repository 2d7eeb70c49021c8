"""Word by word a text gets the ids that `tokenizers` gives it, for every known rule, or it goes the other way."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from studio.data.example import Example
from studio.data.render import View, render
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.model.words import _KNOWN, KNOWN_SPLITS, WordIds, few_threads, words_of

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
RULES: dict[str, dict[str, Any]] = {
    "gpt2": BYTES,
    "digits": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTES]},
    **{
        f"split {at}": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": rule}, "behavior": "Isolated", "invert": False},
                {**BYTES, "use_regex": False},
            ],
        }
        for at, rule in enumerate(KNOWN_SPLITS)
    },
}
PIECES = [
    "<|im_end|>", "<|im_start|>", "'S", "'ll", "'ſ", " ", "  ", "\n", "\r\n", "\t", "12", " 3", "²", "a", " B", "中",
    " 文", "!", "?? ", "\u3000", "\xa0", "é", "e\u0301", "\u200d", "\U0001f600", "\x1c", "①", "Ⅷ", "It's", " 2026年",
]  # fmt: skip


def variant(folder: Path, rules: dict[str, Any], normalizer: Any = None) -> Tokenizer:
    facts = json.loads((folder / "tokenizer.json").read_text())
    return Tokenizer.from_str(json.dumps({**facts, "pre_tokenizer": rules, "normalizer": normalizer}))


def texts() -> list[str]:
    """Every known character in three surroundings, and pieces that meet by chance."""
    known = re.compile(f"[{_KNOWN}]")
    letters = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000 and known.match(chr(code))]
    alone = [before + letter + behind for letter in letters for before, behind in (("a", "b"), (" ", "1"), ("1", " "))]
    chance = random.Random(1)
    mixed = ["".join(chance.choices([*PIECES, *chance.sample(letters, 20)], k=12)) for _ in range(2_000)]
    # One text of many: what is met alone is met a thousand times faster so.
    return ["\n".join(alone[at : at + 500]) for at in range(0, len(alone), 500)] + mixed


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("normalizer", [None, {"type": "NFC"}], ids=["plain", "NFC"])
def test_the_ids_are_those_of_the_library(tiny_tokenizer_folder: Path, rules: str, normalizer: Any):
    fast = variant(tiny_tokenizer_folder, RULES[rules], normalizer)
    words = words_of(fast)
    assert words is not None
    asked = texts()
    if normalizer:
        asked = [unicodedata.normalize("NFC", text) for text in asked]
    expected = [encoding.ids for encoding in fast.encode_batch(asked, add_special_tokens=False)]
    found = [words.ids(text) for text in asked]
    known = [at for at, ids in enumerate(found) if ids is not None]
    assert [found[at] for at in known] == [expected[at] for at in known]
    assert len(known) > len(asked) / 4


@pytest.mark.parametrize("text", ["\x1c", "\ud800", "\u0378", "\U00030000"])
def test_what_the_libraries_might_see_otherwise_is_left_to_the_library(tiny_tokenizer_folder: Path, text: str):
    words = words_of(variant(tiny_tokenizer_folder, BYTES))
    assert words is not None and words.ids(f"a{text}b") is None


@pytest.mark.parametrize(
    ("rules", "normalizer"),
    [
        ({**BYTES, "add_prefix_space": True}, None),
        ({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}, None),
        ({"type": "Sequence", "pretokenizers": [{"type": "Punctuation", "behavior": "Isolated"}, BYTES]}, None),
        (BYTES, {"type": "Lowercase"}),
    ],
)
def test_rules_that_are_not_known_are_left_to_the_library(tiny_tokenizer_folder: Path, rules: Any, normalizer: Any):
    assert words_of(variant(tiny_tokenizer_folder, rules, normalizer)) is None


@pytest.mark.parametrize(("threads", "few"), [("1", True), ("4", True), ("32", False)])
def test_many_threads_are_left_to_the_library(monkeypatch: pytest.MonkeyPatch, threads: str, few: bool):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    monkeypatch.setenv("RAYON_NUM_THREADS", threads)
    assert few_threads() is few


@pytest.fixture
def both(
    tiny_chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[LightTokenizer, LightTokenizer]:
    """The same tokenizer word by word, and by the library."""
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    one, other = (open_tokenizer(tiny_chat_model, tmp_path / "cache") for _ in range(2))
    assert one.words is not None
    monkeypatch.setenv("RAYON_NUM_THREADS", "32")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    assert other.words is None
    return one, other


def test_documents_are_cut_into_the_same_pieces_of_text(both: tuple[LightTokenizer, LightTokenizer]):
    asked = [
        Example(text=text)
        for text in ("一条河流过 Tokyo，老桥有 12 个桥拱。" * 5, "It's old. " * 30, "é\U0001f600 x" * 9)
    ]
    view = View(cutoff_len=7, wants="documents")
    left, right = (render(asked, tokenizer, None, view) for tokenizer in both)
    assert left == right and max(map(len, left)) > 10  # type: ignore[arg-type]


def test_a_token_is_told_by_its_characters(both: tuple[LightTokenizer, LightTokenizer]):
    text = "The 老桥 of 東京 is é\U0001f600."
    words, widths = both[0].words, both[0].byte_widths
    assert words is not None and widths is not None
    ids = words.ids(text)
    encoding = both[1].fast.encode(text, add_special_tokens=False)
    assert ids == encoding.ids
    mine = WordIds(ids, text, widths)
    assert [mine.token_to_chars(at) for at in range(len(ids))] == [
        encoding.token_to_chars(at) for at in range(len(ids))
    ]
