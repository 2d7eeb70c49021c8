"""Weights and optimizer of a DeepSpeed run: prepared, gathered whole, saved in parts and taken up again.

DeepSpeed's own checkpoints are pickles, and load as such. Here every process writes the part of the
optimizer's state that it holds as tensors and plain values, which load without running any code. The
float32 weights that the optimizer works on lie in it; what the model computes with is made from them.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from studio.errors import ModelError, ResumeError

# Objects in the optimizer's state that are made anew; the numbers of the first are kept beside.
SCALER = "loss_scaler"
OBJECTS = (SCALER, "param_slice_mappings", "zero_stage")
COUNTS = ("global_steps", "global_samples", "micro_steps", "skipped_steps")


def prepare(device: str) -> None:
    """Before deepspeed is loaded: which device it works on, and nothing compiled for a CPU.

    On a CPU it would compile a kernel for shared memory, in some two minutes and for ever behind the lock of
    a compilation that was killed. torch's gloo does the same sums.
    """
    # torch says of its own newer names what DeepSpeed has to mend.
    warnings.filterwarnings("ignore", message=r"`torch\.distributed\.\w+` is deprecated", category=FutureWarning)
    if device != "cpu":
        return
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def start(arguments: Any) -> None:
    """Let the processes know each other the way DeepSpeed does: weights are divided while they are loaded."""
    import deepspeed

    assert arguments.device is not None, "asking for the device makes the process group"
    deepspeed.init_distributed(auto_mpi_discovery=False)


# -- weights that lie in parts (stage 3)


@contextlib.contextmanager
def gathered_in_turn(model: torch.nn.Module) -> Iterator[None]:
    """Within it a model whose weights lie in parts can compute: each layer has its own whole while it works."""
    handles = []
    for module in model.modules():
        own = [weight for weight in module.parameters(recurse=False) if hasattr(weight, "ds_id")]
        if own:
            before, after = _gather(own)
            handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after, always_call=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _gather(weights: list[torch.nn.Parameter]) -> tuple[Any, Any]:
    import deepspeed

    within = contextlib.ExitStack()

    def before(*_: Any) -> None:
        within.enter_context(deepspeed.zero.GatheredParameters(weights))

    def after(*_: Any) -> None:
        within.close()

    return before, after


def whole_weights(model: torch.nn.Module, optimizer: Any) -> dict[str, torch.Tensor]:
    """Every weight by its name, whole: float32 where it learns. On the CPU; all processes must take part.

    Tied weights are one tensor under their names. Only the main process keeps them; others get none.
    """
    keeps = torch.distributed.get_rank() == 0
    places = _places(optimizer)
    found: dict[str, torch.Tensor] = {}
    seen: dict[int, torch.Tensor] = {}
    for name, weight in model.state_dict(keep_vars=True).items():
        if id(weight) not in seen:
            whole = _whole(name, weight, places.get(id(weight))).cpu()
            seen[id(weight)] = whole if keeps else torch.empty(0)
        if keeps:
            found[name] = seen[id(weight)]
    return found


@dataclass(frozen=True)
class _Place:
    """Where a weight lies in the stretch of float32 numbers that its group of processes has divided."""

    offset: int
    part_N: torch.Tensor
    group: Any

    def whole(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight in float32, put together by all processes."""
        made = torch.zeros(weight.numel(), dtype=torch.float32, device=weight.device)
        mine = torch.distributed.get_rank(self.group) * self.part_N.numel()
        first, last = max(self.offset, mine), min(self.offset + weight.numel(), mine + self.part_N.numel())
        if first < last:
            made[first - self.offset : last - self.offset] = self.part_N[first - mine : last - mine].detach()
        torch.distributed.all_reduce(made, group=self.group)
        return made.view_as(weight)


def _places(optimizer: Any) -> dict[int, _Place]:
    """The place of each weight at the stages 1 and 2, by id.

    DeepSpeed's own safe_get_full_fp32_param (0.19.8) takes other weights' numbers with round_robin_gradients.
    """
    groups = getattr(optimizer, "round_robin_bit16_groups", [])
    return {
        id(weight): _Place(offset, optimizer.single_partition_of_fp32_groups[n], optimizer.real_dp_process_group[n])
        for n, group in enumerate(groups)
        for weight, offset in zip(group, optimizer.round_robin_bit16_offsets[n], strict=True)
    }


def _whole(name: str, weight: torch.Tensor, place: _Place | None) -> torch.Tensor:
    """One weight whole, held against what the model computes with. Raises ModelError when they differ."""
    import deepspeed

    within = deepspeed.zero.GatheredParameters([weight]) if hasattr(weight, "ds_id") else contextlib.nullcontext()
    precise = None
    if weight.requires_grad:
        precise = place.whole(weight) if place else deepspeed.utils.safe_get_full_fp32_param(weight)
    with within:
        used = weight.detach().clone()
    if precise is None:
        return used
    if not torch.equal(precise.to(used.dtype), used):
        raise ModelError(
            f"the float32 weights of DeepSpeed's optimizer must be those of the model, but {name} differs; nothing was "
            "written. Use another version of DeepSpeed, or leave --deepspeed out."
        )
    return precise.detach()


def broken_weight(model: torch.nn.Module, device: torch.device) -> str:
    """The name of a weight that is not finite in some process, or ''; all processes must take part."""
    names = [
        name
        for name, weight in model.named_parameters()
        if weight.requires_grad and not bool(torch.isfinite(getattr(weight, "ds_tensor", weight)).all())
    ]
    broken = torch.tensor(len(names), device=device)
    torch.distributed.all_reduce(broken)
    return "" if not int(broken) else names[0] if names else "of another process"


# -- parts of the optimizer's state


def _part(folder: Path) -> Path:
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return folder / f"optimizer-{rank}-of-{world}.pt"


def save_part(engine: Any, folder: Path) -> None:
    """Write this process's part of the optimizer's state. Every process must call it."""
    if engine.zero_optimization_stage() == 3:
        engine.optimizer.checkpoint_event_prologue()
    state = engine.optimizer.state_dict()
    if engine.zero_optimization_stage() == 3:
        engine.optimizer.checkpoint_event_epilogue()
    scaler = state.get(SCALER)
    state = {name: value for name, value in state.items() if name not in OBJECTS}
    counts = {
        name: getattr(engine, name) for name in ("global_steps", "global_samples", "micro_steps", "skipped_steps")
    }
    kept = {
        "stage": engine.zero_optimization_stage(),
        "optimizer": state,
        "scaler": {n: v for n, v in vars(scaler).items() if isinstance(v, bool | int | float)} if scaler else {},
        "engine": counts,
    }
    torch.save(kept, _part(folder))


def load_part(engine: Any, folder: Path) -> None:
    """Take up this process's part of the optimizer's state, and make the model's weights from it.

    Raises ResumeError when it was saved by another number of processes or at another stage.
    """
    path = _part(folder)
    world, stage = torch.distributed.get_world_size(), engine.zero_optimization_stage()
    if not path.is_file():
        there = ", ".join(sorted(found.name for found in folder.glob("optimizer*"))) or "none"
        raise ResumeError(
            f"{folder} cannot be gone on from by {world} processes: its parts of the optimizer's state are {there}. "
            "Start as many processes as before, with NPROC_PER_NODE."
        )
    kept = torch.load(path, map_location="cpu", weights_only=True)
    if kept["stage"] != stage:
        raise ResumeError(
            f"{folder} was saved at ZeRO stage {kept['stage']}, and the file of --deepspeed now says {stage}. "
            "Write the same stage as before."
        )
    optimizer = engine.optimizer
    state = kept["optimizer"]
    if stage == 3:
        optimizer.checkpoint_event_prologue()
    if scaler := getattr(optimizer, SCALER, None):
        vars(scaler).update(kept["scaler"])
        state[SCALER] = scaler
    parts: list[Any] = [None] * world
    parts[torch.distributed.get_rank()] = state
    optimizer.load_state_dict(parts, load_optimizer_states=True, load_from_fp32_weights=True)
    if stage == 3:
        optimizer.checkpoint_event_epilogue()
    else:
        optimizer.update_lp_params()
    for name, value in kept["engine"].items():
        setattr(engine, name, value)
