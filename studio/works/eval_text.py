"""Held-out text under a model, its checkpoints and its base: perplexity, bits per character and per byte."""

from __future__ import annotations

import importlib
from typing import Any, Literal

from studio.arguments.base import Arguments, Names, Text, arg
from studio.arguments.model import ModelArguments
from studio.arguments.template import TemplateArguments
from studio.works.base import WORKS, Work, WorkSet
from studio.works.measured import MeasuredArguments
from studio.workspace import Workspace


class HeldOutArguments(Arguments):
    """Which texts are measured, and how much of one the model sees at a time."""

    text_file: Names = arg((), level="basic")
    """Files with texts that no model was trained on, without an entry in `dataset_info.json`."""

    dataset: Names = arg((), level="basic")
    """Names of datasets in `dataset_info.json` to measure; of conversations the answers count, after their prompts."""

    dataset_dir: Text = arg("data")
    """Folder with the data files; a `dataset_info.json` inside it is read too."""

    sample_by: Literal["line", "paragraph", "document"] = arg("document")
    """What one text of a .txt file in text_file is: the whole file, a paragraph or a line."""

    max_samples: int | None = arg(None, level="basic", ge=1, le=10**12)
    """At most this many rows of each file and dataset, the first ones."""

    cutoff_len: int = arg(2048, level="basic", ge=8, le=1 << 24)
    """Most tokens that the model sees at once; a longer text is read in windows, a longer conversation is cut."""

    stride: int | None = arg(None, ge=1, le=1 << 24)
    """Tokens that each further window of a long text adds; the rest of it is context. Unset: half of cutoff_len."""

    skip_bad_rows: bool = arg(False)
    """Leave out rows that cannot be used, up to max_bad_rows, and list them; else stop at them."""

    max_bad_rows: float = arg(0.01, ge=0, le=10**12)
    """Most rows that skip_bad_rows may leave out: below 1 a share, from 1 on a number of rows."""


class TextSet(WorkSet):
    """The arguments of `studio eval text`."""

    model: ModelArguments
    measured: MeasuredArguments
    texts: HeldOutArguments
    template: TemplateArguments

    def complaints(self) -> list[str]:
        """What must be said otherwise before anything is read."""
        said = []
        if not self.model.model_name_or_path:
            said.append("--model_name_or_path must name a model, a run or a checkpoint; it is empty.")
        if not self.texts.text_file and not self.texts.dataset:
            said.append("--text_file: name a file with held-out texts, or datasets with --dataset.")
        if self.texts.stride is not None and self.texts.stride >= self.texts.cutoff_len:
            said.append(f"--stride {self.texts.stride}: must be below cutoff_len, {self.texts.cutoff_len}, so that "
                        "each window has context. Lower it.")  # fmt: skip
        return said


def _facts(asked: TextSet, place: Workspace) -> dict[str, Any]:
    """The first texts of each source: {"texts", "characters", "kinds": {source: kind of its rows}, "notes"}."""
    found: dict[str, Any] = importlib.import_module("studio.evaluate.text_rows").quick_facts(asked.texts, place)
    return found


WORKS.add(
    "eval_text",
    Work(
        name="eval_text",
        words=("eval", "text"),
        asked=TextSet,
        kind="eval",
        does="studio.evaluate.text_work",
        about="Perplexity and bits per character of held-out text, beside the base.\n\n"
        "  studio eval text --model_name_or_path saves/X/lora/first --text_file data/held_out.txt\n\n"
        "Bits per character can be compared between models with different tokenizers, perplexity cannot. Long texts\n"
        "are read in windows that overlap. The base is measured too; intervals are over texts.",
        facts=_facts,
    ),
)
