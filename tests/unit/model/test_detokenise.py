from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from studio.model.detokenise import Writer, overlap

# Every way in which a decoder may treat pieces of characters and the beginning of a text.
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LETTERS = ["▁", *"abcdefghijklmnopqrstuvwxyz,.", "▁the", "▁a", "中", "é"]


def sentencepiece() -> Tokenizer:
    """A vocabulary as Llama 2 has it: a mark for blanks, bytes for what it lacks."""
    pieces = ["<unk>", "<s>", "</s>", *BYTES, *LETTERS]
    fast = Tokenizer(models.BPE({piece: id for id, piece in enumerate(pieces)}, [], byte_fallback=True))
    fast.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    fast.add_special_tokens(["<s>", "</s>"])
    return fast


@pytest.fixture(scope="module")
def byte_level(tiny_model: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tiny_model / "tokenizer.json"))


def pieces(fast: Tokenizer, ids: list[int], **more: object) -> list[str]:
    writer = Writer(fast, **more)
    return [*(writer.push(id) for id in ids), writer.finish()]


TEXTS = [
    "一条河流过东京，河上的老桥有十二个桥拱。",
    "naïve café 👩‍💻 done",
    "",
    " a",
    "\n\nx",
    "The code of oslo is OLSO.",
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_are_the_text_and_never_hold_half_a_character(byte_level: Tokenizer, text: str) -> None:
    told = pieces(byte_level, byte_level.encode(text).ids)
    assert "".join(told) == text
    assert "\ufffd" not in "".join(told)


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=30))
def test_any_text_comes_back_piece_by_piece(byte_level: Tokenizer, text: str) -> None:
    ids = byte_level.encode(text).ids
    whole = byte_level.decode(ids)
    assert "".join(pieces(byte_level, ids)) == whole.rstrip("\ufffd")


def test_blanks_between_pieces_stay_where_a_decoder_takes_the_first_one_away() -> None:
    fast = sentencepiece()
    ids = [
        fast.token_to_id(piece) for piece in ["▁the", "▁a", "b", "中", *BYTES[0xE4:0xE5], "<0xB8>", "<0xAD>", "▁the"]
    ]
    assert pieces(fast, ids) == ["the", " a", "b", "中", "", "", "中", " the", ""]


def test_a_character_that_never_ends_is_left_out_and_its_fragments_inside_are_shown(byte_level: Tokenizer) -> None:
    first, second = byte_level.encode("京").ids[:1], byte_level.encode("ab").ids
    if byte_level.decode(first) == "京":
        first = [byte_level.token_to_id("ä")]
    assert "".join(pieces(byte_level, [*second, *first])) == "ab"
    assert "".join(pieces(byte_level, [*first, *second])) == "\ufffdab"


def test_a_model_that_only_writes_broken_bytes_is_not_waited_for(byte_level: Tokenizer) -> None:
    broken = [byte_level.token_to_id("ä")] * 40
    told = pieces(byte_level, broken)
    assert sum(map(bool, told)) > 30


def test_broken_bytes_without_end_cost_no_more_each_and_what_is_whole_after_them_comes(byte_level: Tokenizer) -> None:
    sizes: list[int] = []

    class Counting:
        """The tokenizer, which keeps how much it was given to decode."""

        get_added_tokens_decoder = byte_level.get_added_tokens_decoder

        def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
            sizes.append(len(ids))
            return str(byte_level.decode(ids, skip_special_tokens=skip_special_tokens))

    count = 400
    ids = [*[byte_level.token_to_id("ä")] * count, *byte_level.encode("京 ab").ids]
    told = "".join(pieces(Counting(), ids))  # type: ignore[arg-type]
    assert told == "\ufffd" * count + "京 ab"
    assert max(sizes) < 100


@pytest.mark.parametrize("decoder", [decoders.Metaspace(), None], ids=["metaspace", "sentencepiece"])
def test_a_special_token_in_the_middle_takes_no_blank_away(decoder: decoders.Decoder | None) -> None:
    fast = sentencepiece()
    fast.decoder = decoder or fast.decoder
    ids = [fast.token_to_id(piece) for piece in ["▁the", "<s>", "▁a", "</s>", "<s>", "b", "▁", "<s>", "▁the"]]
    assert "".join(pieces(fast, ids)) == fast.decode(ids) == "the ab  the"


def test_special_tokens_are_shown_only_when_asked_for(byte_level: Tokenizer) -> None:
    ids = byte_level.encode("a<|im_start|>b").ids
    assert "".join(pieces(byte_level, ids)) == "ab"
    assert "".join(pieces(byte_level, ids, keep_special=True)) == "a<|im_start|>b"


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (["河上"], "一条河流过东京，"),
        (["。", "老桥"], "一条河流过东京，河上的"),
        (["桥拱。"], "一条河流过东京，河上的老桥有十二个"),
        (["没有"], "一条河流过东京，河上的老桥有十二个桥拱。"),
        (["一"], ""),
        ([""], "一条河流过东京，河上的老桥有十二个桥拱。"),
    ],
)
def test_the_text_ends_before_the_first_stop_string(byte_level: Tokenizer, stop: list[str], expected: str) -> None:
    writer = Writer(byte_level, stop)
    told = ""
    for id in byte_level.encode(TEXTS[0]).ids:
        told += writer.push(id)
        if writer.stopped:
            break
    told += writer.finish()
    assert told == expected
    assert writer.stopped == (expected != TEXTS[0])


def test_what_may_begin_a_stop_string_waits_and_comes_when_it_does_not(byte_level: Tokenizer) -> None:
    writer = Writer(byte_level, ["\nUser:"])
    told = [writer.push(id) for piece in ("yes", "\n", "U", "sed") for id in byte_level.encode(piece).ids]
    assert "".join(told) == "yes\nUsed"
    assert told[: len(byte_level.encode("yes\n").ids)][-1] == ""


@given(st.text("ab", max_size=6), st.text("ab", min_size=1, max_size=4))
def test_the_overlap_is_the_longest_end_that_begins_the_stop(text: str, stop: str) -> None:
    sizes = [size for size in range(1, len(stop)) if size <= len(text) and text.endswith(stop[:size])]
    assert overlap(text, stop) == max(sizes, default=0)


def test_a_text_that_goes_on_keeps_the_blank_at_its_beginning() -> None:
    fast = sentencepiece()
    before = [fast.token_to_id(piece) for piece in ("▁the", "n")]
    said = [fast.token_to_id(piece) for piece in ("▁the", "y", "▁a")]
    assert "".join(pieces(fast, said)) == "they a"
    assert "".join(pieces(fast, said, before=before)) == " they a"
