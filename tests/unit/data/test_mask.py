"""Both ways to the mask give what the offsets of every single token say."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.data.example import Example
from studio.data.mask import mask_by_bytes, mask_by_offsets
from studio.data.render import Rendered, View, render
from studio.errors import RowError
from studio.model.templates import Template, choose_template
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.workspace import Workspace


@pytest.fixture(scope="module")
def chat(tiny_chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> LightTokenizer:
    return open_tokenizer(tiny_chat_model, tmp_path_factory.mktemp("cache"))


def only_row(question: str, answer: str, tokenizer: LightTokenizer, by: Template) -> Rendered:
    messages = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    (item,) = render([Example(messages=messages)], tokenizer, by, View())
    assert not isinstance(item, RowError), item
    return item[0]


def learned(row: Rendered, tokenizer: LightTokenizer) -> str:
    kept = [id for id, bears in zip(row.input_ids, row.loss_mask, strict=True) if bears]
    return tokenizer.fast.decode(kept, skip_special_tokens=False)


# The two noncharacters are refused in a text: they mark answers while rendering.
TEXT = st.text(
    st.sampled_from("ab 1\n.东京的é\u0301😀👩\u200d\t")
    | st.characters(codec="utf-8", exclude_characters="\ufdd0\ufdd1"),
    max_size=40,
)


def by_definition(offsets: list[tuple[int, int]], spans: list[tuple[int, int]], length: int) -> list[bool]:
    """The slow meaning of the mask: one look at every token for every span."""
    mask = [False] * len(offsets)
    for start, end in spans:
        if (start, end) == (0, length):
            return [True] * len(offsets)
        inside = [at for at, (first, last) in enumerate(offsets) if start <= first < last <= end]
        for at in range(inside[0], inside[-1] + 1) if inside else ():
            mask[at] = True
    return mask


@given(text=TEXT, borders=st.lists(st.integers(0, 40), min_size=2, max_size=6))
def test_the_mask_is_what_the_offsets_of_every_token_say(text: str, borders: list[int], chat: LightTokenizer) -> None:
    encoding = chat.fast.encode(text, add_special_tokens=False)
    edges = sorted(min(border, len(text)) for border in borders)
    spans = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    expected = by_definition(encoding.offsets, spans, len(text))
    assert mask_by_offsets(encoding, spans, len(text)) == expected
    widths = chat.byte_widths
    assert widths is not None
    if unicodedata.is_normalized("NFC", text) and text:
        assert mask_by_bytes(encoding.ids, widths, text, spans) == expected


def test_bytes_that_do_not_add_up_to_the_text_are_left_to_the_offsets(chat: LightTokenizer) -> None:
    widths = chat.byte_widths
    assert widths is not None
    changed = "cafe\u0301 is <|im_end|>"
    ids = chat.fast.encode(changed, add_special_tokens=False).ids
    assert mask_by_bytes(ids, widths, changed, [(0, 4)]) is None
    assert mask_by_bytes(ids, widths, "café is  <|im_end|>", [(0, 4)]) is None
    assert mask_by_bytes(ids, widths, "café is <|im_end|>", [(0, 4)]) is not None


def test_a_tokenizer_that_is_not_byte_level_masks_by_offsets(tmp_path: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    fast = Tokenizer(models.Unigram())
    fast.pre_tokenizer = pre_tokenizers.Metaspace()
    fast.decoder = decoders.Metaspace()
    marks = ["</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=marks, unk_token="<unk>", show_progress=False)
    fast.train_from_iterator(["who is it", "it is me", "Human: Assistant:\n"] * 9, trainer)
    fast.add_special_tokens([AddedToken(mark, normalized=False) for mark in marks])
    fast.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}', encoding="utf-8")
    light = open_tokenizer(tmp_path, tmp_path / "cache")
    assert light.byte_widths is None
    row = only_row("who is it", " it is me", light, choose_template("", light, Workspace(tmp_path))[0])
    assert learned(row, light) == "it is me</s>"


@given(question=TEXT, answer=TEXT)
def test_a_token_that_straddles_the_border_belongs_to_the_prompt(
    question: str, answer: str, chat: LightTokenizer
) -> None:
    row = only_row(question, answer, chat, choose_template("default", chat, Workspace(Path.cwd()))[0])
    offsets = chat.fast.encode(row.text, add_special_tokens=False).offsets
    (span,) = row.spans
    assert row.text[slice(*span)] == answer + chat.eos_token
    assert row.loss_mask == by_definition(offsets, row.spans, len(row.text))
    assert learned(row, chat).endswith(chat.eos_token)


def test_offsets_do_not_hide_the_space_that_a_token_begins_with(tiny_chat_model: Path, tmp_path: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors, trainers

    fast = Tokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    fast.train_from_iterator(
        ["say hello hello hello"] * 3, trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False)
    )
    fast.add_special_tokens([AddedToken("<|im_end|>", normalized=False)])
    fast.post_processor = processors.ByteLevel(trim_offsets=True)
    folder = tmp_path / "trimmed"
    folder.mkdir()
    fast.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}', encoding="utf-8")
    light = open_tokenizer(folder, tmp_path / "cache")
    source = (
        "{% for m in messages %}{% if m.role == 'user' %}Q{{ m.content }} {% else %}{{ m.content }}"
        "{{ eos_token }}{% endif %}{% endfor %}"
    )
    by = Template("probe", source, "a test", False)
    row = only_row("say", "hello", light, by)
    assert learned(row, light) == "<|im_end|>", "the token ' hello' begins in the prompt"
