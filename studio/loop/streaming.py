"""Training from a stream: batches made while they are needed, and a checkpoint that knows the place in the stream."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from studio.data.report import Counts
from studio.data.stream import Row, Stream
from studio.errors import DatasetError, ResumeError, StudioError
from studio.loop.batch import Collator, Deaf, Groups, flat_batch, padded_batch
from studio.loop.build import wire
from studio.loop.parts import Parts
from studio.loop.seen import Seen
from studio.loop.step import GROUPS, WithGroups
from studio.loop.trainer import StudioTrainer

Kind = TypeVar("Kind", bound=StudioTrainer)

# Of a batch: where the stream is after it, what is to be told with it, and why there is none.
_STATE, _TOLD, _FAILED = "stream_state", "stream_told", "stream_failed"


def stream_trainer(kind: type[Kind], parts: Parts) -> Kind:
    """A trainer of this kind that draws its rows from the recipe's stream."""
    settings, made = parts.settings, parts.material.stream
    assert made is not None, "only a recipe with streaming comes here"
    stream = made.open(settings.process_index, settings.world_size, settings.per_device_train_batch_size, parts.place)
    streamed = cast(type[Kind], type(f"Streamed{kind.__name__}", (StreamedTrainer, kind), {}))
    trainer = wire(
        streamed,
        parts,
        stream=stream,
        say=parts.say,
        held_out_collator=WithGroups(Collator(parts.held_out_rows, parts.pad_id)) if parts.held_out_rows else None,
        args=settings,
        train_dataset=stream,
        eval_dataset=Groups(parts.held_out) if parts.held_out else None,
        data_collator=WithGroups(cast(Any, RowCollator(parts.pad_id))),
    )
    trainer.seen = Seen(stream.names)
    return trainer


class RowCollator:
    """Turns groups of rendered rows into one batch, as `studio.loop.batch.Collator` does with numbers of rows."""

    def __init__(self, pad_id: int | None) -> None:
        self.pad_id = pad_id

    def __call__(self, groups: Sequence[Sequence[Row]]) -> dict[str, torch.Tensor]:
        """The batch of these rows."""
        rows = [row for group in groups for row in group]
        ids, masks = [row.input_ids for row in rows], [row.loss_mask for row in rows]
        return flat_batch(ids, masks) if self.pad_id is None else padded_batch(ids, masks, self.pad_id)


class Batches(torch.utils.data.IterableDataset[dict[str, Any]]):
    """Batches of `size` groups, each with the place in the stream behind it. What stops the stream is a batch too."""

    def __init__(self, stream: Stream, collator: Callable[[Any], dict[str, Any]], size: int) -> None:
        self.stream, self.collator, self.size = stream, collator, size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        groups: list[tuple[Row, ...]] = []
        told: list[str] = []
        try:
            for drawn in self.stream.groups():
                groups.append(drawn.rows)
                told += drawn.told
                if len(groups) == self.size:
                    yield {**self.collator(groups), _STATE: drawn.state, _TOLD: told}
                    groups, told = [], []
        except StudioError as error:
            yield {_FAILED: str(error)}  # a worker's errors would come with its traceback as their text


def _begin(_number: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads of the parent's encoder do not live on in a fork


class StreamedTrainer(StudioTrainer):
    """Draws from a stream in place of numbered rows, one worker at most, and goes on from the place it had."""

    def __init__(self, *, stream: Stream, say: Callable[[str], None], **kwargs: Any) -> None:
        self.stream, self.say = stream, say
        # Where the stream is behind the last batch of the step in work.
        self.position: dict[str, Any] | None = None
        super().__init__(**kwargs)

    def get_train_dataloader(self) -> Any:
        """Batches from the stream; upstream's loader would deal them out to processes a second time."""
        args = self.args
        workers: dict[str, Any] = {}
        if args.dataloader_num_workers:
            workers = {"num_workers": 1, "prefetch_factor": args.dataloader_prefetch_factor}
            workers |= {"worker_init_fn": Deaf(_begin), "multiprocessing_context": "fork"}
        return torch.utils.data.DataLoader(
            Batches(self.stream, cast(Any, self.data_collator), args.per_device_train_batch_size),
            batch_size=None,
            pin_memory=args.dataloader_pin_memory,
            # Its own, so that beginning it draws nothing from the random numbers of the training.
            generator=torch.Generator(),
            **workers,
        )

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> Any:
        """The batches of a step; the place in the stream behind them is what a checkpoint of this step keeps."""
        return super().get_batch_samples(self._received(epoch_iterator), num_batches, device)

    def _received(self, batches: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for batch in batches:
            if _FAILED in batch:
                raise DatasetError(batch[_FAILED])
            self.position = batch.pop(_STATE)
            for sentence in batch.pop(_TOLD):
                self.say(sentence)
            yield batch

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One batch; its rows and tokens are counted by dataset."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        for row in (row for group in inputs.get(GROUPS) or () for row in group):
            if self.seen is not None:
                self.seen.add(row.source, 1, len(row.input_ids))
        return loss

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        if self.position is not None:
            self.state.epoch = self.position["passes"]  # passes over the rows, not shares of max_steps
        super()._maybe_log_save_evaluate(*args, **kwargs)

    # -- saving and going on

    def _kept(self, checkpoint: Path) -> Path:
        return checkpoint / f"stream_state_{self.args.process_index}.json"

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        kept = {"world": self.args.world_size, "state": self.position}
        self._kept(Path(output_dir)).write_text(json.dumps(kept), encoding="utf-8")

    def restore_loop_state(self, checkpoint: Path) -> None:
        """Go on behind the last batch of the checkpoint's step."""
        path = self._kept(checkpoint)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            world, state = kept["world"], kept["state"]
        except (OSError, ValueError, LookupError, TypeError):
            raise ResumeError(
                f"{checkpoint} cannot be gone on from: {path.name}, the place in the stream, is not there or cannot be "
                "read. Remove this checkpoint, so that the one before is used, or start anew."
            ) from None
        if world != self.args.world_size:
            raise ResumeError(
                f"{checkpoint} was written by {world} processes that each had a place in the stream, and now there are "
                f"{self.args.world_size}. Go on with as many as before, or start anew from its weights."
            )
        self.position = state
        self.stream.restore(state)
        super().restore_loop_state(checkpoint)

    def conclude(self) -> dict[str, Any]:
        """What the stream gave: passes, and what became of the rows of each dataset."""
        results = super().conclude()
        self.count_seen()
        if self.position is None:
            return results
        each = self._counts(self.position["read"])
        total = max(int(self.seen_total[:, 1].sum()), 1)
        datasets = {}
        for name, counts, (rows, tokens) in zip(self.stream.names, each, self.seen_total.tolist(), strict=True):
            datasets[name] = {"read": counts.rows, "refused": counts.refused, "rows": rows, "tokens": tokens,
                              "share_tokens": tokens / total}  # fmt: skip
            self.say(
                f"stream: {name}: {counts.rows:,} rows read, {counts.refused:,} refused, {counts.truncated:,} cut, "
                f"{rows:,} learned with {tokens:,} tokens ({tokens / total:.1%} of all)"
            )
            for warning in counts.warnings(name):
                self.say(warning)
        return results | {"streamed": {"passes": self.position["passes"], "datasets": datasets}}

    def _counts(self, own: Sequence[Mapping[str, int]]) -> list[Counts]:
        """What became of the rows of each dataset in all processes; all of them take part."""
        summed = torch.tensor([list(counts.values()) for counts in own], dtype=torch.int64)
        if self.args.world_size > 1:
            summed = cast(torch.Tensor, self.accelerator.reduce(summed.to(self.accelerator.device), "sum")).cpu()
        each = [Counts(*numbers) for numbers in summed.tolist()]
        return [replace(counts, rows=read["rows"]) for counts, read in zip(each, own, strict=True)]
