"""Export: a base and its adapters become one plain model folder.

The merge is done in float32 and cast once, tensor by tensor, so that a model larger than the
memory can be exported: at any time there is one tensor in float32 beside the adapter. The folder
appears under its name only when every tensor has been read back and compared.
"""

from __future__ import annotations

import errno
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from studio.arguments.export import ExportArguments
from studio.errors import DiskFullError, ModelError
from studio.model import shards
from studio.model.adapter import Adapter, open_adapter
from studio.model.card import model_card
from studio.model.changed import changes_of
from studio.model.companions import write_companions
from studio.model.detour import merged_by_peft
from studio.model.merge import LowRank
from studio.model.outlay import SMALL_FILES_BYTES
from studio.model.plan import Plan, Planned, plan, plan_merged
from studio.model.quantise import Rounding, can_round, error_of, rounding_recorded
from studio.model.report import GIGABYTE, Change, Report
from studio.model.shards import DTYPES, Space
from studio.model.staging import refuse_existing, refuse_nested, staged
from studio.workspace import write_json, write_text

RECORD = "export.json"
# Numbers compared at a time, so that comparing needs no second copy of a large weight.
CHUNK = 1 << 22
# Numbers of a weight that are rounded to see how much that changes them.
SAMPLE = 1 << 20

Say = Callable[[str], None]
Progress = Callable[[int, int], None]


def export(
    base: Path,
    adapters: Sequence[Path],
    target: Path,
    asked: ExportArguments,
    *,
    chat_template: str = "",
    say: Say,
    progress: Progress | None = None,
) -> Report:
    """Merge `adapters` in their order into `base` and write the model folder `target`.

    `chat_template` is the trained Jinja text; empty keeps that of the tokenizer's folder. `say`
    gets sentences for the user, `progress` the bytes done and the bytes in all. Without adapters
    the weights are copied, and cast where another dtype is asked for.

    Raises ModelError for weights that do not fit or are not finite, DiskFullError, and
    StudioError for a target that exists or lies within its sources.
    """
    started = time.monotonic()
    refuse_existing(target, replace=asked.overwrite_export_dir, allowed_by="overwrite_export_dir")
    refuse_nested(target, [base, *adapters])
    opened = [open_adapter(folder) for folder in adapters]
    detour = _detour(opened)
    rounding = next(filter(None, map(rounding_recorded, adapters)), None)
    planned = plan(base, [] if detour else opened, asked.infer_dtype)
    _refuse_full_disk(target, planned, detour=bool(detour))
    shard_bytes = asked.export_size * GIGABYTE
    try:
        with staged(target, replace=asked.overwrite_export_dir) as folder:
            if detour:
                say(f"merging the whole model through peft, in float32 and in memory: {detour}")
                planned, changes = _by_detour(folder, base, opened, asked, progress)
            else:
                changes = _write_weights(folder, planned, shard_bytes, progress, rounding)
            notes = [*planned.notes, *write_companions(folder, base, adapters, planned.config, chat_template)]
            notes += [_rounding_told(rounding, changes)] if rounding else []
            for note in notes:
                say(note)
            report = _report(target, base, adapters, planned, changes, notes, time.monotonic() - started)
            write_json(folder / RECORD, report.as_dict())
            write_text(folder / "README.md", model_card(report))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"the export needs {planned.nbytes / GIGABYTE:.2f} GB, and the disk of {target.parent} filled "
            "up. Free some space, or choose a target on another disk."
        ) from None
    say(report.sentence)
    return report


def _detour(opened: Sequence[Adapter]) -> str:
    """Why these adapters are merged through peft; '' when they need not be. Raises ModelError when they cannot be."""
    reasons = "; ".join(f"{one.folder.name}: {one.detour}" for one in opened if one.detour)
    if reasons and changes_of(one.folder for one in opened):
        raise ModelError(
            f"{reasons}. Such a merge goes through peft, which knows nothing of other positions or another vocabulary "
            "of the base. Merge the adapters one after the other."
        )
    return reasons


def _by_detour(
    folder: Path, base: Path, adapters: Sequence[Adapter], asked: ExportArguments, progress: Progress | None
) -> tuple[Plan, list[Change]]:
    scratch = folder / "merged"
    merged_by_peft(base, [adapter.folder for adapter in adapters], scratch)
    planned = plan_merged(base, scratch, asked.infer_dtype, adapters)
    changes = _write_weights(folder, planned, asked.export_size * GIGABYTE, progress)
    shutil.rmtree(scratch)
    return planned, [change for change in changes if change.moved]


def _write_weights(
    folder: Path, planned: Plan, shard_bytes: float, progress: Progress | None, rounding: Rounding | None = None
) -> list[Change]:
    changes: list[Change] = []
    done = 0

    def compute(space: Space) -> torch.Tensor:
        nonlocal done
        values, change = _values(planned.tensors[space.name], rounding)
        if change is not None:
            changes.append(change)
        done += space.nbytes
        if progress is not None:
            progress(done, planned.nbytes)
        return values

    with torch.no_grad():
        shards.write(folder, [one.space for one in planned.tensors.values()], shard_bytes, compute)
    return changes


def _values(one: Planned, rounding: Rounding | None) -> tuple[torch.Tensor, Change | None]:
    """The values to be written, and what the steps changed (None without steps)."""
    raw = shards.read(one.source)
    dtype = DTYPES[one.space.dtype]
    if not one.steps:
        values = raw.to(dtype)
        _refuse_not_finite(one, raw, raw, values)
        return values, None
    weight = raw.to(torch.float32, copy=True)
    for step in one.steps:
        weight = step.apply(weight)
    values = weight.to(dtype)
    _refuse_not_finite(one, raw, weight, values)
    change = _change(one.space.name, raw, weight, values)
    low_rank = next((step for step in one.steps if isinstance(step, LowRank)), None)
    if rounding and low_rank and can_round(one.space.name):
        turned = [each.T if low_rank.transposed else each for each in (raw, weight)]
        change = _beside_rounding(change, rounding, *turned)
    return values, change


def _beside_rounding(change: Change, rounding: Rounding, raw_OI: torch.Tensor, weight_OI: torch.Tensor) -> Change:
    """The change with what the rounding does to the first rows of the weight, beside what the adapter does."""
    rows = slice(max(SAMPLE // raw_OI.shape[1], 1))
    before = raw_OI[rows].float().contiguous()
    moved = float((weight_OI[rows] - before).square().sum())
    try:
        return replace(change, moved_square=moved, rounding_square=float(error_of(rounding, before).square().sum()))
    except (AttributeError, NotImplementedError, RuntimeError):
        return change  # this build of bitsandbytes cannot round on the CPU, so the figure is left out


def _rounding_told(rounding: Rounding, changes: Sequence[Change]) -> str:
    """What is to be known of an adapter that learned on a rounded base."""
    told = f"the adapter learned on a base in {rounding}, and is merged into the weights in full precision"
    moved = sum(change.moved_square for change in changes)
    if not moved:
        return told
    ratio = math.sqrt(sum(change.rounding_square for change in changes) / moved)
    return (
        f"{told}. These differ from the rounded ones it saw {ratio:.2g} times as much as it changes them (root mean "
        "squares): measure the merged model"
    )


def _refuse_not_finite(one: Planned, raw: torch.Tensor, weight: torch.Tensor, values: torch.Tensor) -> None:
    if _finite(values):
        return
    name = one.space.name
    if not _finite(raw):
        what = f"in the base, {one.source.file} holds {name} with numbers that are not finite. Name a whole base"
    elif not _finite(weight):
        what = f"the adapter makes {name} infinite or not a number. Take an earlier checkpoint of the run"
    else:
        largest = max(abs(float(edge)) for edge in torch.aminmax(weight))
        what = f"{name} reaches {largest:.3g}, too much for {one.space.dtype}. Set infer_dtype to bfloat16"
    raise ModelError(f"every weight must be finite; {what}.")


def _finite(values: torch.Tensor) -> bool:
    if not values.is_floating_point() or values.numel() == 0:
        return True
    # The extremes carry any infinity or NaN, and need no copy as isfinite() does.
    low, high = torch.aminmax(values if values.element_size() > 1 else values.float())
    return bool(torch.isfinite(low) and torch.isfinite(high))


def _change(name: str, raw: torch.Tensor, weight: torch.Tensor, values: torch.Tensor) -> Change:
    """Count and size of the changes; rows that the base does not have count as moved."""
    count = weight.numel()
    both = min(count, raw.numel())
    moved = changed = count - both
    largest = rounded = 0.0
    for raw_N, weight_N, values_N in _chunks(both, raw, weight, values):
        before_N = raw_N.float()
        low, high = torch.aminmax(weight_N - before_N)
        largest = max(largest, -float(low), float(high))
        rounded = max(rounded, *(abs(float(edge)) for edge in torch.aminmax(values_N.float() - weight_N)))
        moved += int(torch.count_nonzero(weight_N != before_N))
        changed += int(torch.count_nonzero((values_N != raw_N.to(values_N.dtype)) & (weight_N != before_N)))
    return Change(name, count, moved, changed, largest, rounded)


def _chunks(count: int, *whole: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    flat = [values.reshape(-1) for values in whole]
    for start in range(0, count, CHUNK):
        yield [values[start : min(start + CHUNK, count)] for values in flat]


def _report(
    target: Path,
    base: Path,
    adapters: Sequence[Path],
    planned: Plan,
    changes: Sequence[Change],
    notes: Sequence[str],
    seconds: float,
) -> Report:
    return Report(
        target=target,
        base=base,
        adapters=tuple(adapters),
        dtype=planned.dtype,
        tensors=len(planned.tensors),
        weights=sum(one.space.count for one in planned.tensors.values()),
        nbytes=planned.nbytes,
        touched=tuple(changes),
        notes=tuple(notes),
        seconds=seconds,
    )


def _refuse_full_disk(target: Path, planned: Plan, *, detour: bool) -> None:
    there = next(folder for folder in target.resolve().parents if folder.exists())
    # peft's float32 copy lies beside the result for a while.
    scratch = 4 * sum(one.space.count for one in planned.tensors.values()) if detour else 0
    needed = planned.nbytes + scratch + SMALL_FILES_BYTES
    free = shutil.disk_usage(there).free
    if free < needed:
        raise DiskFullError(
            f"the export needs {needed / GIGABYTE:.2f} GB, and the disk of {there} has {free / GIGABYTE:.2f} "
            "GB free. Free some space, or choose a target on another disk."
        )
