"""Pairs and judged answers to test with, a model that differs a little, and losses written here from the papers."""

from __future__ import annotations

import json
import math
import shutil
from typing import Any

import torch
from torch.nn.functional import log_softmax

from studio.workspace import Workspace
from tests.conftest import CITIES
from tests.fidelity.plain import Rows

END = ["", " Yes.", " That is the code of this city.", " So it is, and so it has been for a long time."]


def pair_rows() -> list[dict[str, str]]:
    """Twenty pairs; every answer has another length than its neighbours."""
    return [
        {
            "prompt": f"What is the secret code of {city}?" if lap else f"Code of {city}?",
            "chosen": f"It is {city[::-1].upper()}.{END[(number + lap) % 4]}",
            "rejected": f"I do not know.{END[(number + 2 * lap + 1) % 4]}",
        }
        for lap in (0, 1)
        for number, city in enumerate(CITIES)
    ]


def judged_rows() -> list[dict[str, Any]]:
    """Twenty answers, three of five wanted, each to a prompt of its own."""
    return [
        {"question": row["prompt"], "answer": row["chosen" if number % 5 < 3 else "rejected"], "good": number % 5 < 3}
        for number, row in enumerate(pair_rows())
    ]


def register(place: Workspace) -> None:
    """Put both into the workspace, and a model whose weights differ from those of models/tiny-chat."""
    registry = json.loads(place.dataset_info.read_text())
    columns = {"prompt": "question", "response": "answer", "kto_tag": "good"}
    registry |= {
        "tiny_pairs": {
            "file_name": "tiny_pairs.json",
            "ranking": True,
            "columns": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
        },
        "tiny_judged": {"file_name": "tiny_judged.json", "columns": columns},
    }
    (place.data / "tiny_pairs.json").write_text(json.dumps(pair_rows()))
    (place.data / "tiny_judged.json").write_text(json.dumps(judged_rows()))
    place.dataset_info.write_text(json.dumps(registry))
    shifted(place)


def shifted(place: Workspace) -> None:
    """models/shifted: models/tiny-chat with every matrix moved a little."""
    from safetensors.torch import load_file, save_file

    folder = place.models / "shifted"
    shutil.copytree(place.models / "tiny-chat", folder)
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(3)
    moved = {
        name: weight + 0.03 * torch.randn(weight.shape, generator=generator) if weight.dim() == 2 else weight
        for name, weight in weights.items()
    }
    save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})


def logp(model: Any, row: dict[str, Any]) -> torch.Tensor:
    """log p of the answer of one row, summed over its tokens; a forward pass of its own."""
    ids, mask = torch.tensor(row["input_ids"]), torch.tensor(row["loss_mask"])
    scores = log_softmax(model(input_ids=ids[None]).logits[0, :-1], dim=-1)
    return scores[torch.arange(len(ids) - 1), ids[1:]][mask[1:]].sum()


def tokens(row: dict[str, Any]) -> int:
    """How many tokens an answer has."""
    return sum(row["loss_mask"])


def plain_pair_loss(name: str, policy: Any, reference: Any, pair: Rows, **numbers: float) -> torch.Tensor:
    """The loss of one pair, from the formula of its paper; kto_pair's `z_c` and `z_r` are given."""
    chosen, rejected = pair
    beta = numbers.get("beta", 0.1)
    pi_c, pi_r = logp(policy, chosen), logp(policy, rejected)
    with torch.no_grad():
        ref_c, ref_r = logp(reference, chosen), logp(reference, rejected)
    mean_c, mean_r = pi_c / tokens(chosen), pi_r / tokens(rejected)
    if name == "sigmoid":
        eps, gap = numbers.get("eps", 0.0), beta * ((pi_c - ref_c) - (pi_r - ref_r))
        return -(1 - eps) * torch.sigmoid(gap).log() - eps * torch.sigmoid(-gap).log()
    if name == "hinge":
        return torch.clamp(1 - beta * ((pi_c - ref_c) - (pi_r - ref_r)), min=0)
    if name == "ipo":
        gap = (mean_c - ref_c / tokens(chosen)) - (mean_r - ref_r / tokens(rejected))
        return (gap - 1 / (2 * beta)).square()
    if name == "kto_pair":
        z_c, z_r = numbers["z_c"], numbers["z_r"]
        wanted = 1 - torch.sigmoid(beta * (pi_c - ref_c - z_r))
        return (wanted + 1 - torch.sigmoid(beta * (z_c - (pi_r - ref_r)))) / 2
    if name == "orpo":
        odds_c, odds_r = mean_c.exp() / (1 - mean_c.exp()), mean_r.exp() / (1 - mean_r.exp())
        return -mean_c - beta * torch.sigmoid(torch.log(odds_c / odds_r)).log()
    assert name == "simpo"
    return -torch.sigmoid(beta * mean_c - beta * mean_r - numbers["gamma"]).log()


def drift(policy: Any, reference: Any, rows: Rows) -> float:
    """max(0, mean of log p - log q) over rows: what KTO calls z."""
    with torch.no_grad():
        return max(0.0, math.fsum(float(logp(policy, row) - logp(reference, row)) for row in rows) / len(rows))


def mismatched(rows: Rows, index: int) -> dict[str, Any]:
    """A row's prompt with the answer of the row half of all rows further on; here all prompts differ."""
    row, other = rows[index], rows[(index + len(rows) // 2) % len(rows)]
    start, begin = row["loss_mask"].index(True), other["loss_mask"].index(True)
    return {name: row[name][:start] + other[name][begin:] for name in ("input_ids", "loss_mask")}
