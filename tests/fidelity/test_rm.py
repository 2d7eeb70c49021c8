"""A reward model learns what the formula of Bradley and Terry says, also beside trl's trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from studio.workspace import Workspace
from tests.fidelity.plain import DESCENT, PLAIN, Rows, apart, batches, furthest, losses, previewed, saved
from tests.fidelity.verdicts import register

SCORES = {"stage": "rm", "model_name_or_path": "models/scores", "dataset": "tiny_pairs"}


@pytest.fixture(scope="module", autouse=True)
def _registered(place: Workspace) -> None:
    """The pairs, and models/scores: models/tiny-chat with a head whose numbers are known."""
    register(place)
    torch.manual_seed(5)
    folder = place.models / "tiny-chat"
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    model.score.weight.data.normal_(std=0.3)
    model.save_pretrained(place.models / "scores")
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(place.models / "scores")


@pytest.fixture(scope="module")
def pairs(place: Workspace, command: Any) -> Rows:
    """The rows of tiny_pairs: chosen, rejected, chosen, rejected …"""
    rows = previewed(place, command, "tiny_pairs", "--stage", "rm")
    assert len(rows) == 40
    return rows


def fresh(place: Workspace) -> Any:
    """The classifier as transformers loads it, ready to learn."""
    return transformers.AutoModelForSequenceClassification.from_pretrained(place.models / "scores").train()


def score(model: Any, row: dict[str, Any]) -> torch.Tensor:
    """The score of one document: the head on the state of its last token, in a pass of its own."""
    states = model.model(input_ids=torch.tensor([row["input_ids"]])).last_hidden_state
    return states[0, -1] @ model.score.weight[0]


def loss_of(model: Any, rows: Rows) -> torch.Tensor:
    """-log p(chosen before rejected), p = e^c / (e^c + e^r), in the mean of the pairs."""
    terms = []
    for chosen, rejected in zip(rows[::2], rows[1::2], strict=True):
        both = torch.stack([score(model, chosen), score(model, rejected)])
        terms.append(torch.logsumexp(both, 0) - both[0])
    return torch.stack(terms).mean()


def learn(model: Any, rows: Rows, *, pairs: int, steps: int, rate: float) -> list[float]:
    """AdamW, a linearly falling rate, gradients of length one at most; the loss of each step."""
    weights = list(model.parameters())
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    curve = []
    for step, batch in enumerate(batches(rows, 2 * pairs, steps)):
        optimizer.param_groups[0]["lr"] = rate * (steps - step) / steps
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        curve.append(loss.item())
    return curve


def test_the_first_gradient_is_that_of_the_formula(place: Workspace, train: Any, look: Any, pairs: Rows, record: Any):
    done = train(place, "saves/rm_descent", **{**SCORES, **DESCENT, "train_sampling_strategy": "sequential"})
    assert done.code == 0, done.err
    run = look(place.path("saves/rm_descent"))
    model = fresh(place)
    before = {name: weight.detach().clone() for name, weight in model.state_dict().items()}
    loss = loss_of(model, pairs[:8])
    loss.backward()
    plain = {name: weight.grad for name, weight in model.named_parameters()}
    ours = {name: before[name] - weight for name, weight in saved(run).items()}
    record("rm", "loss of the first step", "plain torch, a pass each document", apart(losses(run), [loss.item()]), 1e-5)
    record("rm", "first gradients of all weights", "plain torch", furthest(ours, plain), 1e-5)
    assert max(float(gradient.abs().max()) for gradient in plain.values()) > 1e-2


def test_the_curve_and_the_weights_are_those_of_a_plain_loop(
    place: Workspace, train: Any, look: Any, pairs: Rows, record: Any
):
    done = train(place, "saves/rm_plain", **{**SCORES, **PLAIN})
    assert done.code == 0, done.err
    run, model = look(place.path("saves/rm_plain")), fresh(place)
    curve = learn(model, pairs, pairs=4, steps=6, rate=1e-3)
    record("rm", "losses of 6 steps", "plain torch", apart(losses(run), curve), 1e-4)
    record("rm", "weights after 6 steps", "plain torch", furthest(saved(run), model.state_dict()), 1e-4)


def test_padding_and_accumulation_change_nothing(place: Workspace, train: Any, look: Any, record: Any):
    runs = {}
    for name, more in {
        "together": {},
        "parts": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
        "evened": {"flash_attn": "disabled"},
    }.items():
        done = train(place, f"saves/rm_{name}", **{**SCORES, **PLAIN, **more})
        assert done.code == 0, done.err
        runs[name] = look(place.path(f"saves/rm_{name}"))
    for name, what in (("parts", "4 micro-batches of a pair = one batch"), ("evened", "eager attention = our own")):
        record(
            "rm", f"{what}: losses", "the run of one batch", apart(losses(runs[name]), losses(runs["together"])), 1e-4
        )


def test_trl_has_the_same_loss_and_gradients(place: Workspace, pairs: Rows, record: Any, tmp_path: Path):
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    batch = pairs[:8]
    rows = [
        {"chosen_ids": chosen["input_ids"], "rejected_ids": rejected["input_ids"]}
        for chosen, rejected in zip(batch[::2], batch[1::2], strict=True)
    ]
    settings = RewardConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[],
        per_device_train_batch_size=4, disable_dropout=False,
    )  # fmt: skip
    theirs, ours = fresh(place), fresh(place)
    trainer = RewardTrainer(
        theirs, settings, train_dataset=Dataset.from_list(rows),
        processing_class=transformers.AutoTokenizer.from_pretrained(place.models / "scores"),
    )  # fmt: skip
    inputs = trainer.data_collator([trainer.train_dataset[index] for index in range(4)])
    other = trainer.compute_loss(theirs, inputs)
    other.backward()
    loss = loss_of(ours, batch)
    loss.backward()
    apart_by = furthest(
        {name: weight.grad for name, weight in ours.named_parameters()},
        {name: weight.grad for name, weight in theirs.named_parameters()},
    )
    record("rm", "plain torch: loss", "trl RewardTrainer on the same ids", abs(loss.item() - other.item()), 1e-5)
    record("rm", "plain torch: gradients", "trl RewardTrainer on the same ids", apart_by, 1e-5)


def test_padded_rows_give_the_same_loss_and_gradients(place: Workspace, pairs: Rows, record: Any):
    from studio.loop.batch import flat_batch, padded_batch
    from studio.loop.ranked import RewardTrainer
    from studio.model.scorehead import ScoreHead, head_of

    def measured(batch: Any, attention: str) -> tuple[float, dict[str, torch.Tensor]]:
        model = fresh(place)
        model.score.__class__ = ScoreHead
        model.set_attn_implementation(attention)
        trainer = object.__new__(RewardTrainer)  # nothing of it is needed but how it measures
        head_of(model).register_forward_hook(trainer._keep)
        found = trainer.measure(model, batch)
        assert found.items == 4
        (found.loss / found.items).backward()
        return found.loss.item(), {name: weight.grad for name, weight in model.named_parameters()}

    import studio.loop.attention as documents

    ids, masks = ([row[name] for row in pairs[:8]] for name in ("input_ids", "loss_mask"))
    flat, gradients = measured(flat_batch(ids, masks), documents.NAME)
    padded, others = measured(padded_batch(ids, masks, 0), "eager")
    record("rm", "padded rows = documents end to end: loss", "documents end to end", abs(flat - padded), 1e-5)
    record(
        "rm", "padded rows = documents end to end: gradients", "documents end to end", furthest(gradients, others), 1e-5
    )
