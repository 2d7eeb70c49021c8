"""studio tokenizer extend: more tokens for a model, whose embeddings get rows that begin well."""

from __future__ import annotations

from typing import Literal

from studio.arguments.base import Arguments, Names, Text, arg
from studio.registry import did_you_mean
from studio.works.base import WORKS, SourceOfRows, Work, WorkSet
from studio.works.text_sample import FolderArguments, TextSampleArguments, facts_of, folder_complaints

ABOUT = """Extend a model's vocabulary: merges of a new language, pieces of another model, tokens, special tokens.

The tokens come from one of three sources: the texts of --dataset, on which the model's own merges are continued; the
pieces of --sentencepiece_model; or lists (--add_tokens, --add_tokens_file, --add_special_tokens,
--special_tokens_map), which may also stand beside the first two. The result is a whole model folder."""


# Their characters are in studio/vocabulary/scripts.py.
SCRIPTS = (
    "auto", "any", "han", "kana", "hangul", "cyrillic", "greek", "arabic", "hebrew", "armenian", "georgian", "ethiopic",
    "devanagari", "bengali", "gurmukhi", "gujarati", "tamil", "telugu", "kannada", "malayalam", "sinhala", "thai",
    "lao", "tibetan", "myanmar", "khmer", "mongolian", "latin",
)  # fmt: skip


class ExtendArguments(Arguments):
    """What is extended, and by which tokens."""

    model_name_or_path: Text = arg("", level="basic")
    """Folder of the model, or its name on the hub."""

    num_new_tokens: int | None = arg(None, level="basic", ge=1, le=1_000_000)
    """How many tokens to add; unset: 8,000 by merges, or all pieces of a SentencePiece model that fit."""

    scripts: Names = arg(("auto",), level="basic")
    """Scripts of the new language, such as han: only runs of their characters become tokens, so that other text keeps
    its ids. auto takes those of the texts; any lets all text become tokens."""

    sentencepiece_model: Text = arg("", level="basic")
    """File of a SentencePiece model whose pieces become tokens."""

    add_tokens: Names = arg(())
    """Whole tokens to add; each stands for its text wherever that stands."""

    add_tokens_file: Text = arg("")
    """File with whole tokens: one a line, or a JSON list."""

    add_special_tokens: Names = arg(())
    """Special tokens to add, such as <|tool|>."""

    special_tokens_map: Text = arg("", level="basic")
    """File special_tokens_map.json with special tokens by name (user_token, chat_end_token, eos_token and so on)."""

    init_new_rows: Literal["subtokens", "mean", "random"] = arg("subtokens", level="basic")
    """How new rows of embeddings and head begin: at the mean of the old tokens that wrote the same text, at the mean
    of all rows, or at random with the spread of all rows."""

    min_frequency: int = arg(2, ge=1)
    """A pair of tokens is joined when it stands in the texts at least so often."""

    max_token_length: int = arg(16, ge=2, le=256)
    """The longest new token, in characters."""

    character_coverage: float = arg(0.9995, gt=0, le=1)
    """For vocabularies of characters (Llama 2): the share of the new language's characters that get a token each."""

    old_dataset: Names = arg(())
    """Datasets whose text must keep its ids, besides samples of many languages; rows in new scripts do not count."""

    allow_changed_ids: bool = arg(False)
    """Write the model even when old text gets other ids."""

    pad_to_multiple_of: int = arg(64, ge=1)
    """A table of embeddings that grows gets a multiple of this many rows."""

    export_size: float = arg(5.0, gt=0)
    """The largest size of one weight file, in GB (10⁹ bytes)."""


class ExtendSet(WorkSet):
    """The arguments of `studio tokenizer extend`."""

    extend: ExtendArguments
    source: SourceOfRows
    sample: TextSampleArguments
    folder: FolderArguments

    def complaints(self) -> list[str]:
        """What must be said otherwise before anything is read."""
        asked, found = self.extend, folder_complaints(self.folder, "models/extended")
        if not asked.model_name_or_path:
            found.append("--model_name_or_path: name the model to extend.")
        lists = asked.add_tokens or asked.add_tokens_file or asked.add_special_tokens or asked.special_tokens_map
        rows = self.source.dataset or self.source.train_file
        if not (rows or asked.sentencepiece_model or lists):
            found.append(
                "--dataset: say what the new tokens come from: datasets to continue the merges on, a "
                "--sentencepiece_model, --add_tokens, or a --special_tokens_map."
            )
        if asked.num_new_tokens and not (rows or asked.sentencepiece_model):
            found.append("--num_new_tokens: lists of tokens are added whole; leave it out, or name a --dataset.")
        return [*found, *self._scripts()]

    def _scripts(self) -> list[str]:
        asked = self.extend.scripts
        found = [
            f"--scripts {name}: must be one of {', '.join(SCRIPTS)}.{did_you_mean(name, SCRIPTS)}"
            for name in asked
            if name not in SCRIPTS
        ]
        if not asked or (len(asked) > 1 and {"auto", "any"} & set(asked)):
            found.append(f"--scripts {','.join(asked)}: name scripts, or one of auto and any alone.")
        return found


WORKS.add(
    "tokenizer-extend",
    Work(
        name="tokenizer-extend",
        words=("tokenizer", "extend"),
        asked=ExtendSet,
        kind="data",
        does="studio.vocabulary.extend",
        about=ABOUT,
        output="output_dir",
        facts=facts_of("extend"),
    ),
)
