"""KTO's loss, its gradients, its estimate of how far the policy has moved, and its invariances."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import torch

from studio.workspace import Workspace
from tests.fidelity.plain import DESCENT, PLAIN, Rows, apart, fresh, furthest, losses, previewed, saved, state
from tests.fidelity.test_dpo import right_padded
from tests.fidelity.verdicts import drift, judged_rows, logp, mismatched, register, tokens

LOOP = "plain torch from the paper, an answer at a time"
KILL = int(signal.SIGKILL)
JUDGED = {"stage": "kto", "dataset": "tiny_judged"}
# The answers here are likelier to the shifted model than to the other, so that the estimate is not zero.
KNOWN = {**JUDGED, **PLAIN, "model_name_or_path": "models/shifted", "ref_model": "models/tiny-chat"}
LORA = {**JUDGED, "lora_rank": 4, "learning_rate": "1e-2", "logging_steps": 1, "save_strategy": "no"}


@pytest.fixture(scope="module")
def rows(place: Workspace, command: Any) -> Rows:
    register(place)
    return previewed(place, command, "tiny_judged", "--stage", "kto")


def plain_loss(policy: Any, reference: Any, rows: Rows, chosen: list[int], **numbers: float) -> torch.Tensor:
    """The mean over rows of weight * (1 - v), from equations 7 and 8 of arXiv 2402.01306, and the extra on wanted."""
    z = drift(policy, reference, [mismatched(rows, index) for index in chosen])
    assert z > 0, "else the estimate is not seen"
    beta, each = numbers["beta"], []
    for index in chosen:
        policy_logp = logp(policy, rows[index])
        with torch.no_grad():
            gain = -logp(reference, rows[index])
        gain = gain + policy_logp
        if judged_rows()[index]["good"]:
            extra = -numbers["ftx"] * policy_logp / tokens(rows[index])
            each.append(numbers["wanted"] * (1 - torch.sigmoid(beta * (gain - z))) + extra)
        else:
            each.append(numbers["unwanted"] * (1 - torch.sigmoid(beta * (z - gain))))
    return torch.stack(each).mean()


def test_loss_and_first_gradients_are_those_of_the_paper(
    place: Workspace, train: Any, look: Any, rows: Rows, record: Any
):
    flags = {"pref_beta": 0.2, "kto_chosen_weight": 1.5, "kto_rejected_weight": 0.7, "pref_ftx": 0.3}
    values = {**KNOWN, **DESCENT, **flags, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 6}
    done = train(place, "saves/paper", **values)
    assert done.code == 0, done.err
    model, reference = fresh(place, "models/shifted"), fresh(place).eval()
    before = {name: weight.clone() for name, weight in state(model).items()}
    loss = plain_loss(model, reference, rows, list(range(6)), beta=0.2, wanted=1.5, unwanted=0.7, ftx=0.3)
    loss.backward()
    grown = {key: before[key] - weight.grad for key, weight in model.named_parameters() if key in before}
    assert max(float((before[key] - weight).abs().max()) for key, weight in grown.items()) > 1e-3
    run = look(place.path("saves/paper"))
    record("kto", "loss of 6 answers, one at a time", LOOP, abs(run.curve[0][1] - loss.item()), 2e-5)
    record("kto", "first gradients of 6 answers, one at a time", LOOP, furthest(saved(run), grown), 2e-6)
    z = drift(model, reference, [mismatched(rows, index) for index in range(6)])
    record("kto", "estimate of KL", LOOP, abs(run.points[0]["kl"] - z), 1e-4)
    names = {"accuracy", "margin", "rewards_chosen", "rewards_rejected", "logps_chosen", "logps_rejected", "kl"}
    assert names <= run.points[0].keys()


def test_trl_gives_the_same_loss_for_the_same_tokens(place: Workspace, train: Any, look: Any, rows: Rows, record: Any):
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import KTOConfig, KTOTrainer

    done = train(place, "saves/ours", **{**KNOWN, "max_steps": 1, "per_device_train_batch_size": 6})
    assert done.code == 0, done.err
    beside = right_padded([mismatched(rows, index) for index in range(6)])
    batch = {**right_padded(rows[:6]), **{f"KL_{name}": value for name, value in beside.items()}}
    batch["label"] = torch.tensor([row["good"] for row in judged_rows()[:6]])
    words = [{"prompt": name, "completion": "b", "label": True} for name in ("a", "c")]
    config = KTOConfig(output_dir=str(place.root / "trl"), use_cpu=True, bf16=False, report_to="none",
                       gradient_checkpointing=False, per_device_train_batch_size=2)  # fmt: skip
    trainer = KTOTrainer(
        model=fresh(place, "models/shifted"), ref_model=fresh(place), args=config,
        train_dataset=Dataset.from_list(words),
        processing_class=AutoTokenizer.from_pretrained(place.path("models/tiny-chat")),
    )  # fmt: skip
    theirs = float(trainer.compute_loss(trainer.model, batch).detach())
    ours = look(place.path("saves/ours")).curve[0][1]
    record("kto", "loss of 6 answers", "trl, KTOTrainer", abs(ours - theirs), 2e-5)


def test_batches_of_any_size_give_the_same_curve(place: Workspace, train: Any, look: Any, rows: Rows, record: Any):
    curves = []
    for size, times in ((4, 1), (1, 4)):
        done = train(place, f"saves/size_{size}", **KNOWN, val_size=5, per_device_train_batch_size=size,
                     gradient_accumulation_steps=times, per_device_eval_batch_size=size)  # fmt: skip
        assert done.code == 0, done.err
        run = look(place.path(f"saves/size_{size}"))
        curves.append([*losses(run), run.json("run.json")["results"]["eval_loss"]])
    record("kto", "curve and held-out loss, 4 times one answer", "4 answers at once", apart(*curves), 2e-5)


def test_answers_of_the_reference_from_the_disk_give_the_same_curve(
    place: Workspace, train: Any, look: Any, rows: Rows, record: Any
):
    live = train(place, "saves/live", **LORA)
    first = train(place, "saves/asked", **LORA, precompute_ref_log_probs=True)
    again = train(place, "saves/kept", **LORA, precompute_ref_log_probs=True)
    assert (live.code, first.code, again.code) == (0, 0, 0), first.err + again.err
    assert again.err.count("rows: from the cache") == 2, "rows and mismatched rows"
    runs = [look(place.path(f"saves/{name}")) for name in ("live", "asked", "kept")]
    assert abs(runs[0].curve[0][1] - runs[0].curve[-1][1]) > 1e-3, "something must be learned"
    record("kto", "curve with the reference asked once", "asked at each step", apart(*map(losses, runs[:2])), 1e-5)
    assert runs[1].weights() == runs[2].weights()


@pytest.mark.slow
def test_two_processes_learn_what_one_does(place: Workspace, train: Any, look: Any, rows: Rows, record: Any):
    # Within one epoch: at its end several processes are given some rows twice.
    values = {**KNOWN, "val_size": 5, "max_steps": 3}
    two = train(place, "saves/two", **values, per_device_train_batch_size=2, environment={"NPROC_PER_NODE": "2"})
    one = train(place, "saves/one", **values)
    assert (two.code, one.code) == (0, 0), two.err + one.err
    left, right = look(place.path("saves/two")), look(place.path("saves/one"))
    record("kto", "curve of two processes", "one process", apart(losses(left), losses(right)), 1e-5)
    results = [run.json("run.json")["results"]["eval_loss"] for run in (left, right)]
    record("kto", "held-out loss of two processes", "one process", abs(results[0] - results[1]), 1e-5)


@pytest.mark.slow
def test_killed_in_a_step_it_ends_with_the_same_bytes(place: Workspace, train: Any, look: Any, rows: Rows):
    values = {**LORA, "lora_dropout": 0.2, "save_strategy": "steps"}
    assert train(place, "saves/unbroken", **values).code == 0
    assert train(place, "saves/killed", at=("backward", 5, KILL), **values).code == -KILL
    done = train(place, "saves/killed", **values)
    assert done.code == 0, done.err
    look(place.path("saves/killed")).must_end_as(look(place.path("saves/unbroken")))


def test_verdicts_are_learned_and_their_shares_told(place: Workspace, train: Any, look: Any, rows: Rows):
    done = train(place, "saves/learned", **{**LORA, "max_steps": 25, "per_device_train_batch_size": 10})
    assert done.code == 0, done.err
    assert "12 answers are wanted, 8 are not" in done.err
    last = look(place.path("saves/learned")).points[-1]
    assert last["margin"] > 1 and last["rewards_rejected"] < 0 < last["rewards_chosen"]


def test_answers_to_one_prompt_alone_are_refused(place: Workspace, train: Any, rows: Rows):
    import json

    lines = [{"question": "Why?", "answer": f"Because {n}.", "good": n % 2 == 0} for n in range(8)]
    (place.data / "one_prompt.json").write_text(json.dumps(lines))
    registry = json.loads(place.dataset_info.read_text())
    registry["one_prompt"] = {**registry["tiny_judged"], "file_name": "one_prompt.json"}
    place.dataset_info.write_text(json.dumps(registry))
    done = train(place, "saves/one_prompt", **{**LORA, "dataset": "one_prompt"})
    assert done.code != 0
    assert "at least two different prompts" in done.err and "Traceback" not in done.err
