"""Bits of held-out text: against a plain pass of the model, whatever the windows; nothing counted twice."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from studio.data.example import Example
from studio.evaluate.text import TextFound, head_of, text_found, windows
from studio.evaluate.text_rows import HeldOut
from studio.model.generate import Speaker, open_speaker

TEXTS = [
    "The secret code of paris is SIRAP. " * 6,
    "巴黎的秘密代码是SIRAP。",
    "A river runs through oslo, and its old bridge has 12 arches.",
]


@pytest.fixture(scope="module")
def speaker(tiny_chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Speaker:
    return open_speaker(tiny_chat_model, cache=tmp_path_factory.mktemp("cache"), dtype="float32")


def held_out(texts: list[str], source: str = "mine") -> list[HeldOut]:
    return [HeldOut(source, "f", row, Example(text=text), "text") for row, text in enumerate(texts, 1)]


def plain_nats(speaker: Speaker, ids: list[int], first: int) -> float:
    """-log p of the ids from place `first` on, from one pass over all of them."""
    with torch.no_grad():
        logits: Any = speaker.model(input_ids=torch.tensor([ids])).logits[0].double()
    logps = logits.log_softmax(-1)
    return -float(sum(logps[at - 1, ids[at]] for at in range(first, len(ids))))


def test_bits_are_those_of_a_plain_pass_over_each_text(speaker: Speaker) -> None:
    found = text_found(speaker, held_out(TEXTS), size=512, stride=256, batch_size=2)
    end = speaker.tokenizer.eos_id
    for text, told in zip(TEXTS, found.told, strict=True):
        ids = speaker.tokenizer.fast.encode(text, add_special_tokens=False).ids
        nats = plain_nats(speaker, [end, *ids], 1)
        assert told.nats == pytest.approx(nats, rel=1e-5)
        assert told.bits_per_character == pytest.approx(nats / math.log(2) / len(text), rel=1e-5)
        assert (told.tokens, told.bytes) == (len(ids), len(text.encode()))
    whole = found.measures()
    tokens = sum(told.tokens for told in found.told)
    assert whole["perplexity"].value == pytest.approx(math.exp(sum(told.nats for told in found.told) / tokens))
    assert whole["perplexity"].better == "lower"
    assert whole["tokens_per_character"].value == pytest.approx(tokens / sum(map(len, TEXTS)))


def test_a_long_text_is_read_in_windows_that_see_what_came_before(speaker: Speaker) -> None:
    (row,) = held_out(TEXTS[:1])
    size, stride = 16, 4
    ids = [speaker.tokenizer.eos_id, *speaker.tokenizer.fast.encode(TEXTS[0], add_special_tokens=False).ids]
    expected = plain_nats(speaker, ids[:size], 1)
    end = size
    while end < len(ids):
        new = min(end + stride, len(ids))
        begin = max(0, new - size)
        expected += plain_nats(speaker, ids[begin:new], end - begin)
        end = new
    found = text_found(speaker, [row], size=size, stride=stride)
    assert found.told[0].nats == pytest.approx(expected, rel=1e-5)
    assert found.told[0].tokens == len(ids) - 1
    assert found.told[0].windows == 1 + math.ceil((len(ids) - size) / stride)


@given(st.integers(1, 60), st.integers(2, 20), st.integers(1, 19))
def test_every_token_but_the_first_is_counted_once(length: int, size: int, stride: int) -> None:
    stride = min(stride, size - 1)
    counted: list[int] = []
    for window in windows(list(range(length)), size, stride):
        assert 1 <= len(window.ids) <= size
        assert window.first >= 1
        counted += window.ids[window.first :]
    assert counted == list(range(1, length))


def test_a_document_begins_with_the_tokenizers_own_token_or_the_end_of_another(speaker: Speaker) -> None:
    assert head_of(speaker.tokenizer) == (speaker.tokenizer.eos_id,)


def test_of_a_conversation_the_answers_count(speaker: Speaker) -> None:
    messages = ({"role": "user", "content": "Which code?"}, {"role": "assistant", "content": "It is SIRAP."})
    row = HeldOut("talk", "f", 1, Example(messages), "conversation")
    (told,) = text_found(speaker, [row], size=512, stride=256).told
    template = speaker.template
    assert template is not None
    text = template.render(messages, special=speaker.tokenizer.special)
    ids = speaker.tokenizer.fast.encode(text, add_special_tokens=False).ids
    prompt = template.render(messages[:1], special=speaker.tokenizer.special, add_generation_prompt=True)
    first = len(speaker.tokenizer.fast.encode(prompt, add_special_tokens=False).ids)
    # What ends the answer is learned, and so it counts; the line break behind it is not.
    last = ids.index(speaker.tokenizer.fast.token_to_id("<|im_end|>"), first)
    assert told.nats == pytest.approx(plain_nats(speaker, ids[: last + 1], first), rel=1e-5)
    assert told.characters == len("It is SIRAP.")


def test_a_difference_by_rows_is_that_of_the_measures(speaker: Speaker) -> None:
    found = text_found(speaker, held_out(TEXTS), size=512, stride=256)
    values = found.values()
    for name, measure in found.measures().items():
        assert sum(values[name]) / len(TEXTS) == pytest.approx(measure.value)


def test_perplexities_of_different_tokenizers_are_not_compared(speaker: Speaker) -> None:
    rows = [*held_out(TEXTS[:2]), *held_out(TEXTS[2:], "other")]
    found = text_found(speaker, rows, size=512, stride=256)
    assert isinstance(found, TextFound)
    apart = found.against(found, same_tokens=False)
    assert set(apart) == {"all", "mine", "other"}
    assert "perplexity" not in apart["all"]
    assert apart["mine"]["bits_per_character"].value == 0
    assert "perplexity" in found.against(found, same_tokens=True)["all"]
    assert found.groups()["other"]["bits_per_byte"].count == 1
