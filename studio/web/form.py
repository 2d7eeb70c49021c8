"""A filled form → the command that it says, with every complaint: the one builder behind Preview and Start."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from studio.arguments.check import Unreadable, shown
from studio.command import read_raw, to_argv, to_text, to_yaml, typed
from studio.data.catalog import read_catalog
from studio.data.kinds import kind_of, why_not
from studio.errors import ArgumentError, DatasetError, StudioError
from studio.jobs.folder import inspect
from studio.jobs.job import device_settings, shell_line
from studio.recipe import STAGES, Recipe, arguments_of_all, make_recipe
from studio.rewards.service import url_complaint
from studio.web.naming import made_whole, model_name_of
from studio.web.site import Site
from studio.web.trust import code_complaints
from studio.workspace import Workspace

# The box of a form in which further arguments stand as JSON.
EXTRA = "extra_arguments"
_PATHS = ("model_name_or_path", "adapter_name_or_path", "tokenizer_name_or_path", "cache_dir", "train_file",
          "validation_file", "dataset_dir", "output_dir", "resume_from_checkpoint", "deepspeed",
          "reward_model", "reward_model_adapters", "reward_function", "ref_model", "ref_model_adapters",
          "test_reward_model_acc_files", "template", "sample_policy_file", "img_log_dir")  # fmt: skip
# Of these, the folders of models: one that is not there is told before the start.
_FOLDERS = ("model_name_or_path", "adapter_name_or_path", "reward_model", "reward_model_adapters", "ref_model",
            "ref_model_adapters")  # fmt: skip


@dataclass(frozen=True)
class Composed:
    """What a form says: the words after `studio`, the same as text to copy, and what is wrong with it."""

    argv: list[str]
    shell: str
    lines: list[str]
    """The pieces of the shell line, each short enough to read."""
    yaml: str
    python: str
    output_dir: str
    model_name: str
    complaints: list[str]
    notes: list[str]
    by_field: dict[str, str]
    recipe: Recipe | None = field(default=None, compare=False)

    def as_json(self) -> dict[str, Any]:
        """As the page hears it."""
        told = asdict(self)
        del told["recipe"]
        return {"ok": not self.complaints, **told}


def compose(
    site: Site, values: Mapping[str, Any], model_name: str = "", run_name: str = "", devices: Sequence[str] = ()
) -> Composed:
    """The training command that a form says. Nothing is raised: what is wrong stands in `complaints`.

    A command is made of wrong values too, so that a half-filled form shows one.
    """
    complaints: list[str] = []
    notes: list[str] = []
    raw = with_extra(values, complaints, notes)
    name = model_name or _guess(raw, site.workspace)
    raw = typed(_named(raw, name, run_name, site.workspace, complaints), arguments_of_all())
    recipe: Recipe | None = None
    try:
        recipe, told = make_recipe(raw)
        notes += told
    except ArgumentError as error:
        complaints += [line for complaint in error.complaints for line in complaint.split("\n")]
    complaints += beyond(site, raw, recipe)
    words = ["train", *(to_argv(recipe) if recipe is not None else _words({"stage": "sft", **raw}))]
    return Composed(
        argv=words,
        shell=shell_line(words, devices, site.workspace),
        lines=_lines(words, devices, site.workspace),
        yaml=to_yaml(recipe) if recipe is not None else "",
        python=_python(words, devices, site.workspace),
        output_dir=str(raw.get("output_dir", "")),
        model_name=name,
        complaints=complaints,
        notes=[*notes, *_standing(site.workspace, recipe, complaints)],
        by_field=by_field(complaints),
        recipe=recipe if not complaints else None,
    )


def with_extra(values: Mapping[str, Any], complaints: list[str], notes: list[str]) -> dict[str, Any]:
    """The form's values with those of its box of further arguments; what is wrong with these is told."""
    raw = {name: value for name, value in values.items() if name != EXTRA}
    text = values.get(EXTRA)
    if text in (None, "", {}):
        return raw
    try:
        extra = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError) as error:
        complaints.append(f'--{EXTRA}: must be a JSON object such as {{"weight_decay": 0.01}}; {error}.')
        return raw
    if not isinstance(extra, dict):
        complaints.append(
            f'--{EXTRA}: must be a JSON object such as {{"weight_decay": 0.01}}; it holds something else.'
        )
        return raw
    known = arguments_of_all()
    for name, value in extra.items():
        if name in raw:
            complaints.append(f"--{shown(name)}: stands in the form and in the further arguments. Keep one.")
        elif value is None and not (name in known and known[name].optional):
            notes.append(f"--{shown(name)} null in the further arguments: it stays as it is by itself.")
        else:
            raw[name] = value
    return raw


def _guess(raw: Mapping[str, Any], place: Workspace) -> str:
    path = raw.get("model_name_or_path")
    return (model_name_of(path, place) if isinstance(path, str) else "") or "model"


def _named(
    raw: Mapping[str, Any], model_name: str, run_name: str, place: Workspace, complaints: list[str]
) -> dict[str, Any]:
    """The values with the run's folder in them, and with bare names as paths."""
    method = raw.get("finetuning_type", "lora")
    try:
        given = dict(raw) if raw.get("output_dir") or not run_name else {**raw, "output_dir": run_name}
        return made_whole(given, model_name, method if isinstance(method, str) else "lora", place)
    except StudioError as error:
        complaints.append(f"--output_dir: {error}")
        return {**raw, "output_dir": f"saves/{model_name}/{method}/{run_name}"}


def beyond(site: Site, raw: Mapping[str, Any], recipe: Recipe | None) -> list[str]:
    """What the page refuses beyond what a command would: foreign code, paths outside, datasets that are not there."""
    # What was read counts, not how it was written: there are many ways to say True, and other names of arguments.
    raw = {**raw, **(recipe.changes() if recipe is not None else {})}
    complaints = code_complaints(site, raw)
    for name in _PATHS:
        value = raw.get(name)
        value = list(value.values()) if isinstance(value, dict) else value
        for path in value if isinstance(value, list | tuple) else [value]:
            if isinstance(path, str) and path and _is_path(name, path):
                complaints += _outside(name, path, site.workspace)
    return complaints + _misaddressed(raw) + _unrewarded(raw) + _datasets(site.workspace, raw)


def _misaddressed(raw: Mapping[str, Any]) -> list[str]:
    """What is wrong with a service's address; a password in it must not come as far as a job's command."""
    address = str(raw.get("reward_model") or "")
    told = url_complaint(address) if "://" in address else ""
    return [told] if told else []


def _unrewarded(raw: Mapping[str, Any]) -> list[str]:
    """That a stage which learns from rewards is given none; what is wrong with one that is given, its check says."""
    stage = str(raw.get("stage", "sft"))
    needs = stage in STAGES and "reward_model" in STAGES[stage].fields.model_fields
    if not needs or raw.get("reward_model") or raw.get("reward_function"):
        return []
    return [f"--reward_model: stage {stage} learns from rewards. Choose a reward model, or write a service's address."]


def refuse_words(site: Site, words: Sequence[str]) -> None:
    """Hold a training command that was found in a record against what the page refuses. Raises ArgumentError."""
    raw, recipe = read_raw(words, arguments_of_all(), site.workspace.root), None
    # One that cannot be read the command itself refuses.
    with contextlib.suppress(ArgumentError):
        recipe, _ = make_recipe(raw)
    if complaints := beyond(site, raw, recipe):
        raise ArgumentError(complaints)


def _is_path(name: str, value: str) -> bool:
    """Whether a value names something on this machine, not a template by its name or a service by its address."""
    if name == "template":
        return "/" in value or value.endswith(".jinja")
    return name != "reward_model" or not value.lower().startswith(("http://", "https://"))


def _outside(name: str, path: str, place: Workspace) -> list[str]:
    if name == "reward_function":
        path = path.rpartition(":")[0] or path
    try:
        found = place.target(path) if name == "output_dir" else place.path(path)
    except StudioError as error:
        return [f"--{name} {shown(path)}: {error}"]
    inside = path.startswith(("models/", "saves/"))
    if inside and name in _FOLDERS and not found.is_dir():
        return [f"--{name} {shown(path)}: there is no such folder. Choose one of those offered, or correct the path."]
    return []


def _datasets(place: Workspace, raw: Mapping[str, Any]) -> list[str]:
    """The complaint of each dataset that is not registered, is broken, or does not fit the stage."""
    asked = {name: _list(raw.get(name)) for name in ("dataset", "eval_dataset")}
    if not any(asked.values()):
        return []
    folder, stage = raw.get("dataset_dir", "data"), str(raw.get("stage", "sft"))
    try:
        catalog = read_catalog(place, folder if isinstance(folder, str) and folder else "data")
    except StudioError as error:
        return [f"--dataset: {error}"]
    complaints = []
    for argument, names in asked.items():
        for name in names:
            try:
                kind = kind_of(catalog[name])
                why = why_not(kind, STAGES[stage].wants, stage) if stage in STAGES else ""
            except DatasetError as error:
                why = str(error)
            if why:
                complaints.append(f"--{argument} {shown(name)}: {why}")
    return complaints


def _list(value: Any) -> list[str]:
    if isinstance(value, str):
        value = value.split(",")
    return [str(part).strip() for part in value if str(part).strip()] if isinstance(value, list | tuple) else []


def _standing(place: Workspace, recipe: Recipe | None, complaints: list[str]) -> list[str]:
    """What is said of a run folder that is there already; a folder that cannot be used is a complaint."""
    if recipe is None or not recipe.training.output_dir:
        return []
    try:
        folder = place.path(recipe.training.output_dir)
        if not folder.is_dir():
            return []
        record = inspect(recipe, folder, place)
    except StudioError as error:
        complaints.append(f"--output_dir: {error}")
        return []
    if record is None:
        return []
    return [f"{place.shown(folder)} holds this run, not finished: starting goes on from its newest good checkpoint."]


def by_field(complaints: Sequence[str]) -> dict[str, str]:
    """The first complaint about each argument that one names."""
    found: dict[str, str] = {}
    for complaint in complaints:
        # What is wrong stands before the colon; behind it may stand what to write instead.
        head, colon, _ = complaint.partition(": ")
        for name in re.findall(r"--(\w+)", head if colon else complaint)[: None if colon else 1]:
            found.setdefault(name, complaint)
    return found


def _words(raw: Mapping[str, Any]) -> list[str]:
    """Values that are not right yet, as a command would say them."""
    order = {name: place for place, name in enumerate(arguments_of_all(), 1)} | {"stage": 0}
    words = []
    for name in sorted(raw, key=lambda name: order.get(name, len(order) + 1)):
        value = raw[name]
        if isinstance(value, Unreadable):
            continue
        text = to_text(list(map(str, value)) if isinstance(value, list | tuple) else value)
        words += [f"--{name}={text}"] if text == "" or text.startswith("-") else [f"--{name}", text]
    return words


def _pairs(words: Sequence[str]) -> list[list[str]]:
    """Each flag with what follows it."""
    pairs: list[list[str]] = []
    for word in words:
        if word.startswith("--") or not pairs:
            pairs.append([])
        pairs[-1].append(word)
    return pairs


def _lines(words: Sequence[str], devices: Sequence[str], place: Workspace) -> list[str]:
    return [shell_line(words[:1], devices, place), *map(shlex.join, _pairs(words[1:]))]


def _python(words: Sequence[str], devices: Sequence[str], place: Workspace) -> str:
    """A script that does the same."""
    settings = device_settings(devices) | {"STUDIO_WORKSPACE": str(place.root)}
    lines = "".join(f"    {', '.join(map(repr, pair))},\n" for pair in _pairs(words[1:]))
    return (
        "import os\nimport subprocess\nimport sys\n\n"
        f"arguments = [\n{lines}]\n"
        f"settings = {settings!r}\n"
        f'subprocess.run([sys.executable, "-m", "studio", {words[0]!r}, *arguments], '
        "env={**os.environ, **settings}, check=True)\n"
    )
