"""Pairs of a wanted and an unwanted answer under a reward model, or under a policy and its base."""

from __future__ import annotations

import importlib
import re
from typing import Any, Literal

from studio.arguments.base import Arguments, Names, Object, Text, arg
from studio.arguments.model import ModelArguments
from studio.arguments.template import TemplateArguments
from studio.works.base import WORKS, Work, WorkSet
from studio.works.measured import MeasuredArguments
from studio.workspace import Workspace

_NAME = re.compile(r"[\w.-]{1,60}")


class PairsArguments(Arguments):
    """Which pairs are measured."""

    test_reward_model_acc_files: Object = arg({}, level="basic")
    """Files of pairs to measure, named: {"name": "file"}, with rows of prompt, chosen (or selected) and rejected."""

    dataset: Names = arg((), level="basic")
    """Names of datasets of pairs in `dataset_info.json` to measure."""

    dataset_dir: Text = arg("data")
    """Folder with the data files; a `dataset_info.json` inside it is read too."""

    pairs_by: Literal["auto", "score", "likelihood"] = arg("auto")
    """score: by the scores of a reward model. likelihood: by how likely a model that writes finds the answers. auto:
    score for a reward model, else likelihood."""

    max_samples: int | None = arg(None, level="basic", ge=1, le=10**12)
    """At most this many rows of each file and dataset, the first ones."""

    cutoff_len: int = arg(2048, level="basic", ge=4, le=1 << 24)
    """Longest conversation in tokens; what is beyond is cut, as in training."""

    skip_bad_rows: bool = arg(False)
    """Leave out rows that cannot be used, up to max_bad_rows, and list them; else stop at them."""

    max_bad_rows: float = arg(0.01, ge=0, le=10**12)
    """Most rows that skip_bad_rows may leave out: below 1 a share, from 1 on a number of rows."""


class PairsSet(WorkSet):
    """The arguments of `studio eval pairs`."""

    model: ModelArguments
    measured: MeasuredArguments
    pairs: PairsArguments
    template: TemplateArguments

    def complaints(self) -> list[str]:
        """What must be said otherwise before anything is read."""
        said = []
        if not self.model.model_name_or_path:
            said.append("--model_name_or_path must name a reward model, a policy, or the run of one; it is empty.")
        files = self.pairs.test_reward_model_acc_files
        if not files and not self.pairs.dataset:
            said.append("--test_reward_model_acc_files: name files of pairs as {\"name\": \"file\"}, or datasets with "
                        "--dataset.")  # fmt: skip
        for name, path in files.items():
            if not _NAME.fullmatch(name):
                said.append(f"--test_reward_model_acc_files: a name must be letters, digits, points and dashes, at "
                            f"most 60; got {name!r}. Choose another.")  # fmt: skip
            elif not isinstance(path, str) or not path:
                said.append(f"--test_reward_model_acc_files {name}: must lead to the path of a file; got {path!r}. "
                            "Write it as text.")  # fmt: skip
        if twice := sorted(set(files) & set(self.pairs.dataset)):
            said.append(f"--test_reward_model_acc_files: {', '.join(twice)} is a dataset's name too. Choose another.")
        return said


def _facts(asked: PairsSet, place: Workspace) -> dict[str, Any]:
    """The first pairs of each source: {"pairs": {source: number}, "notes"}."""
    found: dict[str, Any] = importlib.import_module("studio.evaluate.pair_rows").quick_facts(asked.pairs, place)
    return found


WORKS.add(
    "eval_pairs",
    Work(
        name="eval_pairs",
        words=("eval", "pairs"),
        asked=PairsSet,
        kind="eval",
        does="studio.evaluate.pairs_work",
        about="How often a reward model, or a policy, prefers the better one of two answers.\n\n"
        "  studio eval pairs --model_name_or_path saves/X/lora/reward "
        '--test_reward_model_acc_files \'{"mine": "data/pairs.jsonl"}\'\n\n'
        "A reward model is measured by its scores. A policy is measured by how likely it finds the answers, and by\n"
        "how much likelier than its base does: the reward that preference learning gives it.",
        facts=_facts,
    ),
)
