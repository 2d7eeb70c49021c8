"""The README.md of an export: what it is made of, how it was made, how it is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studio.model.classifier import is_reward_model
from studio.model.report import Report

RUN = "run.json"
# What of a run's recipe a reader of the card wants to know, by flat name.
TOLD = (
    "stage", "finetuning_type", "dataset", "train_file", "mix_strategy", "interleave_probs", "sample_policy_file",
    "template", "cutoff_len", "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size",
    "gradient_accumulation_steps", "lora_rank", "lora_alpha",
    "quantization_bit", "quantization_type", "optim", "seed",
)  # fmt: skip


def model_card(report: Report) -> str:
    """The card as Markdown, with the front matter that the hub reads."""
    name = report.target.name
    parts = [_front(report), f"# {name}", "", _origin(report), ""]
    for run in report.adapters or (report.base,):
        parts += _lineage(run)
    parts += ["## Weights", "", report.sentence, "", *_notes(report.notes)]
    parts += _loading(name, scores=_scores(report))
    return "\n".join(parts)


def _scores(report: Report) -> bool:
    return any(map(is_reward_model, (report.base, *report.adapters)))


def run_card(record: Mapping[str, Any], method: str) -> str:
    """The card of a run's own folder, from its run.json."""
    settings, base = _flat(record["recipe"]), str(record.get("parents", ["its base"])[0])
    rows = [f"| {key} | {_cell(settings[key])} |" for key in TOLD if settings.get(key)]
    measured = {k: v for k, v in record.get("results", {}).items() if not isinstance(v, list | dict)}
    results = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in measured.items()}
    numbers = [f"| {key} | {_cell(value)} |" for key, value in results.items()]
    library = "peft" if method == "lora" else "transformers"
    front = [
        "---",
        f"library_name: {library}",
        f"base_model: {json.dumps(Path(base).name)}",
        "tags:",
        "- studio",
        "---",
    ]
    what = "An adapter for" if method == "lora" else "Trained from"
    told = f"{what} `{base}`. {_held(record.get('quantization'))}The whole record is in `{RUN}`."
    parts = [*front, "", told, "", "## Training", ""]
    parts += [
        "| setting | value |",
        "| --- | --- |",
        *rows,
        "",
        "## Numbers",
        "",
        "| name | value |",
        "| --- | --- |",
    ]
    return "\n".join([*parts, *numbers, "", "```sh", str(record["command"]), "```", ""])


def _held(rounding: Mapping[str, Any] | None) -> str:
    if not rounding:
        return ""
    return (
        f"It learned while the linear layers of its base were held in {rounding['bits']} bits ({rounding['numbers']}); "
        "`studio export` merges it into the weights in full precision. "
    )


def _front(report: Report) -> str:
    use = "text-classification" if _scores(report) else "text-generation"
    lines = ["---", "library_name: transformers", f"pipeline_tag: {use}"]
    # JSON text is YAML text, whatever a folder may be called.
    lines += [f"base_model: {json.dumps(report.base.name)}", "tags:", "- studio", "---", ""]
    return "\n".join(lines)


def _origin(report: Report) -> str:
    if not report.adapters:
        return f"Written as {report.dtype} from `{report.base.name}`, without an adapter."
    told = ", then ".join(f"`{adapter.name}`" for adapter in report.adapters)
    base = f"`{report.base.name}`"
    return f"{base} with {told} merged into its weights in float32 and cast once to {report.dtype}."


def _lineage(run: Path) -> list[str]:
    """How a run was trained, from its run.json; nothing when it has none."""
    path = run / RUN
    if not path.is_file():
        return []
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return [f"The record of `{run.name}` (`{RUN}`) cannot be read.", ""]
    settings = _flat(record.get("recipe", record) if isinstance(record, dict) else {})
    rows = [f"| {key} | {_cell(settings[key])} |" for key in TOLD if settings.get(key) not in (None, "", [], {})]
    if not rows:
        return []
    return [f"## Training of `{run.name}`", "", "| setting | value |", "| --- | --- |", *rows, ""]


def _flat(value: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by flat name, whether they lie in groups or not."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat.update(_flat(inner) if isinstance(inner, dict) else {key: inner})
    return flat


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _notes(notes: Sequence[str]) -> list[str]:
    return [*(f"- {note}" for note in notes), ""] if notes else []


def _loading(name: str, *, scores: bool) -> list[str]:
    kind = "AutoModelForSequenceClassification" if scores else "AutoModelForCausalLM"
    ollama = [] if scores else ["With Ollama: `ollama create NAME -f Modelfile` in this folder."]
    return [
        "## Loading",
        "",
        "```python",
        f"from transformers import {kind}, AutoTokenizer",
        "",
        f"model = {kind}.from_pretrained({name!r}, dtype='auto')",
        f"tokenizer = AutoTokenizer.from_pretrained({name!r})",
        "```",
        "",
        *ollama,
        "What was changed in which weight stands in `export.json`, and the checksums of all files in `manifest.json`.",
        "",
    ]
