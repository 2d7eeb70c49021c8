"""The losses of pairs, their gradients, their reference and their invariances."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from studio.workspace import Workspace
from tests.fidelity.plain import DESCENT, PLAIN, Rows, apart, fresh, furthest, losses, previewed, saved, state
from tests.fidelity.verdicts import drift, logp, plain_pair_loss, register, tokens

LOOP = "plain torch from the paper, an answer at a time"
KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)
PAIRS = {"stage": "dpo", "dataset": "tiny_pairs"}
# Rows in their order, so that a plain loop can follow, and a reference that is another model.
KNOWN = {**PAIRS, **PLAIN, "ref_model": "models/shifted"}
# The answers here are likelier to the shifted model than to the other.
SWAPPED = {"model_name_or_path": "models/shifted", "ref_model": "models/tiny-chat"}
LORA = {**PAIRS, "lora_rank": 4, "learning_rate": "1e-2", "logging_steps": 1, "save_strategy": "no"}


@pytest.fixture(scope="module")
def pairs(place: Workspace, command: Any) -> list[Rows]:
    register(place)
    rows = previewed(place, command, "tiny_pairs", "--stage", "dpo")
    assert [row["side"] for row in rows] == ["chosen", "rejected"] * 20
    return [rows[first : first + 2] for first in range(0, len(rows), 2)]


CASES: dict[str, tuple[str, dict[str, Any], dict[str, float]]] = {
    "sigmoid": ("sigmoid", {}, {}),
    "sigmoid, smoothing 0.2": ("sigmoid", {"dpo_label_smoothing": 0.2}, {"eps": 0.2}),
    "hinge": ("hinge", {"pref_beta": 0.3}, {"beta": 0.3}),
    "ipo": ("ipo", {}, {}),
    "kto_pair": ("kto_pair", {"pref_beta": 0.2, **SWAPPED}, {"beta": 0.2}),
    "orpo": ("orpo", {}, {}),
    "simpo": ("simpo", {"pref_beta": 2, "simpo_gamma": 0.7}, {"beta": 2.0, "gamma": 0.7}),
}


@pytest.mark.parametrize("case", CASES)
def test_loss_and_first_gradients_are_those_of_the_paper(
    place: Workspace, train: Any, look: Any, pairs: list[Rows], record: Any, case: str
):
    name, flags, numbers = CASES[case]
    values = {**KNOWN, **DESCENT, "pref_loss": name, "pref_ftx": 0.5, **flags}
    if name in ("orpo", "simpo"):
        del values["ref_model"]
    folder = f"saves/{case.replace(', ', '_').replace(' ', '_')}"
    # Four pairs in two halves: what a step needs of all its pairs it must have from both.
    done = train(place, folder, **values, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    assert done.code == 0, done.err
    model, reference = fresh(place), fresh(place, "models/shifted").eval()
    if name == "kto_pair":
        model, reference = reference.train(), model.eval()
        chosen, rejected = zip(*pairs[:4], strict=True)
        numbers = {**numbers, "z_c": drift(model, reference, chosen), "z_r": drift(model, reference, rejected)}
        assert max(numbers["z_c"], numbers["z_r"]) > 0, "else the estimate is not seen"
    before = {name: weight.clone() for name, weight in state(model).items()}
    each = [
        plain_pair_loss(name, model, reference, pair, **numbers) - 0.5 * logp(model, pair[0]) / tokens(pair[0])
        for pair in pairs[:4]
    ]
    loss = torch.stack(each).mean()
    loss.backward()
    grown = {key: before[key] - weight.grad for key, weight in model.named_parameters() if key in before}
    assert max(float((before[key] - weight).abs().max()) for key, weight in grown.items()) > 1e-3
    run = look(place.path(folder))
    record("dpo", f"loss of 4 pairs in two micro-batches, {case}", LOOP, abs(run.curve[0][1] - loss.item()), 2e-5)
    record("dpo", f"first gradients of 4 pairs, {case}", LOOP, furthest(saved(run), grown), 2e-6)


def test_the_curve_tells_rewards_and_margins(place: Workspace, train: Any, look: Any, pairs: list[Rows], record: Any):
    done = train(place, "saves/told", **KNOWN, val_size=4, eval_strategy="steps", eval_steps=1, max_steps=1)
    assert done.code == 0, done.err
    points = look(place.path("saves/told")).points
    model, reference = fresh(place).eval(), fresh(place, "models/shifted").eval()
    kept = look(place.path("saves/told")).json("first_batch.json")["rows"]
    with torch.no_grad():
        policy = [float(logp(model, row)) for row in kept]
        gains = [0.1 * (value - float(logp(reference, row))) for value, row in zip(policy, kept, strict=True)]
    expected = {
        "rewards_chosen": sum(gains[0::2]) / 4, "rewards_rejected": sum(gains[1::2]) / 4,
        "margin": (sum(gains[0::2]) - sum(gains[1::2])) / 4,
        "accuracy": sum(chosen > rejected for chosen, rejected in zip(gains[0::2], gains[1::2], strict=True)) / 4,
        "logps_chosen": sum(policy[0::2]) / 4, "logps_rejected": sum(policy[1::2]) / 4,
    }  # fmt: skip
    record("dpo", "rewards, margin, accuracy, log-probabilities told", LOOP,
           max(abs(points[0][name] - value) for name, value in expected.items()), 1e-4)  # fmt: skip
    held_out = [point for point in points if "eval_loss" in point]
    assert {f"eval_{name}" for name in expected} <= held_out[0].keys()


def test_trl_gives_the_same_losses_for_the_same_tokens(place: Workspace, pairs: list[Rows], record: Any):
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    from studio.loop.pair_losses import LOSSES, Pairs, Scale

    model, reference = fresh(place), fresh(place, "models/shifted")
    chosen, rejected = [pair[0] for pair in pairs[:4]], [pair[1] for pair in pairs[:4]]
    batch = right_padded([*chosen, *rejected])
    words = [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 2
    with torch.no_grad():
        count_c, count_r = (torch.tensor([tokens(row) for row in rows]) for rows in (chosen, rejected))
        c, r = (torch.stack([logp(model, row) for row in rows]) for rows in (chosen, rejected))
        ref_c, ref_r = (torch.stack([logp(reference, row) for row in rows]) for rows in (chosen, rejected))
    for name in ("sigmoid", "hinge", "ipo"):
        config = DPOConfig(output_dir=str(place.root / "trl"), use_cpu=True, bf16=False, report_to="none",
                           loss_type=[name], gradient_checkpointing=False)  # fmt: skip
        trainer = DPOTrainer(
            model=model, ref_model=reference, args=config, train_dataset=Dataset.from_list(words),
            processing_class=AutoTokenizer.from_pretrained(place.path("models/tiny-chat")),
        )  # fmt: skip
        theirs = float(trainer.compute_loss(trainer.model, dict(batch)).detach())
        answers = Pairs(c, r, ref_c, ref_r)
        if LOSSES[name].averaged:
            answers = Pairs(c / count_c, r / count_r, ref_c / count_c, ref_r / count_r)
        ours = float(LOSSES[name].of(answers, Scale(0.1)).mean())
        record("dpo", f"loss of 4 pairs, {name}", "trl, DPOTrainer", abs(theirs - ours), 1e-4)


def right_padded(rows: Rows) -> dict[str, torch.Tensor]:
    """Rows as trl wants them: padded on the right, with a mask of the answers."""
    width = max(len(row["input_ids"]) for row in rows)

    def filled(name: str) -> torch.Tensor:
        return torch.tensor([[int(value) for value in row[name]] + [0] * (width - len(row[name])) for row in rows])

    attention = torch.tensor([[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows])
    return {"input_ids": filled("input_ids"), "attention_mask": attention, "completion_mask": filled("loss_mask")}


def test_orpo_and_simpo_are_those_of_trl(record: Any):
    from trl.experimental.cpo.cpo_trainer import CPOTrainer
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    from studio.loop.pair_losses import Pairs, Scale, orpo, simpo

    c, r = torch.tensor([-0.3, -2.0, -1.0, -0.01]), torch.tensor([-1.1, -0.4, -1.0, -3.0])
    nothing = torch.zeros(4)
    accelerator = SimpleNamespace(device="cpu")
    theirs = ORPOTrainer.odds_ratio_loss(SimpleNamespace(beta=0.1, accelerator=accelerator), c, r)[0]
    ours = orpo(Pairs(c, r, nothing, nothing), Scale(0.1))
    # trl's part is added to its likelihood with a minus, which is over the prompt too; ours is over the answer.
    record("dpo", "odds ratio part of orpo", "trl, ORPOTrainer", float((ours - (-c) + theirs).abs().max()), 1e-6)
    asked = SimpleNamespace(
        beta=2.0, alpha=0.0, accelerator=accelerator, loss_type="simpo", simpo_gamma=0.5, label_smoothing=0.0
    )
    difference = CPOTrainer.cpo_loss(asked, c, r)[0] - simpo(Pairs(c, r, nothing, nothing), Scale(2.0, gamma=0.5))
    record("dpo", "simpo", "trl, CPOTrainer", float(difference.abs().max()), 1e-6)


def test_the_base_with_its_adapter_off_is_a_frozen_copy(
    place: Workspace, train: Any, look: Any, pairs: list[Rows], record: Any
):
    off = train(place, "saves/off", **LORA)
    copied = train(place, "saves/copied", **LORA, ref_model="models/tiny-chat")
    assert (off.code, copied.code) == (0, 0), off.err + copied.err
    assert "the base, with the new adapter switched off" in off.err
    left, right = look(place.path("saves/off")), look(place.path("saves/copied"))
    assert abs(left.curve[0][1] - left.curve[-1][1]) > 1e-3, "something must be learned"
    record("dpo", "curve of LoRA, adapter off", "a whole model as reference", apart(losses(left), losses(right)), 1e-5)


def test_an_adapter_that_goes_on_is_held_against_itself_and_not_the_base(
    place: Workspace, train: Any, look: Any, pairs: list[Rows], record: Any
):
    first = {**LORA, "stage": "sft", "dataset": "tiny_sft", "max_steps": 4, "learning_rate": "5e-2"}
    assert train(place, "saves/first", **first).code == 0
    values = {**LORA, "adapter_name_or_path": "saves/first", "max_steps": 3}
    live = train(place, "saves/further", **values)
    assert live.code == 0, live.err
    assert "a frozen copy of the starting adapter" in live.err
    run = look(place.path("saves/further"))
    record("dpo", "first loss of an adapter that goes on", "log 2: it is its own reference",
           abs(run.curve[0][1] - 0.6931472), 1e-6)  # fmt: skip
    named = train(place, "saves/named", **values, ref_model="models/tiny-chat", ref_model_adapters="saves/first")
    assert named.code == 0, named.err
    difference = apart(losses(run), losses(look(place.path("saves/named"))))
    record("dpo", "curve of an adapter that goes on", "base and adapter as --ref_model", difference, 1e-5)


@pytest.mark.parametrize("method", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_answers_of_the_reference_from_the_disk_give_the_same_curve(
    place: Workspace, train: Any, look: Any, pairs: list[Rows], record: Any, method: str
):
    values = {**LORA, "val_size": 4, "eval_strategy": "steps", "eval_steps": 3}
    if method == "full":
        values |= {"finetuning_type": "full", "learning_rate": "1e-3"}
        del values["lora_rank"]
    live = train(place, f"saves/live_{method}", **values)
    first = train(place, f"saves/asked_{method}", **values, precompute_ref_log_probs=True)
    again = train(place, f"saves/kept_{method}", **values, precompute_ref_log_probs=True)
    assert (live.code, first.code, again.code) == (0, 0, 0), first.err + again.err
    # Rows and held-out rows.
    assert (first.err.count("rows: computed in"), again.err.count("rows: from the cache")) == (2, 2)
    runs = [look(place.path(f"saves/{name}_{method}")) for name in ("live", "asked", "kept")]
    record("dpo", f"curve with the reference asked once, {method}", "asked at each step",
           apart(losses(runs[0]), losses(runs[1])), 1e-5)  # fmt: skip
    assert runs[1].weights() == runs[2].weights()
    assert runs[0].points[3]["eval_loss"] == pytest.approx(runs[1].points[3]["eval_loss"], abs=1e-5)


def test_batches_of_any_size_give_the_same_curve(
    place: Workspace, train: Any, look: Any, pairs: list[Rows], record: Any
):
    curves = []
    for size, times in ((4, 1), (1, 4)):
        values = {**KNOWN, **SWAPPED, "pref_loss": "kto_pair", "max_steps": 4}
        done = train(place, f"saves/size_{size}", **values, per_device_train_batch_size=size,
                     gradient_accumulation_steps=times)  # fmt: skip
        assert done.code == 0, done.err
        curves.append(losses(look(place.path(f"saves/size_{size}"))))
    record("dpo", "curve of kto_pair, 4 times one pair", "4 pairs at once", apart(*curves), 2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sigmoid", "kto_pair"])
@pytest.mark.parametrize("once", [False, True])
def test_two_processes_learn_what_one_does(
    place: Workspace, train: Any, look: Any, pairs: list[Rows], record: Any, name: str, once: bool
):
    # Within one epoch: at its end several processes are given some rows twice.
    values = {**KNOWN, "pref_loss": name, "precompute_ref_log_probs": once, "val_size": 5, "max_steps": 3}
    two = train(place, f"saves/two_{name}_{once}", **values, per_device_train_batch_size=2,
                environment={"NPROC_PER_NODE": "2"})  # fmt: skip
    one = train(place, f"saves/one_{name}_{once}", **values)
    assert (two.code, one.code) == (0, 0), two.err + one.err
    left, right = (look(place.path(f"saves/{many}_{name}_{once}")) for many in ("two", "one"))
    how = f"{name}, reference asked once" if once else name
    record("dpo", f"curve of two processes, {how}", "one process", apart(losses(left), losses(right)), 1e-5)
    results = [run.json("run.json")["results"] for run in (left, right)]
    record("dpo", f"held-out loss of two processes, {how}", "one process",
           abs(results[0]["eval_loss"] - results[1]["eval_loss"]), 1e-5)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("once", [False, True])
def test_killed_in_a_step_it_ends_with_the_same_bytes(
    place: Workspace, train: Any, look: Any, pairs: list[Rows], once: bool
):
    values = {**LORA, "lora_dropout": 0.2, "save_strategy": "steps", "precompute_ref_log_probs": once}
    assert train(place, f"saves/unbroken_{once}", **values).code == 0
    assert train(place, f"saves/killed_{once}", at=("backward", 5, KILL), **values).code == -KILL
    done = train(place, f"saves/killed_{once}", **values)
    assert done.code == 0, done.err
    look(place.path(f"saves/killed_{once}")).must_end_as(look(place.path(f"saves/unbroken_{once}")))


def test_stopped_while_the_reference_is_asked_it_ends_cleanly(place: Workspace, train: Any, pairs: list[Rows]):
    values = {**KNOWN, "precompute_ref_log_probs": True, "cutoff_len": 64}
    done = train(place, "saves/stopped", at=("evaluate", 4, TERM), **values)
    assert done.code == 14, done.err
    assert "stopped on request" in done.err and "Traceback" not in done.err
    assert train(place, "saves/stopped", **values).code == 0


def test_pairs_are_learned(place: Workspace, train: Any, look: Any, pairs: list[Rows]):
    done = train(place, "saves/learned", **{**LORA, "max_steps": 15, "per_device_train_batch_size": 10})
    assert done.code == 0, done.err
    last = look(place.path("saves/learned")).points[-1]
    assert last["accuracy"] == 1.0
    assert last["margin"] > 1 and last["loss"] < 0.3
