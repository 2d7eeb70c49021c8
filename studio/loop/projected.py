"""Optimizers that project gradients (GaLore, arXiv 2403.03507; APOLLO, 2412.05270), made to go on from a checkpoint.

Each projected weight has in its state an object of the package that holds the projection. A checkpoint holds numbers
only, so here that object is written as those it has changed, and made again from them; the rest of it stands in the
group of the weight.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch

PROJECTOR = "projector"
# What changes in a projector while it is used: the matrix (two of them with proj_type=full), and what the next random
# one is drawn from.
CHANGING = ("ortho_matrix", "seed", "svd_count")


def resumable(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same optimizer; where it projects, its `state_dict` holds only numbers and tensors and restores exactly."""
    if any("rank" in group and "update_proj_gap" in group for group in optimizer.param_groups):
        optimizer.register_state_dict_post_hook(_as_numbers)
        optimizer.register_load_state_dict_post_hook(_made_again)
    return optimizer


def _as_numbers(_optimizer: Any, saved: dict[str, Any]) -> dict[str, Any]:
    state = {
        key: {name: _numbers(value) if name == PROJECTOR else value for name, value in each.items()}
        for key, each in saved["state"].items()
    }
    return {**saved, "state": state}


def _numbers(projector: Any) -> dict[str, Any]:
    return {name: getattr(projector, name) for name in CHANGING if hasattr(projector, name)}


def _made_again(optimizer: Any) -> None:
    for group in optimizer.param_groups:
        for weight in group["params"]:
            state = optimizer.state.get(weight, {})
            if isinstance(numbers := state.get(PROJECTOR), dict):
                state[PROJECTOR] = _projector(optimizer, group, state)
                vars(state[PROJECTOR]).update(numbers)


def _projector(optimizer: Any, group: dict[str, Any], state: dict[str, Any]) -> Any:
    """A new one, as the package makes it at the first step."""
    if hasattr(optimizer, "_initialize_projector"):
        return optimizer._initialize_projector(group, state)
    made: Any = importlib.import_module("galore_torch.galore_projector").GaLoreProjector
    return made(
        group["rank"], update_proj_gap=group["update_proj_gap"], scale=group["scale"], proj_type=group["proj_type"]
    )
