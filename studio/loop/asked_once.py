"""What the reference makes of each row, asked before the first step and kept on disk by content.

Rows are asked in slices, each with a file of its own: a pass that ends early goes on with the slices that are
missing. The name of a file is the hash of everything its numbers depend on: the ids and masks of the slice, the
weights of the reference as they lie in memory, its configuration, precision, device, versions and our own code.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

import studio
from studio.data.hashes import key_of
from studio.jobs.launch import is_main
from studio.loop.batch import flat_batch, padded_batch
from studio.loop.logprobs import LabelLogProbs, document_sums, labels_per_document
from studio.loop.reference import AdapterOff, AnotherModel, Reference, unwrapped
from studio.workspace import sync_folder

if TYPE_CHECKING:
    from studio.loop.parts import Parts
    from studio.loop.trainer import StudioTrainer

# A document: its ids, and which of them are labels.
Document = tuple[Sequence[int], Sequence[bool]]
SLICE = 2048
# How many tokens go through the reference at once, unless one document has more.
TOKENS = 4096
# The modules that decide what the numbers are; an edit in one of them makes new ones.
_MODULES = (
    "loop/asked_once.py", "loop/attention.py", "loop/batch.py", "loop/causal.py", "loop/head.py", "loop/logprobs.py",
    "loop/ref_model.py", "loop/reference.py", "model/load.py", "model/quantise.py", "model/adapt.py",
)  # fmt: skip


@dataclass
class Asking:
    """Asks the reference of a trainer, in its precision and on its device, for documents."""

    trainer: StudioTrainer
    reference: Reference
    parts: Parts

    def __call__(self, what: str, count: int, document: Callable[[int], Document]) -> torch.Tensor:
        """The summed log-probabilities of the labels of `count` documents, (N,) in float32; all processes take part.

        `what` names them in the log.
        """
        began, known = time.monotonic(), 0
        self._common = self._fingerprint()
        found = []
        for start in range(0, count, SLICE):
            documents = [document(index) for index in range(start, min(start + SLICE, count))]
            path = self._path(documents)
            kept = self._agreed(path, len(documents))
            known += len(documents) if kept is not None else 0
            found.append(kept if kept is not None else self._ask(what, documents, start, count, path))
        seconds = time.monotonic() - began
        if known == count:
            self.parts.say(f"reference log-probabilities of {count:,} {what}: from the cache")
        else:
            some = f", {known:,} of them from the cache" if known else ""
            self.parts.say(f"reference log-probabilities of {count:,} {what}: computed in {seconds:,.1f} s{some}")
        return torch.cat(found) if found else torch.empty(0)

    def _ask(self, what: str, documents: list[Document], start: int, count: int, path: Path) -> torch.Tensor:
        """Each process asks for its share; all get all of it, and the main one keeps it."""
        trainer = self.trainer
        logps_N = torch.zeros(len(documents), dtype=torch.float32, device=trainer.args.device)
        mine = range(trainer.args.process_index, len(documents), trainer.args.world_size)
        model: Any = trainer.model
        if trainer.is_deepspeed_enabled:
            model.to(trainer.args.device)  # its engine, which is made later, would do it
        logprobs = LabelLogProbs()
        bar = _Bar(what, count, self.parts.say)
        for batch in _batches(mine, documents):
            chosen = [documents[index] for index in batch]
            inputs = self._inputs(chosen)
            with self.reference.policy(model) as frozen, trainer.accelerator.autocast():
                sums = document_sums(logprobs(frozen, inputs), labels_per_document(inputs))
            logps_N[torch.tensor(batch, device=logps_N.device)] = sums
            bar.at(start + batch[-1] + 1)
        bar.close()
        whole: torch.Tensor = trainer.accelerator.reduce(logps_N, "sum").cpu()
        if is_main(os.environ):
            _keep(path, whole)
        return whole

    def _inputs(self, documents: list[Document]) -> dict[str, torch.Tensor]:
        ids, masks = [ids for ids, _ in documents], [mask for _, mask in documents]
        pad = self.parts.pad_id
        batch = flat_batch(ids, masks) if pad is None else padded_batch(ids, masks, pad)
        return {name: value.to(self.trainer.args.device) for name, value in batch.items()}

    def _agreed(self, path: Path, count: int) -> torch.Tensor | None:
        """What the main process finds in the cache, given to all."""
        kept = _kept(path, count, self.parts.say) if is_main(os.environ) else None
        if self.trainer.args.world_size == 1:
            return kept
        device = self.trainer.args.device
        sent = torch.zeros(count + 1, dtype=torch.float32, device=device)
        if kept is not None:
            sent[0], sent[1:] = 1, kept.to(device)
        torch.distributed.broadcast(sent, src=0)
        return sent[1:].cpu() if bool(sent[0]) else None

    def _path(self, documents: list[Document]) -> Path:
        rows = hashlib.sha256()
        for ids, mask in documents:
            rows.update(np.int64(len(ids)).tobytes())
            rows.update(np.asarray(ids, dtype=np.int32).tobytes())
            rows.update(np.asarray(mask, dtype=np.bool_).tobytes())
        name = key_of({**self._common, "rows": rows.hexdigest()})
        return self.parts.place.cache / "reference" / f"{name[:32]}.f32"

    def _fingerprint(self) -> dict[str, str]:
        """Everything but the rows that the numbers depend on; only the main process needs it."""
        if not is_main(os.environ):
            return {}
        import peft
        import transformers

        settings = self.parts.settings
        asked = self.reference.model if isinstance(self.reference, AnotherModel) else unwrapped(self.trainer.model)
        code = hashlib.sha256()
        for name in _MODULES:
            code.update((Path(studio.__file__).parent / name).read_bytes())
        configuration = asked.config.to_dict()
        configuration.pop("_name_or_path", None)
        # Where the adapter is switched off, nothing of what learns is part of the reference.
        learning = {name for name, weight in asked.named_parameters() if weight.requires_grad}
        without = learning if isinstance(self.reference, AdapterOff) else set()
        return {
            "weights": weights_hash(asked, without),
            "configuration": str(sorted(configuration.items(), key=lambda item: item[0])),
            "attention": str(asked.config._attn_implementation),
            "padded": str(self.parts.pad_id),
            "precision": f"bf16 {settings.bf16} fp16 {settings.fp16} tf32 {settings.tf32}",
            "device": settings.device.type,
            "versions": f"torch {torch.__version__} transformers {transformers.__version__} peft {peft.__version__}",
            "code": code.hexdigest(),
        }


def weights_hash(model: torch.nn.Module, without: set[str]) -> str:
    """SHA-256 over everything a model holds, by name, but for the weights named in `without`."""
    together = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if name in without:
            continue
        if not isinstance(value, torch.Tensor):
            together.update(f"{name} {value}".encode())
            continue
        together.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        flat = value.detach().contiguous().cpu().reshape(-1).view(torch.uint8)
        together.update(cast(Any, flat.numpy()))
    return together.hexdigest()


def _batches(mine: Sequence[int], documents: list[Document]) -> Iterator[list[int]]:
    """This process's documents, as many at once as have `TOKENS` together."""
    batch: list[int] = []
    tokens = 0
    for index in mine:
        size = len(documents[index][0])
        if batch and tokens + size > TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += size
    if batch:
        yield batch


def _keep(path: Path, logps_N: torch.Tensor) -> None:
    """Write the numbers behind their hash, whole or not at all."""
    content = logps_N.numpy().astype("<f4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as out:
            out.write(hashlib.sha256(content).digest() + content)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _kept(path: Path, count: int, say: Callable[[str], None]) -> torch.Tensor | None:
    """The numbers of a file if it is whole; one that is not is told, and asked for again."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, numbers = content[:32], content[32:]
    if len(numbers) != 4 * count or hashlib.sha256(numbers).digest() != digest:
        say(f"warning: {path.name} in the cache of reference log-probabilities is damaged; they are computed again")
        return None
    return torch.from_numpy(np.frombuffer(numbers, dtype="<f4").astype(np.float32))


class _Bar:
    """How far the pass is: a bar on a terminal, else a line of the log now and then."""

    EVERY_S = 20.0

    def __init__(self, what: str, count: int, say: Callable[[str], None]) -> None:
        self.what, self.count, self.say = what, count, say
        self.last = time.monotonic()

    def at(self, done: int) -> None:
        """So many are done."""
        if sys.stderr.isatty():
            filled = 30 * done // max(self.count, 1)
            bar = "#" * filled + "-" * (30 - filled)
            sys.stderr.write(f"\r\033[Kreference log-probabilities [{bar}] {done:,} of {self.count:,} {self.what}")
            sys.stderr.flush()
        elif time.monotonic() - self.last > self.EVERY_S:
            self.last = time.monotonic()
            self.say(f"reference log-probabilities: {done:,} of {self.count:,} {self.what}")

    def close(self) -> None:
        """Wipe the bar."""
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
