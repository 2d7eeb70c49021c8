"""What a step learns does not depend on how its rows lie: in batches, in packs, padded, or in processes.

For every stage that learns from given rows. One step of plain descent at rate one: the weights move by the gradient.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from studio.jobs.progress import Progress
from studio.recipe import STAGES
from studio.workspace import Workspace
from tests.conftest import json_lines, sft_rows
from tests.fidelity.plain import DESCENT, apart, furthest, losses, saved

GIVEN = [name for name in STAGES if STAGES[name].wants in ("documents", "answers", "pairs", "judged")]
# The KL term of kto is estimated from the rows that go through the model together, as its paper has it.
BY_STEP = [name for name in GIVEN if name != "kto"]
QUICK = "sft"


def one_quick(stages: list[str]) -> list[Any]:
    """One stage in every run of the tests, the others in the slow ones."""
    return [stage if stage == QUICK else pytest.param(stage, marks=pytest.mark.slow) for stage in stages]


DATA = {"documents": "tiny_pt", "answers": "tiny_sft", "pairs": "tiny_pairs", "judged": "tiny_pairs"}
ROWS = {"train_sampling_strategy": "sequential", "max_samples": 8, "packing": "False", "val_size": 0}


@pytest.fixture(scope="module")
def paired(place: Workspace) -> Workspace:
    """The workspace, with pairs whose rejected answer belongs to another question."""
    answers = sft_rows()
    rows = [
        {"instruction": row["instruction"], "input": row["input"], "chosen": row["output"],
         "rejected": answers[(3 * number + 5) % len(answers)]["output"] + " Or so."}
        for number, row in enumerate(answers)
    ]  # fmt: skip
    place.path("data/tiny_pairs.jsonl").write_text(json_lines(rows), encoding="utf-8")
    registry = json.loads(place.path("dataset_info.json").read_text())
    columns = {"prompt": "instruction", "query": "input", "chosen": "chosen", "rejected": "rejected"}
    registry["tiny_pairs"] = {"file_name": "tiny_pairs.jsonl", "ranking": True, "columns": columns}
    place.path("dataset_info.json").write_text(json.dumps(registry), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def at_once(paired: Workspace, train: Any, look: Any) -> Any:
    """The step of a stage over eight rows in one batch, once."""
    done: dict[str, Any] = {}

    def run(stage: str) -> Any:
        if stage not in done:
            ended = train(paired, f"saves/{stage}_once", **values_of(stage), per_device_train_batch_size=8)
            assert ended.code == 0, ended.err
            done[stage] = look(paired.path(f"saves/{stage}_once"))
        return done[stage]

    return run


def values_of(stage: str) -> dict[str, Any]:
    return {**DESCENT, **ROWS, "stage": stage, "dataset": DATA[STAGES[stage].wants]}


def compare(record: Any, stage: str, what: str, left: Any, right: Any) -> None:
    reference = "the same rows in one batch"
    record(stage, f"loss of a step over 8 rows, {what}", reference, apart(losses(left), losses(right)), 1e-5)
    record(stage, f"gradients of the step, {what}", reference, furthest(saved(left), saved(right)), 1e-5)


@pytest.mark.parametrize("stage", one_quick(BY_STEP))
def test_accumulated_batches_are_one_batch(
    paired: Workspace, train: Any, look: Any, at_once: Any, record: Any, stage: str
):
    more = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    done = train(paired, f"saves/{stage}_accumulated", **values_of(stage), **more)
    assert done.code == 0, done.err
    compare(record, stage, "accumulated 4 times 2", look(paired.path(f"saves/{stage}_accumulated")), at_once(stage))


@pytest.mark.parametrize("stage", one_quick(BY_STEP))
def test_two_processes_are_one(paired: Workspace, train: Any, look: Any, at_once: Any, record: Any, stage: str):
    done = train(
        paired, f"saves/{stage}_two", **values_of(stage), per_device_train_batch_size=4,
        environment={"NPROC_PER_NODE": "2"},
    )  # fmt: skip
    assert done.code == 0, done.err
    compare(record, stage, "in 2 processes (gloo)", look(paired.path(f"saves/{stage}_two")), at_once(stage))


@pytest.mark.parametrize("stage", one_quick(GIVEN))
def test_padded_rows_are_rows_end_to_end(
    paired: Workspace, monkeypatch: Any, look: Any, at_once: Any, record: Any, stage: str
):
    from studio import assemble
    from studio.jobs.signals import StopFlag
    from studio.loop import attention
    from studio.model.hardware import Choice
    from studio.recipe import make_recipe
    from studio.train import train
    from tests.flow.conftest import SMALL

    def padded(model: Any, _asked: str) -> tuple[str, str]:
        model.set_attn_implementation("sdpa")
        return "padded", "for the comparison"

    whole = at_once(stage)
    opened: list[Any] = []
    monkeypatch.setattr(attention, "choose_attention", padded)
    monkeypatch.setattr(assemble, "Progress", lambda path: opened.append(Progress(path)) or opened[-1])
    output = f"saves/{stage}_padded"
    values = {**SMALL, **values_of(stage), "per_device_train_batch_size": 8, "output_dir": output}
    recipe, _ = make_recipe({name: str(value) for name, value in values.items()})
    folder = train(recipe, paired, Choice("threads", "1", "a test"), [], StopFlag())
    for curve in opened:
        curve.close()  # a command ends with its process
    run = look(folder)
    assert "attention: padded" in run.log
    compare(record, stage, "padded on the right", run, whole)
