"""Writing checkpoints and the final weights of a run."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import DiskFullError, ResumeError, SaveError
from studio.loop.batch import NO_LOSS
from studio.loop.incidents import Incidents
from studio.model import checkpoint
from studio.model.staging import MANIFEST, seal
from studio.model.weights import ADAPTER
from studio.workspace import sync_folder, write_json

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import TrainerState

FINAL = ".tmp-final"


@contextlib.contextmanager
def full_disk_told(run: Path, rooms: Sequence[Path] = ()) -> Iterator[None]:
    """Turn what the writers of weights raise on a full disk into DiskFullError; `rooms` hold what may be removed."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if not _is_full(error, run):
            raise
        need = _needed(run)
        shutil.rmtree(checkpoint.half_folder(run), ignore_errors=True)
        shutil.rmtree(run / FINAL, ignore_errors=True)
        newest = checkpoint.steps(run)[-1:]
        kept = f"{newest[0][1].name} is whole" if newest else "no checkpoint was written yet"
        largest = ", ".join(f"{path} ({_mib(size)})" for path, size in fullest((run.parent, *rooms)))
        raise DiskFullError(
            f"the disk is full: weights could not be written to {run}. Its volume {volume(run)} has "
            f"{_mib(shutil.disk_usage(run).free)} free now, {need} are needed; {kept}. The largest folders: "
            f"{largest or 'none of the studio'}. Free space, then resume with the same command (--save_total_limit 1 "
            "in a new run keeps fewer checkpoints)."
        ) from error


def _is_full(error: Exception, run: Path) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # The writers in Rust and C++ have errors of their own, without the number.
    if any(mark in str(error) for mark in ("No space left", "os error 28", "os error 122")):
        return True
    cut_short = any(mark in str(error) for mark in ("PytorchStreamWriter", "unexpected pos"))
    return cut_short and shutil.disk_usage(run).free < checkpoint.size_of(checkpoint.half_folder(run)) + (64 << 20)


def _needed(run: Path) -> str:
    """What a checkpoint of this run takes, by the newest one; else by how far this one came."""
    found = checkpoint.steps(run)[-1:]
    if found:
        return _mib(checkpoint.size_of(found[0][1]))
    return f"more than {_mib(checkpoint.size_of(checkpoint.half_folder(run)) + checkpoint.size_of(run / FINAL))}"


def volume(path: Path) -> Path:
    """Where the file system of a folder is mounted."""
    real = path.resolve()
    return next(above for above in (real, *real.parents) if above.is_mount())


def fullest(rooms: Iterable[Path], count: int = 3) -> list[tuple[Path, int]]:
    """The largest folders that lie directly in these, with their bytes."""
    found = {path.resolve(): path for room in rooms if room.is_dir() for path in room.iterdir() if path.is_dir()}
    sizes = [(path, checkpoint.size_of(path)) for path in found.values()]
    return sorted((each for each in sizes if each[1]), key=lambda each: -each[1])[:count]


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


class CheckpointWriter:
    """Writes a run's weights into its folder; `tokenizer` puts tokenizer and template beside them.

    A checkpoint that cannot be written is told to `incidents`; `rooms` are where large folders lie.
    """

    def __init__(
        self,
        run: Path,
        tokenizer: Callable[[Path], None],
        keep: int | None,
        incidents: Incidents | None = None,
        rooms: Sequence[Path] = (),
    ) -> None:
        self.run, self.tokenizer, self.keep = run, tokenizer, keep
        self.incidents, self.rooms = incidents or Incidents(), rooms
        # What a stage puts beside the weights of every folder, each given the folder.
        self.beside: list[Callable[[Path], None]] = []

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
        """A half-written folder that every process writes into; it gets its name when all have.

        When it cannot be written, nothing of it is kept and the run goes on: the next save begins a new one.
        Raises DiskFullError when the disk is full; of several processes none may go on without the others,
        so there any other failure ends the run with SaveError.
        """
        from safetensors import SafetensorError

        best = self.run / f"checkpoint-{state.best_global_step}" if state.best_global_step else None
        state.best_model_checkpoint = str(best) if best else None
        try:
            if accelerator.is_main_process:
                checkpoint.begin(self.run)
            accelerator.wait_for_everyone()
            with full_disk_told(self.run, self.rooms):
                yield checkpoint.half_folder(self.run)
                accelerator.wait_for_everyone()
                if accelerator.is_main_process:
                    checkpoint.complete(self.run, state.global_step)
        except (OSError, SafetensorError, RuntimeError) as error:
            if not _of_the_disk(error):
                raise
            self._not_written(state, error, alone=accelerator.num_processes == 1)
        else:
            if accelerator.is_main_process:
                self._prune(best)
        finally:
            if accelerator.is_main_process:
                shutil.rmtree(checkpoint.half_folder(self.run), ignore_errors=True)

    def _not_written(self, state: TrainerState, error: Exception, *, alone: bool) -> None:
        reason = " ".join(str(error).split())[:200]
        name = f"checkpoint-{state.global_step}"
        if not alone or getattr(error, "errno", None) == errno.EROFS:
            raise SaveError(
                f"{name} could not be written to {self.run} ({reason}); its volume is {volume(self.run)}. Nothing of "
                "it was kept. Look at the disk, then give the same command: it goes on from the checkpoint before."
            ) from error
        if state.best_global_step == state.global_step:
            # The best weights were these, and nobody has them: what comes next is the best that is kept.
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None
        newest = self.newest() or "none"
        text = f"{name} could not be written ({reason}); nothing of it was kept, the newest one is {newest}"
        self.incidents.add("save", state.global_step, f"{text}. The next save tries anew.")

    def _prune(self, best: Path | None) -> None:
        try:
            checkpoint.prune(self.run, self.keep, best)
        except OSError as error:
            self.incidents.add("save", 0, f"old checkpoints could not be removed ({error}); the next save tries again")

    def weights(self, model: Any, folder: Path, state_dict: Any = None) -> None:
        """The model's weights or adapter as safetensors, its configuration, tokenizer and template."""
        # A reward's adapter may lie on the same base; only the one that learns is saved.
        learned: dict[str, Any] = {"selected_adapters": [model.active_adapter]} if hasattr(model, "peft_config") else {}
        # peft would add the base's embeddings where the vocabulary grew; those that learn are in the adapter anyway.
        learned |= {"save_embedding_layers": False} if learned else {}
        model.save_pretrained(str(folder), state_dict=state_dict, **learned)
        if state_dict is not None:
            _name_dtype(folder, {str(tensor.dtype).rpartition(".")[2] for tensor in state_dict.values()})
        if (folder / ADAPTER).is_file():
            from studio.model.pissa import is_started, write_plain

            if is_started(model):
                write_plain(model, folder)
        self.tokenizer(folder)
        for put in self.beside:
            put(folder)

    def final(self, model: Any, state_dict: Any = None) -> None:
        """The trained weights at the root of the run, verified files first, their manifest last.

        `state_dict` has them by name where the model itself does not hold them whole.
        """
        from safetensors import SafetensorError

        try:
            self._final(model, state_dict)
        except (OSError, SafetensorError, RuntimeError) as error:
            if not _of_the_disk(error):
                raise
            newest = self.newest()
            raise SaveError(
                f"the final weights could not be written to {self.run} ({' '.join(str(error).split())[:200]}); "
                f"{f'{newest} is whole' if newest else 'no checkpoint was written'}. Look at the disk of "
                f"{volume(self.run)}, then give the same command: it goes on from the last checkpoint."
            ) from error

    def _final(self, model: Any, state_dict: Any) -> None:
        folder = self.run / FINAL
        shutil.rmtree(folder, ignore_errors=True)
        with full_disk_told(self.run, self.rooms):
            folder.mkdir()
            self.weights(model, folder, state_dict)
            seal(folder)
        entries = sorted(folder.iterdir(), key=lambda path: path.name == MANIFEST)
        for entry in entries:
            entry.replace(self.run / entry.name)
        sync_folder(self.run)
        folder.rmdir()


def _of_the_disk(error: Exception) -> bool:
    """Whether it is what a writer raises when the system takes nothing from it."""
    from safetensors import SafetensorError

    return isinstance(error, OSError | SafetensorError) or "PytorchStreamWriter" in str(error)


def _name_dtype(folder: Path, dtypes: set[str]) -> None:
    """Let config.json name the precision of the weights that were given, not that of the model they came from."""
    path = folder / "config.json"
    if path.is_file() and len(dtypes) == 1:
        config = json.loads(path.read_text(encoding="utf-8"))
        write_json(path, config | {"dtype": dtypes.pop()})


@contextlib.contextmanager
def unreadable_told(checkpoint: str | None, files: str) -> Iterator[None]:
    """Turn what torch raises for a state file it does not trust, or cannot read, into ResumeError."""
    import torch

    try:
        yield
    # torch's own name for the error of a file that holds more than tensors and plain values
    except (torch.serialization.pickle.UnpicklingError, EOFError, KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0][:160]
        raise ResumeError(
            f"{checkpoint} cannot be gone on from: {files} is no plain state of tensors and numbers ({reason}). "
            "Remove this checkpoint, so that the one before is used, or start anew."
        ) from error
