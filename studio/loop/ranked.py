"""A reward model learns from pairs: the chosen answer shall get the higher score.

Letters of shapes: P pairs, D documents (chosen, rejected, chosen, rejected …), T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from torch.nn.functional import logsigmoid
from torch.utils.data import DataLoader, Subset

from studio.data.rows import Rows
from studio.jobs.plot import plot_scores
from studio.loop.attention import lengths
from studio.loop.batch import Collator, Groups, document_lengths
from studio.loop.build import build
from studio.loop.causal import MODEL_INPUTS
from studio.loop.measured import Split
from studio.loop.padding import padding_of
from studio.loop.parts import Parts
from studio.loop.testsets import ARGUMENT, HELD_OUT, rows_of
from studio.loop.trainer import Measured, StudioTrainer
from studio.model.classifier import set_padding
from studio.model.scorehead import at_ends, head_of
from studio.workspace import write_json

SCORES, PICTURE = "scores.json", "scores.png"


def reward_trainer(parts: Parts) -> RewardTrainer:
    """A trainer of scores over the parts' pairs."""
    padding = padding_of(parts.material, parts.rows)
    set_padding(parts.model, padding.id)
    if padding.told:
        parts.say(padding.told)
    parts.writer.beside.append(padding.write)
    return build(RewardTrainer, parts, made_from=parts)


class RewardTrainer(StudioTrainer):
    """Trains a classifier of one label on pairs; a score is read at the last token of a document."""

    def __init__(self, *, made_from: Parts, **kwargs: Any) -> None:
        self.parts = made_from
        super().__init__(**kwargs)
        self.scores = torch.empty(0)
        # The head is watched in place of the model's answer, which is the score of one place alone.
        head_of(self.model).register_forward_hook(self._keep)

    def _keep(self, _head: torch.nn.Module, _inputs: Any, scores_BT1: torch.Tensor) -> None:
        self.scores = scores_BT1

    def pair_scores(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Scores (P, 2) in float32 of a batch, of the chosen answer and of the rejected one."""
        self.document_lengths = document_lengths(inputs)  # read by the noise on the embeddings
        flat = {name: value for name, value in inputs.items() if name in MODEL_INPUTS}
        model(**flat, **lengths(flat), use_cache=False)
        scores, self.scores = self.scores, torch.empty(0)
        if "cu_seq_lens_q" in inputs:
            sizes_D = inputs["cu_seq_lens_q"].diff()
            return at_ends(scores, sizes_D, flat=True).float().view(-1, 2)
        return at_ends(scores, inputs["attention_mask"].sum(dim=1), flat=False).float().view(-1, 2)

    def measure(self, model: Any, inputs: dict[str, torch.Tensor]) -> Measured:
        """The negative log-likelihood of the verdicts under Bradley and Terry (1952), as in arXiv 2203.02155.

        It is -log sigmoid(score of the chosen - score of the rejected), summed over the pairs.
        """
        scores_P2 = self.pair_scores(model, inputs)
        margin_P = scores_P2[:, 0] - scores_P2[:, 1]
        pairs, right = len(margin_P), int((margin_P > 0).sum())
        told = {"accuracy": (right, pairs), "margin": (float(margin_P.detach().sum()), pairs)}
        return Measured(-logsigmoid(margin_P).sum(), pairs, told)

    def items(self, inputs: dict[str, torch.Tensor]) -> int:
        """The pairs of a batch."""
        documents = len(inputs["cu_seq_lens_q"]) - 1 if "cu_seq_lens_q" in inputs else len(inputs["input_ids"])
        return documents // 2

    # -- at the end

    def conclude(self) -> dict[str, Any]:
        """Scores of the held-out pairs and of each test file: accuracy with its interval, histograms, a picture."""
        parts, files = self.parts, getattr(self.parts.recipe.own, ARGUMENT)
        splits = {}
        if parts.held_out_rows is not None:
            splits[HELD_OUT] = Split.of(self.scored(parts.held_out_rows, parts.held_out))
        for name, path in files.items():
            rows, report = rows_of(path, parts.recipe, parts.material, parts.place)
            for sentence in report.sentences():
                parts.say(f"test set {name}: {sentence}")
            groups = [[first, first + 1] for first in range(0, len(rows), 2)]
            splits[name] = Split.of(self.scored(rows, groups))
        if not splits:
            return {}
        if self.args.should_save:
            write_json(parts.folder / SCORES, {"splits": {name: split.as_json() for name, split in splits.items()}})
            if parts.recipe.training.plot_loss:
                plot_scores({name: split.as_json() for name, split in splits.items()}, parts.folder / PICTURE,
                            parts.folder.name)  # fmt: skip
        for name, split in splits.items():
            parts.say(f"{name}: {split.sentence}")
        return {key: value for name, split in splits.items() for key, value in split.results(name).items()}

    def scored(self, rows: Rows, groups: Sequence[Sequence[int]]) -> list[tuple[float, float]]:
        """The two scores of every pair, in their order, whichever process computed them."""
        model: Any = self._wrap_model(cast(torch.nn.Module, self.model), training=False)
        was_training = model.training
        model.eval()
        world, mine = self.args.world_size, self.args.process_index
        loader: Any = DataLoader(
            Subset(Groups(groups), range(mine, len(groups), world)),
            batch_size=self.args.eval_batch_size, collate_fn=Collator(rows, self.parts.pad_id),
            generator=torch.Generator(),
        )  # fmt: skip
        found: list[tuple[float, float]] = []
        try:
            for inputs in loader:
                with torch.no_grad(), self.accelerator.autocast():
                    found += map(tuple, self.pair_scores(model, self._prepare_inputs(inputs)).tolist())
        finally:
            model.train(was_training)
        each: list[list[tuple[float, float]]] = gather_object([found])
        return [each[at % world][at // world] for at in range(len(groups))]
