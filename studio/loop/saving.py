"""Writing checkpoints and the final weights of a run."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import DiskFullError
from studio.loop.batch import NO_LOSS
from studio.model import checkpoint
from studio.model.staging import MANIFEST, seal
from studio.workspace import sync_folder, write_json

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import TrainerState

FINAL = ".tmp-final"


@contextlib.contextmanager
def full_disk_told(run: Path) -> Iterator[None]:
    """Turn what the writers of weights raise on a full disk into DiskFullError."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        # The writers in Rust and C++ have errors of their own, without the number.
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        foreign = any(mark in str(error) for mark in ("No space left", "PytorchStreamWriter", "unexpected pos"))
        if not full and not foreign:
            raise
        shutil.rmtree(checkpoint.half_folder(run), ignore_errors=True)
        shutil.rmtree(run / FINAL, ignore_errors=True)
        newest = checkpoint.steps(run)[-1:]
        kept = f"{newest[0][1].name} is whole" if newest else "no checkpoint was written yet"
        free = shutil.disk_usage(run).free
        raise DiskFullError(
            f"the disk is full: weights could not be written to {run}, where {free / 2**20:,.0f} MiB are free "
            f"now; {kept}. Free space or set --save_total_limit 1 in a new run; then give the same command."
        ) from error


class CheckpointWriter:
    """Writes a run's weights into its folder; `tokenizer` puts tokenizer and template beside them."""

    def __init__(self, run: Path, tokenizer: Callable[[Path], None], keep: int | None) -> None:
        self.run, self.tokenizer, self.keep = run, tokenizer, keep

    def first_batch(self, inputs: dict[str, Any]) -> None:
        """Keep the first batch as the model gets it, so that a preview can be held against it."""
        ids, labels = inputs["input_ids"], inputs["labels"]
        ends = inputs["cu_seq_lens_q"].tolist() if "cu_seq_lens_q" in inputs else None
        if ends is not None:
            pairs = [(ids[0, start:end], labels[0, start:end]) for start, end in pairwise(ends)]
        else:
            mask = inputs["attention_mask"].bool()
            pairs = [(row[kept], label[kept]) for row, label, kept in zip(ids, labels, mask, strict=True)]
        rows = [{"input_ids": row.tolist(), "loss_mask": (label != NO_LOSS).tolist()} for row, label in pairs]
        write_json(self.run / "first_batch.json", {"rows": rows})

    def newest(self) -> str:
        """Name of the newest checkpoint, or ''."""
        found = checkpoint.steps(self.run)
        return found[-1][1].name if found else ""

    @contextlib.contextmanager
    def checkpoint(self, state: TrainerState, accelerator: Accelerator) -> Iterator[Path]:
        """A half-written folder that every process writes into; it gets its name when all have."""
        best = self.run / f"checkpoint-{state.best_global_step}" if state.best_global_step else None
        state.best_model_checkpoint = str(best) if best else None
        if accelerator.is_main_process:
            checkpoint.begin(self.run)
        accelerator.wait_for_everyone()
        try:
            with full_disk_told(self.run):
                yield checkpoint.half_folder(self.run)
                accelerator.wait_for_everyone()
                if accelerator.is_main_process:
                    checkpoint.complete(self.run, state.global_step)
            if accelerator.is_main_process:
                checkpoint.prune(self.run, self.keep, best)
        finally:
            if accelerator.is_main_process:
                shutil.rmtree(checkpoint.half_folder(self.run), ignore_errors=True)

    def weights(self, model: Any, folder: Path, state_dict: Any = None) -> None:
        """The model's weights or adapter as safetensors, its configuration, tokenizer and template."""
        model.save_pretrained(str(folder), state_dict=state_dict)
        if state_dict is not None:
            _name_dtype(folder, {str(tensor.dtype).rpartition(".")[2] for tensor in state_dict.values()})
        self.tokenizer(folder)

    def final(self, model: Any, state_dict: Any = None) -> None:
        """The trained weights at the root of the run, verified files first, their manifest last.

        `state_dict` has them by name where the model itself does not hold them whole.
        """
        folder = self.run / FINAL
        shutil.rmtree(folder, ignore_errors=True)
        with full_disk_told(self.run):
            folder.mkdir()
            self.weights(model, folder, state_dict)
            seal(folder)
        entries = sorted(folder.iterdir(), key=lambda path: path.name == MANIFEST)
        for entry in entries:
            entry.replace(self.run / entry.name)
        sync_folder(self.run)
        folder.rmdir()


def _name_dtype(folder: Path, dtypes: set[str]) -> None:
    """Let config.json name the precision of the weights that were given, not that of the model they came from."""
    path = folder / "config.json"
    if path.is_file() and len(dtypes) == 1:
        config = json.loads(path.read_text(encoding="utf-8"))
        write_json(path, config | {"dtype": dtypes.pop()})
