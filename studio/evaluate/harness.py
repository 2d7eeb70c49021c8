"""`studio eval harness`: lm-eval asks the base and every model, through its public Python interface."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from studio.errors import ArgumentError, ModelError, StudioError
from studio.evaluate.intervals import Z95, Better, Measure
from studio.evaluate.kept import ALL, SHOWN, Result, export, export_targets, group_differences, keep, read_kept
from studio.evaluate.opening import Subject, opened, subjects
from studio.works.base import Ear
from studio.works.eval_harness import BENCHMARKS, HarnessSet
from studio.workspace import Workspace

if TYPE_CHECKING:
    from studio.model.generate import Speaker

# What the package evaluate wants to see before it runs a program, beside lm-eval's own consent.
_CONSENT = "HF_ALLOW_CODE_EVAL"


def run(asked: HarnessSet, place: Workspace, ear: Ear) -> dict[str, Any]:
    """Measure the base, the checkpoints that are asked for, and the model; keep the numbers with the run.

    {"name": "harness", "task": "harness", "time", "settings", "results", "differences", "kept": path,
     "exported": [path]}

    `results` has the base first: {"model", "base", "step", "measures", "groups", "rows", "notes", "settings"}.
    `groups` has for each task of lm-eval its metrics, each a number {"value", "low", "high", "count", "better"};
    `measures` has those of the tasks that were asked for, as "task metric". An interval is 1.96 standard errors as
    lm-eval tells them, without end where it tells none. `rows` are up to 200 questions: {"task", "id", "question",
    "answer", "said", and the metrics by name}. A difference is over the same questions, where lm-eval gives a value for
    each. Raises StudioError when lm-eval is not installed, does not know a task, or cannot get its data.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise StudioError('studio eval harness needs lm-eval, which is not installed. Install it: pip install '
                          '"studio[harness]". From a folder, studio eval choice needs nothing more.')  # fmt: skip
    export_targets(asked.measured.export, place, overwrite=asked.measured.overwrite_export)
    every = subjects(asked.model, asked.measured, place, ear.say)
    ear.tell(0, len(every), "looking for the tasks")
    manager, names = _tasks(asked, place)
    results = []
    for number, subject in enumerate(every):
        ear.tell(number, len(every), f"{subject.name}: {', '.join(names)}")
        results.append(_one(asked, subject, manager, names, place))
    ear.tell(len(every), len(every), "measured")
    base = results[0] if len(results) > 1 and results[0].base else None
    differences = {each.model: group_differences(each, base) for each in results if base and each is not base}
    path = keep(results, differences, every[-1].run, place, settings=asked.changes())
    kept = read_kept(path)
    exported = export(asked.measured.export, kept, place, overwrite=asked.measured.overwrite_export)
    plain = [{name: value for name, value in each.items() if name != "values"} for each in kept["results"]]
    return {
        "name": kept["name"], "task": kept["task"], "time": kept["time"], "settings": asked.changes(),
        "results": plain, "differences": kept["differences"], "kept": place.shown(path),
        "exported": [place.shown(each) for each in exported],
    }  # fmt: skip


def _tasks(asked: HarnessSet, place: Workspace) -> tuple[Any, list[str]]:
    """lm-eval's index of tasks, and the names of those to measure. Raises ArgumentError for one it does not have."""
    from lm_eval.tasks import TaskManager

    own = asked.harness.include_path
    folder = place.path(own) if own else None
    if folder is not None and not folder.is_dir():
        raise ArgumentError([f"--include_path {own}: must be a folder with YAML files of lm-eval; there is none."])
    # Its own hundreds of tasks take a while to be looked through, and are needed for their names alone.
    manager = TaskManager(include_path=str(folder) if folder else None)
    wanted = [name for word in asked.harness.tasks for name in BENCHMARKS.get(word, (word,))]
    if wrong := [name for name in wanted if name not in manager.all_tasks]:
        raise ArgumentError([f"--tasks {', '.join(wrong)}: lm-eval has no such task. Its names are told by "
                             "lm_eval ls tasks; tasks of your own lie in --include_path."])  # fmt: skip
    return manager, wanted


def _one(asked: HarnessSet, subject: Subject, manager: Any, names: list[str], place: Workspace) -> Result:
    with opened(subject, asked.model, asked.measured, place) as speaker, _consent(asked.harness.allow_code_execution):
        found = _evaluated(asked, speaker, manager, names)
    return _result(found, subject, names, asked)


@contextlib.contextmanager
def _consent(given: bool) -> Iterator[None]:
    """Programs may be run within, where that was asked for, and never else."""
    before = os.environ.pop(_CONSENT, None)
    if given:
        os.environ[_CONSENT] = "1"
    try:
        yield
    finally:
        os.environ.pop(_CONSENT, None)
        if before is not None:
            os.environ[_CONSENT] = before


def _evaluated(asked: HarnessSet, speaker: Speaker, manager: Any, names: list[str]) -> Mapping[str, Any]:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    trust, own = asked.model.trust_remote_code, asked.harness
    tokenizer = AutoTokenizer.from_pretrained(str(speaker.tokenizer.folder), trust_remote_code=trust)
    size = asked.measured.per_device_eval_batch_size
    model = HFLM(pretrained=speaker.model, tokenizer=tokenizer, batch_size=size)
    try:
        found = simple_evaluate(
            model, tasks=list(names), num_fewshot=own.num_fewshot, limit=own.limit, task_manager=manager,
            apply_chat_template=own.apply_chat_template, confirm_run_unsafe_code=own.allow_code_execution,
            random_seed=own.seed, numpy_random_seed=own.seed, torch_random_seed=own.seed, fewshot_random_seed=own.seed,
        )  # fmt: skip
    except OSError as error:
        raise StudioError(
            f"the data of {', '.join(names)} must come from the Hugging Face hub or its cache, and cannot be had: "
            f"{' '.join(str(error).split())[:300]} Check the network and HF_HUB_OFFLINE, or use a folder with "
            "studio eval choice."
        ) from error
    except (ValueError, KeyError, ImportError, RuntimeError) as error:
        told = " ".join(str(error).split())[:300]
        raise StudioError(
            f"lm-eval cannot measure {', '.join(names)}: {told} See the task's page in lm-eval."
        ) from error
    if found is None:
        raise ModelError("lm-eval gave no result.")
    return dict(found)


def _result(found: Mapping[str, Any], subject: Subject, names: list[str], asked: HarnessSet) -> Result:
    groups: dict[str, dict[str, Measure]] = {}
    for task, metrics in {**found["results"], **found.get("groups", {})}.items():
        count = int((found.get("n-samples") or {}).get(task, {}).get("effective") or 0)
        higher = (found.get("higher_is_better") or {}).get(task) or {}
        groups[task] = dict(_measures(metrics, count, higher))
    measures = {f"{task} {name}": measure for task in names for name, measure in groups.get(task, {}).items()}
    samples = found.get("samples") or {}
    values = {name: _values(samples.get(name.split(" ")[0], ()), name.split(" ")[1]) for name in measures}
    rows = [
        _row(task, sample) for task, each in samples.items() for sample in each[: SHOWN // max(len(samples), 1) + 1]
    ]
    settings = {**asked.harness.model_dump(mode="json"), "lm_eval": str(found.get("lm_eval_version", "")),
                "versions": dict(found.get("versions") or {})}  # fmt: skip
    return Result(
        "harness", "harness", subject.name, subject.base, subject.step, measures, groups, rows[:SHOWN], settings,
        {name: each for name, each in values.items() if each},
    )  # fmt: skip


def _measures(metrics: Mapping[str, Any], count: int, higher: Mapping[str, Any]) -> Iterator[tuple[str, Measure]]:
    """The metrics of a task: `acc,none` with `acc_stderr,none` beside it."""
    for key, value in metrics.items():
        name, _, chosen = key.partition(",")
        if not chosen or name.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = metrics.get(f"{name}_stderr,{chosen}")
        half = Z95 * error if isinstance(error, int | float) else math.inf
        better: Better = "lower" if higher.get(name) is False else "higher"
        shown = name if chosen == "none" else f"{name}_{chosen}"
        yield shown, Measure(float(value), value - half, value + half, count, better)


def _values(samples: Any, metric: str) -> list[float]:
    """The metric of each question, where each has one number."""
    found = [sample.get(metric) for sample in sorted(samples, key=lambda each: each.get("doc_id", 0))]
    return [float(each) for each in found] if all(isinstance(each, int | float) for each in found) else []


def _row(task: str, sample: Mapping[str, Any]) -> dict[str, Any]:
    """A question as people look at it."""
    metrics = {name: sample[name] for name in sample.get("metrics") or () if isinstance(sample.get(name), int | float)}
    asked: Any = sample.get("arguments") or {}
    first = next(iter(asked.values()), {}) if isinstance(asked, Mapping) else (asked or [()])[0]
    prompt = next(iter(first.values()), "") if isinstance(first, Mapping) else (first or [""])[0]
    said = sample.get("filtered_resps") or []
    return {"task": task, "id": sample.get("doc_id"), "question": str(prompt)[-2000:],
            "answer": str(sample.get("target", ""))[:2000], "said": str(said[0] if len(said) == 1 else said)[:2000],
            **metrics}  # fmt: skip


def as_text(found: dict[str, Any]) -> str:
    """A line for each task and metric of each model, with the difference from the base."""
    lines: list[str] = []
    for result in found["results"]:
        lines.append(result["model"] + (" (base)" if result["base"] and len(found["results"]) > 1 else ""))
        apart = found["differences"].get(result["model"], {}).get(ALL, {})
        for name, each in result["measures"].items():
            told = f"  {name}  {each['value']:.4f}"
            if each["low"] is not None:
                told += f"  ({each['low']:.4f} to {each['high']:.4f}, {each['count']:,})"
            if name in apart:
                far = apart[name]
                told += f"  {far['value']:+.4f} from the base ({far['low']:+.4f} to {far['high']:+.4f})"
            lines.append(told)
        lines.append("")
    lines += [f"written: {path}" for path in found["exported"]]
    return "\n".join([*lines, f"kept: {found['kept']}"])
