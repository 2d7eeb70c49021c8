"""studio tokenizer train: a BPE learned from texts, as a folder that transformers loads to the same ids."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from studio.errors import ArgumentError, ModelError
from studio.model.staging import in_the_way, staged
from studio.model.tokenizer import check_against_transformers, open_tokenizer
from studio.model.tokenizer_files import TOKENIZER_FILE
from studio.vocabulary import compare, sentences, texts
from studio.vocabulary.extend import COMPARED, COMPARED_CHARACTERS, already
from studio.works.base import Ear
from studio.workspace import Workspace, write_json, write_text

# How text is cut before bytes are joined, by the models that have it.
CUTS = {
    "qwen2": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "llama3": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}
# The classes that rebuild exactly these rules; any other shape is read as it is written.
CLASSES = {"qwen2": "Qwen2Tokenizer", "llama3": "PreTrainedTokenizerFast", "gpt2": "PreTrainedTokenizerFast"}
BYTES = 256
TELL_EVERY = 500
SHOWN_TOKENS = 24
# A character of most scripts that need long tokens takes so many bytes.
BYTES_OF_A_CHARACTER = 3


def run(asked: Any, place: Workspace, ear: Ear) -> dict[str, Any]:
    """Train a vocabulary; a plain result:

    folder, kind      what was written; byte_bpe or sentencepiece
    tokens            {"asked", "all", "special": {name: text}}: how many tokens there are
    measures          {"datasets": [...], "scripts": [...]} on held-out texts: rows {"name", "texts", "characters",
                      "bytes", "after": {"tokens", "tokens_per_character", "bytes_per_token"}}
    example           {"text", "after": [{"text", "ids"}]}
    new_tokens        {"first": [{"id", "text"}], "last": [...]}
    round_trip        {"texts", "lost"}: held-out texts, and those that do not come back as they were
    texts             {dataset: {"texts", "characters", "held_out", "held_out_characters"}}
    notes, seconds
    """
    started = time.monotonic()
    target = place.target(asked.folder.output_dir)
    if in_the_way(target, replace=asked.folder.overwrite_output_dir):
        raise ArgumentError([already(asked.folder.output_dir)])
    vocabulary = asked.vocabulary
    read = texts.read(texts.Asked.of(asked), place, ear)
    notes = list(read.notes)
    with staged(target, replace=asked.folder.overwrite_output_dir) as folder:
        if vocabulary.tokenizer_kind == "sentencepiece":
            special = sentences.write(folder, vocabulary, read.all, ear)
        else:
            special = _write_bytes(folder, vocabulary, read.all, ear)
        if vocabulary.chat_template:
            _write_template(folder, vocabulary.chat_template, place)
        light = open_tokenizer(folder, place.cache)
        held = {name: several for name, several in read.held_out.items() if several}
        samples = [text[:COMPARED_CHARACTERS] for each in held.values() for text in each][:COMPARED]
        _check(folder, light, [*compare.KEPT, *samples])
        if light.size < vocabulary.vocab_size:
            notes.append(f"{light.size:,} tokens instead of {vocabulary.vocab_size:,}: the texts give no more pairs")
        lost = [text for text in samples if light.fast.decode(light.fast.encode(text).ids) != text]
        example = max((text[: compare.SHOWN_CHARACTERS] for text in samples), key=len, default="")
        # Special tokens and single bytes come first, in both kinds.
        known = sum(token.special for token in light.fast.get_added_tokens_decoder().values()) + BYTES
        shown = [{"id": number, "text": light.fast.decode([number])} for number in range(known, light.size)]
        result = {
            "folder": place.shown(target), "kind": vocabulary.tokenizer_kind,
            "tokens": {"asked": vocabulary.vocab_size, "all": light.size, "special": special},
            "measures": compare.measures(held, {"after": light.fast}),
            "example": {"text": example, "after": compare.spans(example, light.fast)},
            "new_tokens": {"first": shown[:SHOWN_TOKENS], "last": shown[SHOWN_TOKENS:][-SHOWN_TOKENS:]},
            "round_trip": {"texts": len(samples), "lost": len(lost)}, "texts": read.counts(), "notes": notes,
        }  # fmt: skip
        write_json(folder / "vocabulary.json", _record(result, light.size))
    return result | {"seconds": round(time.monotonic() - started, 2)}


def _record(result: dict[str, Any], size: int) -> dict[str, Any]:
    kept = {key: result[key] for key in ("kind", "tokens", "measures", "texts", "notes")}
    return {"schema": 1, "base": "", "base_size": 0, "size": size, "added": [], "start": "", "hashes": {}, **kept}


def _write_bytes(folder: Path, asked: Any, learned: Sequence[str], ear: Ear) -> dict[str, str]:
    """Byte-level BPE; gives the special tokens by name."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    if asked.vocab_size < BYTES + len(asked.special_tokens):
        raise ArgumentError([
            f"--vocab_size {asked.vocab_size}: must hold 256 bytes and {len(asked.special_tokens)} special tokens."
        ])  # fmt: skip
    tokenizer = Tokenizer(models.BPE())
    if asked.pre_tokenizer == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(CUTS[asked.pre_tokenizer]), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=asked.vocab_size, min_frequency=asked.min_frequency, show_progress=False,
        special_tokens=[AddedToken(token, special=True) for token in asked.special_tokens],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=asked.max_token_length * BYTES_OF_A_CHARACTER,
    )  # fmt: skip
    tokenizer.train_from_iterator(_told(learned, ear), trainer=trainer, length=len(learned))
    tokenizer.save(str(folder / TOKENIZER_FILE))
    special = _special(asked)
    settings = {
        "tokenizer_class": CLASSES[asked.pre_tokenizer], "model_max_length": 1_000_000, "add_prefix_space": False,
        "clean_up_tokenization_spaces": False, **special,
    }  # fmt: skip
    write_json(folder / "tokenizer_config.json", settings)
    return special


def _told(learned: Sequence[str], ear: Ear) -> Iterator[str]:
    for number, text in enumerate(learned):
        if number % TELL_EVERY == 0:
            ear.tell(number, len(learned), "counting words")
        yield text
    ear.tell(len(learned), len(learned), "joining pairs")


def _special(asked: Any) -> dict[str, str]:
    """The named special tokens of byte-level BPE."""
    tokens = asked.special_tokens
    end = asked.eos_token or ("<|im_end|>" if "<|im_end|>" in tokens else tokens[0])
    pad = asked.pad_token or ("<|endoftext|>" if "<|endoftext|>" in tokens else end)
    unknown = {"unk_token": pad} if asked.pre_tokenizer == "qwen2" else {}
    return {
        **({"bos_token": asked.bos_token} if asked.bos_token else {}),
        "eos_token": end,
        "pad_token": pad,
        **unknown,
    }


def _write_template(folder: Path, name: str, place: Workspace) -> None:
    from studio.model.templates import choose_template

    template, _ = choose_template(name, open_tokenizer(folder, place.cache), place)
    if template is None:
        raise ArgumentError([f"--chat_template {name}: must be a template that writes conversations; this is none."])
    write_text(folder / "chat_template.jinja", template.jinja)


def _check(folder: Path, light: Any, samples: Sequence[str]) -> None:
    """transformers must give the same ids. Raises ModelError."""
    try:
        check_against_transformers(light, samples, documents=True)
    except ModelError as error:
        raise ModelError(str(error).replace(str(folder), "the trained tokenizer")) from None


def as_text(found: dict[str, Any]) -> str:
    """What came of it, for a terminal."""
    lines = [
        f"{found['folder']}: {found['tokens']['all']:,} tokens ({found['kind']}); "
        + ", ".join(f"{name} {text}" for name, text in found["tokens"]["special"].items())
    ]
    lines += [
        f"  {row['name']}: {row['after']['tokens_per_character']:.3f} tokens a character, "
        f"{row['after']['bytes_per_token']:.2f} bytes a token ({row['characters']:,} held-out characters)"
        for row in found["measures"]["scripts"]
    ]
    lost = found["round_trip"]
    lines.append(
        f"{lost['texts'] - lost['lost']} of {lost['texts']} held-out texts come back from their ids as they were"
    )
    return "\n".join(
        [*lines, *found["notes"], f"next: studio tokenizer new-model --tokenizer_name_or_path {found['folder']} …"]
    )
