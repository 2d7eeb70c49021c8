"""A vocabulary of characters by SentencePiece, with bytes for what it does not know, as Llama 2 has."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from studio.errors import ArgumentError, ModelError, StoppedError
from studio.model.tokenizer_files import from_pretrained
from studio.works.base import Ear
from studio.workspace import write_json

# SentencePiece leaves out longer lines without a word.
LONGEST_LINE_BYTES = 1 << 20
# Lines are cut where no character of theirs could make them longer than that.
LONGEST_LINE = LONGEST_LINE_BYTES // 4 - 1
LONGEST_PIECE = 64
TELL_EVERY = 500


def write(folder: Path, asked: Any, learned: Sequence[str], ear: Ear) -> dict[str, str]:
    """Train and write tokenizer.model and tokenizer.json; gives the special tokens by name.

    Raises ArgumentError when the vocabulary does not fit the texts, ModelError when the two files differ.
    """
    import sentencepiece

    model, stops = io.BytesIO(), list[StoppedError]()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(learned, ear, stops), model_writer=model, model_type="bpe",
            vocab_size=asked.vocab_size, character_coverage=asked.character_coverage, byte_fallback=True,
            split_digits=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
            add_dummy_prefix=True, allow_whitespace_only_pieces=True, max_sentence_length=LONGEST_LINE_BYTES,
            max_sentencepiece_length=min(asked.max_token_length, LONGEST_PIECE), user_defined_symbols=[],
            control_symbols=list(asked.special_tokens), hard_vocab_limit=False, num_threads=1, minloglevel=2,
        )  # fmt: skip
    except (RuntimeError, OSError) as error:
        # What is raised while it asks for a line, sentencepiece makes an error of its own.
        if stops:
            raise stops[0] from None
        raise ArgumentError([
            f"--vocab_size {asked.vocab_size}: sentencepiece must be able to train it on these texts; it says: "
            f"{' '.join(str(error).split())[-300:]} Ask for more tokens, or a lower --character_coverage."
        ])  from None  # fmt: skip
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    special = {
        "bos_token": asked.bos_token or "<s>", "eos_token": asked.eos_token or "</s>", "unk_token": "<unk>",
        "pad_token": asked.pad_token or asked.eos_token or "</s>",
    }  # fmt: skip
    settings = {
        "tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True, "add_eos_token": False,
        "model_max_length": 1_000_000, "clean_up_tokenization_spaces": False,
        "extra_special_tokens": list(asked.special_tokens), **special,
    }  # fmt: skip
    write_json(folder / "tokenizer_config.json", settings)
    ear.tell(1, 1, "writing tokenizer.json")
    from_pretrained(folder).save_pretrained(str(folder))
    _compare(folder, model.getvalue(), learned)
    return special


def _lines(learned: Sequence[str], ear: Ear, stops: list[StoppedError]) -> Iterator[str]:
    try:
        yield from _cut(learned, ear)
    except StoppedError as error:
        stops.append(error)
        raise


def _cut(learned: Sequence[str], ear: Ear) -> Iterator[str]:
    for number, text in enumerate(learned):
        if number % TELL_EVERY == 0:
            ear.tell(number, len(learned), "reading for sentencepiece")
        for line in text.splitlines():
            parts = (line[at : at + LONGEST_LINE] for at in range(0, len(line), LONGEST_LINE))
            yield from (part for part in parts if part.strip())
    ear.tell(len(learned), len(learned), "sentencepiece joins pairs")


def _compare(folder: Path, model: bytes, learned: Sequence[str]) -> None:
    """tokenizer.json must give the ids that sentencepiece gives itself. Raises ModelError."""
    import sentencepiece
    from tokenizers import Tokenizer

    own = sentencepiece.SentencePieceProcessor(model_proto=model)
    fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in [line for each in learned[:50] for line in each.splitlines()[:2] if line.strip()]:
        ours, theirs = fast.encode(text, add_special_tokens=False).ids, own.encode(text)
        if ours != theirs:
            raise ModelError(
                f"tokenizer.json must give the ids of sentencepiece; {text[:60]!r} is {ours[:8]} there, {theirs[:8]} "
                "here. Use byte_bpe, or another release of transformers."
            )
