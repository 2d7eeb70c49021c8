"""What a tokenizer leaves out is told before a model learns from a text with holes in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from studio.data.example import Example
from studio.data.inspect import token_bytes
from studio.data.render import View, render
from studio.errors import ModelError, RowError
from studio.model.coverage import byte_alphabet, coverage_of, unknown_token
from studio.model.templates import choose_template
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.workspace import Workspace

LETTERS = "▁abcé东京<|im_start>d"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def tokenizer_of(model: models.Model, *, normalizer: Any = None, added: tuple[str, ...] = ()) -> Tokenizer:
    """As sentencepiece models are converted: spaces become ▁, the text is one word."""
    made = Tokenizer(model)
    made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    made.add_special_tokens([AddedToken(token, normalized=False) for token in added])
    return made


def pieces(more: tuple[str, ...] = (), **settings: Any) -> models.BPE:
    vocabulary = {token: id for id, token in enumerate(dict.fromkeys([*LETTERS, *more]))}
    return models.BPE(vocabulary, [], **settings)


def byte_level(missing: bytes) -> Tokenizer:
    alphabet = [char for char, byte in byte_alphabet().items() if byte not in (bytes([each]) for each in missing)]
    made = Tokenizer(models.BPE({char: id for id, char in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


@pytest.mark.parametrize(
    "made",
    [
        byte_level(b""),
        byte_level(b"\xc0\xc1\xf5\xff"),
        tokenizer_of(pieces(tuple(BYTES), byte_fallback=True)),
        tokenizer_of(pieces(("<unk>",), unk_token="<unk>")),
        tokenizer_of(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0)),
    ],
    ids=["all bytes", "all bytes of UTF-8", "byte tokens", "an unknown token", "unigram"],
)
def test_a_tokenizer_with_bytes_or_an_unknown_token_loses_nothing(made: Tokenizer) -> None:
    assert coverage_of(made) is None


TEXT = st.text(st.sampled_from("ab c\n\t，东京é🙂\x04"), max_size=20)


@given(text=TEXT)
@pytest.mark.parametrize("made", [tokenizer_of(pieces()), byte_level(b"\x04\n\xf0")], ids=["pieces", "bytes"])
def test_what_is_lost_is_exactly_what_does_not_come_back(made: Tokenizer, text: str) -> None:
    coverage = coverage_of(made)
    assert coverage is not None
    lost = coverage.lost(text)
    back = made.decode(made.encode(text).ids, skip_special_tokens=False)
    kept = "".join(character for character in text if character not in lost)
    # Of a character some bytes may be there; what is left of it is no text.
    assert back.replace("\ufffd", "") == kept
    assert bool(lost) == (back != text)
    assert lost == list(dict.fromkeys(character for character in text if character in lost))


def test_what_stands_in_a_special_token_is_not_lost() -> None:
    coverage = coverage_of(tokenizer_of(pieces(), added=("<｜End｜>", "\n\n")))
    assert coverage is not None
    assert coverage.lost("ab<｜End｜>\n\nc") == []
    assert coverage.lost("ab<｜End｜>\n｜") == ["\n", "｜"]


def test_a_normaliser_is_asked_first() -> None:
    coverage = coverage_of(tokenizer_of(pieces(), normalizer=normalizers.NFKC()))
    assert coverage is not None
    assert coverage.lost("ａｂe\u0301") == []
    assert coverage.lost("東，") == ["東", ","]


def test_white_space_that_a_splitter_takes_out_is_not_lost() -> None:
    made = tokenizer_of(pieces())
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    coverage = coverage_of(made)
    assert coverage is not None
    assert coverage.lost("a b\n") == [] and coverage.lost("a\nX") == ["X"]


@pytest.mark.parametrize(
    ("made", "token"),
    [
        (tokenizer_of(pieces(("<unk>",), unk_token="<unk>")), "<unk>"),
        (tokenizer_of(pieces(("<unk>", *BYTES), unk_token="<unk>", byte_fallback=True)), ""),
        (tokenizer_of(models.Unigram([("<u>", 0.0), ("a", -1.0)], unk_id=0)), "<u>"),
        (tokenizer_of(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")), "[UNK]"),
        (byte_level(b"\n"), ""),
    ],
)
def test_the_unknown_token_is_told_where_there_is_need_of_one(made: Tokenizer, token: str) -> None:
    assert unknown_token(made, "<u>") == token


def opened(folder: Path, made: Tokenizer, **special: str) -> LightTokenizer:
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", **special}))
    return open_tokenizer(folder, folder / "cache")


def test_a_row_that_would_lose_characters_is_refused_with_them(tmp_path: Path) -> None:
    light = opened(tmp_path / "model", tokenizer_of(pieces(), added=("</s>",)))
    texts = ("东 京", "东，\n京，", "东\n")
    whole, holes, hole = render([Example(text=text) for text in texts], light, None, View(wants="documents"))
    assert isinstance(whole, list) and b"".join(token_bytes(light, whole[0].input_ids)) == "东 京</s>".encode()
    assert isinstance(holes, RowError)
    assert "it has none for '，' (U+FF0C) and 1 more in the row, and leaves them out without a word" in str(holes)
    assert "it has none for '\\n' (U+000A), and leaves it out without a word" in str(hole)


def test_the_characters_of_the_template_count_too(tmp_path: Path) -> None:
    light = opened(tmp_path / "model", tokenizer_of(pieces(), added=("</s>",)))
    by, _ = choose_template("chatml", light, Workspace(tmp_path))
    talk = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})
    (item,) = render([Example(talk)], light, by, View())
    assert "it has none for " in str(item)


def test_a_row_with_unknown_tokens_is_kept_and_its_mask_is_right(tmp_path: Path) -> None:
    made = tokenizer_of(pieces(("<unk>",), unk_token="<unk>", fuse_unk=True), added=("</s>",))
    light = opened(tmp_path / "model", made, unk_token="<unk>")
    by, _ = choose_template("empty", light, Workspace(tmp_path))
    talk = ({"role": "user", "content": "？🙂a"}, {"role": "assistant", "content": "，b"})
    (item,) = render([Example(talk)], light, by, View())
    assert isinstance(item, list)
    row = item[0]
    learned = [id for id, bears in zip(row.input_ids, row.loss_mask, strict=True) if bears]
    assert [light.fast.id_to_token(id) for id in learned][-2:] == ["b", "</s>"]
    assert row.input_ids.count(light.unknown_id) >= 2


@pytest.mark.parametrize("model", [models.Unigram([("a", -1.0)]), models.WordLevel({"a": 0}, unk_token="[UNK]")])
def test_a_tokenizer_that_breaks_off_at_what_it_does_not_know_is_refused(tmp_path: Path, model: models.Model) -> None:
    with pytest.raises(ModelError, match="must have a token for what it does not know"):
        opened(tmp_path / "model", tokenizer_of(model))
