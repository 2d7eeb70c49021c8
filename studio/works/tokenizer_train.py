"""studio tokenizer train: a vocabulary from nothing but text."""

from __future__ import annotations

from typing import Literal

from studio.arguments.base import Arguments, Names, Text, arg
from studio.works.base import WORKS, SourceOfRows, Work, WorkSet
from studio.works.text_sample import FolderArguments, TextSampleArguments, facts_of, folder_complaints

ABOUT = """Train a vocabulary (BPE) on the texts of datasets; the result is a tokenizer's folder.

byte_bpe is what GPT, Llama 3 and Qwen have; sentencepiece is what Llama 2 has: characters, and bytes for what it does
not know. `studio tokenizer new-model` makes a model with it."""


class TokenizerTrainArguments(Arguments):
    """What kind of vocabulary is trained, and how large."""

    tokenizer_kind: Literal["byte_bpe", "sentencepiece"] = arg("byte_bpe", level="basic")
    """BPE of bytes (GPT-2, Llama 3, Qwen), or of characters with bytes behind by SentencePiece (Llama 2)."""

    vocab_size: int = arg(16_000, level="basic", ge=300, le=1_000_000)
    """How many tokens the vocabulary has, special ones counted."""

    pre_tokenizer: Literal["qwen2", "llama3", "gpt2"] = arg("qwen2", level="basic")
    """How text is cut before bytes are joined, with byte_bpe: qwen2 one digit at a time and Unicode composed (needed
    for a model of type qwen2), llama3 up to three digits together, gpt2 all digits of a number."""

    special_tokens: Names = arg(("<|endoftext|>", "<|im_start|>", "<|im_end|>"), level="basic")
    """Special tokens, the first ids; with sentencepiece they come behind <unk>, <s> and </s>."""

    eos_token: Text = arg("")
    """The token that ends a text; unset: <|im_end|> among the special tokens, else the first one; </s> with
    sentencepiece."""

    bos_token: Text = arg("")
    """The token that begins a text; unset: none with byte_bpe, <s> with sentencepiece."""

    pad_token: Text = arg("")
    """The token that fills rows; unset: <|endoftext|> among the special tokens, else the end token."""

    chat_template: Text = arg("")
    """A chat template of the studio to keep with it, such as chatml; its special tokens must be among those above."""

    min_frequency: int = arg(2, ge=1)
    """A pair of tokens is joined when it stands in the texts at least so often."""

    max_token_length: int = arg(16, ge=2, le=256)
    """The longest new token, in characters (in bytes with byte_bpe: three times as many)."""

    character_coverage: float = arg(0.9995, gt=0, le=1)
    """With sentencepiece: the share of the texts' characters that get a token each; others are written as bytes."""


class TrainSet(WorkSet):
    """The arguments of `studio tokenizer train`."""

    vocabulary: TokenizerTrainArguments
    source: SourceOfRows
    sample: TextSampleArguments
    folder: FolderArguments

    def complaints(self) -> list[str]:
        """What must be said otherwise before anything is read."""
        found, asked = folder_complaints(self.folder, "models/my-tokenizer"), self.vocabulary
        if not (self.source.dataset or self.source.train_file):
            found.append("--dataset: name at least one dataset to learn from, or a --train_file.")
        if asked.tokenizer_kind == "byte_bpe" and not asked.special_tokens:
            found.append("--special_tokens: name at least one, as the end of a text needs a token.")
        own = ("<unk>", "<s>", "</s>") if asked.tokenizer_kind == "sentencepiece" else ()
        for name in ("eos_token", "bos_token", "pad_token"):
            if (token := getattr(asked, name)) and token not in (*asked.special_tokens, *own):
                found.append(f"--{name} {token}: must be one of --special_tokens {','.join(asked.special_tokens)}.")
        if twice := {token for token in asked.special_tokens if asked.special_tokens.count(token) > 1}:
            found.append(f"--special_tokens: each must be named once; {', '.join(sorted(twice))} is named again.")
        return found


WORKS.add(
    "tokenizer-train",
    Work(
        name="tokenizer-train",
        words=("tokenizer", "train"),
        asked=TrainSet,
        kind="data",
        does="studio.vocabulary.train",
        about=ABOUT,
        output="output_dir",
        facts=facts_of("train"),
    ),
)
