"""`studio eval harness`: lm-eval asks the base and every model, through its public Python interface."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.errors import ArgumentError, ModelError, StudioError
from studio.evaluate.intervals import Z95, Better, Measure, share
from studio.evaluate.kept import ALL, SHOWN, Result, export, export_targets, group_differences, keep, read_kept
from studio.evaluate.opening import Subject, opened, subjects
from studio.works.base import Ear
from studio.works.eval_harness import BENCHMARKS, HarnessSet, code_complaint
from studio.workspace import Workspace

if TYPE_CHECKING:
    from studio.model.generate import Speaker

# What the package evaluate wants to see before it runs a program, beside lm-eval's own consent.
_CONSENT = "HF_ALLOW_CODE_EVAL"
# With it the package evaluate fetches no metrics, which are programs, from the hub.
_NO_METRICS = "HF_EVALUATE_OFFLINE"


@dataclass(frozen=True)
class Benchmarks:
    """What is asked, with its data: `names` as they are shown, `objects` as lm-eval has them, `leaves` the tasks that
    each name stands for."""

    names: list[str]
    objects: list[Any]
    leaves: dict[str, list[str]]


def run(asked: HarnessSet, place: Workspace, ear: Ear) -> dict[str, Any]:
    """Measure the base, the checkpoints that are asked for, and the model; keep the numbers with the run.

    {"name": "harness", "task": "harness", "time", "settings", "results", "differences", "kept": path,
     "exported": [path]}

    `results` has the base first: {"model", "base", "step", "measures", "groups", "rows", "notes", "settings"}.
    `groups` has for each task of lm-eval its metrics, each a number {"value", "low", "high", "count", "better"};
    `measures` has those of the tasks that were asked for, as "task metric"; of a name without numbers of its own, those
    of its tasks. The interval of a share of right answers is Wilson's, any other is 1.96 standard errors as lm-eval
    tells them, without end where it tells none. `rows` are up to 200 questions: {"task", "id", "question", "answer",
    "said", and the metrics by name}. A difference is over the same questions, where the measure is the mean of a value
    for each. Raises StudioError when lm-eval is not
    installed, does not know a task, or cannot get its data, and ArgumentError for tasks that run programs unasked.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise StudioError('studio eval harness needs lm-eval, which is not installed. Install it: pip install '
                          '"studio[harness]". From a folder, studio eval choice needs nothing more.')  # fmt: skip
    export_targets(asked.measured.export, place, overwrite=asked.measured.overwrite_export)
    every = subjects(asked.model, asked.measured, place, ear.say)
    ear.tell(0, len(every), "looking for the tasks")
    results = []
    with _allowed(asked):
        tasks = _tasks(asked, place)
        for number, subject in enumerate(every):
            ear.tell(number, len(every), f"{subject.name}: {', '.join(tasks.names)}")
            with opened(subject, asked.model, asked.measured, place) as speaker:
                found = _evaluated(asked, speaker, tasks)
            results.append(_result(found, subject, tasks, asked))
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


def _tasks(asked: HarnessSet, place: Workspace) -> Benchmarks:
    """The tasks with their data, before any model is loaded. Raises ArgumentError, StudioError as `run`."""
    from lm_eval.tasks import TaskManager

    own = asked.harness.include_path
    folder = place.path(own) if own else None
    if folder is not None and not folder.is_dir():
        raise ArgumentError([f"--include_path {own}: must be a folder with YAML files of lm-eval; there is none."])
    # Its own hundreds of tasks take a while to be looked through, and are needed for their names alone.
    with _told(f"--include_path {own}" if own else "lm-eval's tasks"):
        manager = TaskManager(include_path=str(folder) if folder else None)
    wanted = list(dict.fromkeys(name for word in asked.harness.tasks for name in BENCHMARKS.get(word, (word,))))
    if wrong := [name for name in wanted if name not in manager.all_tasks]:
        raise ArgumentError([f"--tasks {', '.join(wrong)}: lm-eval has no such task. Its names are told by "
                             "lm_eval ls tasks; tasks of your own lie in --include_path."])  # fmt: skip
    runs = [name for name in wanted if _runs_code({"task": [name]}, manager.task_index)]
    if runs and not asked.harness.allow_code_execution:
        raise ArgumentError([code_complaint(runs)])
    objects: list[Any] = []
    leaves = {}
    for name in wanted:
        with _told(name):
            loaded = manager.load(name)
        leaves[name] = list(loaded["tasks"])
        group = loaded["groups"].get(name)
        objects += [group] if group is not None else loaded["tasks"].values()
    with _told(", ".join(wanted)):
        manager.load(objects)  # refuses a task that is asked twice
    return Benchmarks(wanted, objects, leaves)


def _runs_code(config: Mapping[str, Any], index: Mapping[str, Any], above: frozenset[str] = frozenset()) -> bool:
    """Whether a task as its file says it, or one below a group or tag, runs what the model writes; nothing is loaded.

    A task that is loaded imports its Python files, and fetches its metric. A group that stands in itself, by a name
    in `above`, is lm-eval's to refuse.
    """
    members = config.get("task")
    below: list[tuple[Mapping[str, Any], frozenset[str]]] = []
    for member in members if isinstance(members, list) else ():
        if isinstance(member, Mapping):
            below.append((member, above))
        named = member.get("group", member.get("task")) if isinstance(member, Mapping) else member
        entry = index.get(named) if isinstance(named, str) and named not in above else None
        if entry is not None:
            # The tags of a tag are the tasks that carry it; it has no file.
            below.append((entry.cfg or {"task": sorted(entry.tags)}, above | {named}))
    return bool(config.get("unsafe_code")) or any(_runs_code(each, index, names) for each, names in below)


@contextlib.contextmanager
def _allowed(asked: HarnessSet) -> Iterator[None]:
    """Programs of the model may be run, and metrics be fetched, within, where that was asked for, and never else."""
    runs = asked.harness.allow_code_execution
    wanted = {_CONSENT: "1" if runs else None, _NO_METRICS: None if runs or asked.model.trust_remote_code else "1"}
    before = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def _told(names: str) -> Iterator[None]:
    """What lm-eval and datasets raise within, as a sentence."""
    from datasets.exceptions import DatasetsError
    from jinja2 import TemplateError
    from torch import OutOfMemoryError
    from yaml import YAMLError

    try:
        yield
    except OutOfMemoryError:
        raise
    except (OSError, DatasetsError) as error:
        told = " ".join(str(error).split())[:300]
        if "module script" in told:
            raise StudioError(
                f"a metric of {names} is a program on the Hugging Face hub: {told} Set --trust_remote_code True to "
                "fetch it and run it, or choose another task."
            ) from error
        raise StudioError(
            f"the data of {names} must come from the Hugging Face hub, its cache, or the files that the task names, "
            f"and cannot be had: {told} Check the path, the network and HF_HUB_OFFLINE, or use a folder with studio "
            "eval choice."
        ) from error
    except (
        ValueError, LookupError, ImportError, RuntimeError, TypeError, AttributeError, AssertionError, TemplateError,
        YAMLError,
    ) as error:  # fmt: skip
        told = " ".join(str(error).split())[:300]
        raise StudioError(f"lm-eval cannot measure {names}: {told} See the task's page in lm-eval.") from error


def _evaluated(asked: HarnessSet, speaker: Speaker, tasks: Benchmarks) -> Mapping[str, Any]:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    trust, own = asked.model.trust_remote_code, asked.harness
    tokenizer = AutoTokenizer.from_pretrained(str(speaker.tokenizer.folder), trust_remote_code=trust)
    size = asked.measured.per_device_eval_batch_size
    model = HFLM(pretrained=speaker.model, tokenizer=tokenizer, batch_size=size)
    with _told(", ".join(tasks.names)):
        found = simple_evaluate(
            model, tasks=list(tasks.objects), num_fewshot=own.num_fewshot, limit=own.limit,
            apply_chat_template=own.apply_chat_template, confirm_run_unsafe_code=own.allow_code_execution,
            random_seed=own.seed, numpy_random_seed=own.seed, torch_random_seed=own.seed, fewshot_random_seed=own.seed,
        )  # fmt: skip
    if found is None:
        raise ModelError("lm-eval gave no result.")
    return dict(found)


def _result(found: Mapping[str, Any], subject: Subject, tasks: Benchmarks, asked: HarnessSet) -> Result:
    samples = found.get("samples") or {}
    leaves = {task: [task] for task in samples} | tasks.leaves
    groups: dict[str, dict[str, Measure]] = {}
    values: dict[str, list[float]] = {}
    for task, metrics in {**found["results"], **found.get("groups", {})}.items():
        groups[task] = {}
        for key, measure in _measures(metrics, (found.get("higher_is_better") or {}).get(task) or {}):
            own = [value for leaf in leaves.get(task, ()) for value in _values(samples.get(leaf, ()), key)]
            groups[task][_shown(key)] = measure
            # A measure that weighs its rows otherwise is not compared by them.
            if own and math.isclose(math.fsum(own) / len(own), measure.value, rel_tol=1e-9, abs_tol=1e-12):
                values[f"{task} {_shown(key)}"] = own
                if set(own) <= {0, 1}:
                    groups[task][_shown(key)] = share(round(math.fsum(own)), len(own), measure.better)
    # A tag, and a group that sums nothing up, have no numbers of their own.
    told = [task for name in tasks.names for task in ([name] if groups.get(name) else tasks.leaves[name])]
    measures = {f"{task} {name}": measure for task in told for name, measure in groups.get(task, {}).items()}
    rows = [
        _row(task, sample) for task, each in samples.items() for sample in each[: SHOWN // max(len(samples), 1) + 1]
    ]
    settings = {**asked.harness.model_dump(mode="json"), "lm_eval": str(found.get("lm_eval_version", "")),
                "versions": dict(found.get("versions") or {})}  # fmt: skip
    return Result(
        "harness", "harness", subject.name, subject.base, subject.step, measures, groups, rows[:SHOWN], settings,
        {name: values[name] for name in measures if name in values},
    )  # fmt: skip


def _shown(key: str) -> str:
    """`acc,none` → acc, `exact_match,strict-match` → exact_match_strict-match."""
    name, _, chosen = key.partition(",")
    return name if chosen == "none" else f"{name}_{chosen}"


def _measures(metrics: Mapping[str, Any], higher: Mapping[str, Any]) -> Iterator[tuple[str, Measure]]:
    """The metrics of a task: `acc,none` with `acc_stderr,none` beside it."""
    for key, value in metrics.items():
        name, _, chosen = key.partition(",")
        if not chosen or name.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = metrics.get(f"{name}_stderr,{chosen}")
        half = Z95 * error if isinstance(error, int | float) else math.inf
        better: Better = "lower" if higher.get(name) is False else "higher"
        count = int((metrics.get("sample_count") or {}).get(key) or metrics.get("sample_len") or 0)
        yield key, Measure(float(value), value - half, value + half, count, better)


def _values(samples: Iterable[Mapping[str, Any]], key: str) -> list[float]:
    """The metric of each question as its filter leaves the answer, where each has one number."""
    metric, _, chosen = key.partition(",")
    own = [sample for sample in samples if sample.get("filter", "none") == chosen]
    found = [sample.get(metric) for sample in sorted(own, key=lambda each: each.get("doc_id", 0))]
    numbers = [float(each) for each in found if isinstance(each, int | float)]
    return numbers if len(numbers) == len(found) else []


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
