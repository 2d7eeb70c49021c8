"""What a mix means for a training (`studio data mix`): a table, and the file that the training command reads."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from studio.data.mix import expected_rows, shares
from studio.data.policy import Policy
from studio.data.weighing import Lens, Weight, free_file, sources, weigh
from studio.errors import DatasetError
from studio.model.staging import aside
from studio.workspace import Workspace, write_text

if TYPE_CHECKING:
    from studio.works.base import Ear
    from studio.works.mix import MixCount, MixSet

# p ~ n^(1/T): multilingual BERT and XLM-R (arXiv 1911.02116, alpha = 1/T = 0.3) sample languages so, T5 its tasks with
# T = 2 (arXiv 1910.10683), mT5 its languages with alpha 0.3 (arXiv 2010.11934). Infinity: all the same.
TEMPERATURES = (1.0, 2.0, 5.0, math.inf)


def run(asked: MixSet, place: Workspace, ear: Ear) -> dict[str, Any]:
    """Weigh the sources, tell what the mix makes of them, and write `mix_file` where one is named.

    {"sources": [{"name", "bytes", "rows", "tokens" (null without a model), "tokens_low", "tokens_high",
    "sampled_rows", "refused" (rows of the sample that cannot be read), "share_bytes", "share_rows", "share_tokens"
    (in size), "probability" (that the next row comes from it), "seen_rows", "seen_tokens", "share_seen_rows",
    "share_seen_tokens" (in the amount asked for), "epochs" (times over it in that amount)}],
    "epoch": {"rows", "tokens"} of one pass of the mix, "epochs": how many of these the amount is,
    "total": {"bytes", "rows", "tokens", "seen_rows", "seen_tokens"}, "strategy", "probabilities": as text for the
    command, "presets": [{"temperature" (null for uniform), "probabilities"}], "file": path or "", "content": of it,
    "command": words to train with, "notes": [sentences]}.

    Raises DatasetError, ModelError.
    """
    path = free_file(asked, place)
    entries, policy = sources(asked, place)
    lens, notes = _lens(asked.count, place) if asked.count.model_name_or_path else (None, [])
    weights = []
    for at, entry in enumerate(entries):
        weights.append(weigh(entry, asked.count, lens, place, lambda share, at=at, name=entry.name:  # type: ignore[misc]
                             ear.tell(at + share, len(entries), f"weighing {name}")))  # fmt: skip
        if not weights[-1].rows:
            raise DatasetError(f"dataset {entry.name!r} has no row to mix in. Leave it out.")
    ear.tell(len(entries), len(entries), "weighed")
    probabilities = _probabilities(asked, weights)
    epoch = _epoch(asked, policy, weights, probabilities)
    found = _table(asked, weights, epoch)
    text, words = _file(asked, policy, weights, probabilities, found)
    if path is not None:
        if path.exists():
            path.rename(aside(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
        words = ["--sample_policy_file", asked.output.mix_file] if _is_policy(asked) else [asked.output.mix_file]
    notes += [f"{weight.name}: {weight.refused:,} of {weight.sampled_rows:,} rows cannot be read"
              for weight in weights if weight.refused]  # fmt: skip
    return {
        **found,
        "strategy": "policy" if policy else asked.shares.mix_strategy,
        "probabilities": _written(probabilities) if probabilities else [],
        "presets": [_preset(asked, weights, each) for each in TEMPERATURES],
        "file": place.shown(path) if path else "",
        "content": text,
        "command": shlex.join(["studio", "train", *words]),
        "notes": notes,
    }  # fmt: skip


def _lens(count: MixCount, place: Workspace) -> tuple[Lens, list[str]]:
    from studio.data.render import View
    from studio.model.find import find_model
    from studio.model.templates import choose_template
    from studio.model.tokenizer import open_tokenizer

    tokenizer = open_tokenizer(find_model(count.model_name_or_path, place), place.cache)
    template, notes = choose_template(count.template, tokenizer, place)
    view = View(count.cutoff_len, wants="documents" if count.stage == "pt" else "answers")
    return Lens(tokenizer, template, view), notes if count.stage == "sft" else []


def _sizes(asked: MixSet, weights: Sequence[Weight]) -> list[float]:
    """What the temperature is taken of."""
    return [float(getattr(weight, asked.shares.mix_by) or 0) for weight in weights]


def _preset(asked: MixSet, weights: Sequence[Weight], temperature: float) -> dict[str, Any]:
    known = None if math.isinf(temperature) else temperature
    return {"temperature": known, "probabilities": _tempered(asked, weights, temperature)}


def _tempered(asked: MixSet, weights: Sequence[Weight], temperature: float) -> list[float]:
    """Shares of sizes to the power of 1/T, as a command says them."""
    return [float(each) for each in _written(shares([size ** (1 / temperature) for size in _sizes(asked, weights)]))]


def _written(probabilities: Sequence[float]) -> list[str]:
    """Probabilities with six digits."""
    return [f"{each:.6g}" for each in probabilities]


def _probabilities(asked: MixSet, weights: Sequence[Weight]) -> list[float] | None:
    """How likely the next row comes from each source; None where they take turns or are not drawn."""
    given, temperature = asked.shares.interleave_probs, asked.shares.mix_temperature
    if temperature:
        return shares(_tempered(asked, weights, math.inf if temperature == "uniform" else float(temperature)))
    return shares([float(each) for each in given]) if given else None


def _epoch(
    asked: MixSet, policy: Policy | None, weights: Sequence[Weight], probabilities: list[float] | None
) -> list[float]:
    """The rows of each source in one pass of the mix, about; exact where nothing is drawn."""
    rows = [weight.rows for weight in weights]
    if policy is not None:
        passes = policy.passes([weight.bytes for weight in weights])
        return [count * times for count, times in zip(rows, passes, strict=True)]
    strategy = asked.shares.mix_strategy
    if strategy in ("concat", "interleave_once"):
        return [float(count) for count in rows]
    drawn = probabilities or [1 / len(rows)] * len(rows)
    length = expected_rows(rows, probabilities, strategy)
    return [length * share for share in drawn]


def _table(asked: MixSet, weights: Sequence[Weight], epoch: Sequence[float]) -> dict[str, Any]:
    """Every source with its shares in size and in sampling, for the amount that is asked."""
    each_tokens = [(weight.tokens or 0) / weight.rows for weight in weights]
    pass_rows = sum(epoch)
    pass_tokens = sum(rows * tokens for rows, tokens in zip(epoch, each_tokens, strict=True))
    amount = asked.amount
    times = amount.num_train_epochs
    if amount.total_rows:
        times = amount.total_rows / pass_rows
    if amount.max_steps:
        times = amount.max_steps * amount.rows_per_step / pass_rows
    if amount.total_tokens:
        times = amount.total_tokens / max(pass_tokens, 1)
    counted = all(weight.tokens is not None for weight in weights)
    size = {name: sum(getattr(weight, name) or 0 for weight in weights) for name in ("bytes", "rows", "tokens")}
    lines = []
    for weight, rows, tokens in zip(weights, epoch, each_tokens, strict=True):
        lines.append({
            **asdict(weight),
            "share_bytes": weight.bytes / max(size["bytes"], 1),
            "share_rows": weight.rows / size["rows"],
            "share_tokens": (weight.tokens or 0) / max(size["tokens"], 1) if counted else None,
            "probability": rows / pass_rows,
            "seen_rows": round(rows * times),
            "seen_tokens": round(rows * times * tokens) if counted else None,
            "share_seen_rows": rows / pass_rows,
            "share_seen_tokens": rows * tokens / max(pass_tokens, 1) if counted else None,
            "epochs": rows * times / weight.rows,
        })  # fmt: skip
    return {
        "sources": lines,
        "epoch": {"rows": round(pass_rows), "tokens": round(pass_tokens) if counted else None},
        "epochs": times,
        "total": {
            "bytes": size["bytes"], "rows": size["rows"], "tokens": size["tokens"] if counted else None,
            "seen_rows": round(pass_rows * times), "seen_tokens": round(pass_tokens * times) if counted else None,
        },
    }  # fmt: skip


def _is_policy(asked: MixSet) -> bool:
    return asked.output.mix_file.lower().endswith(".json")


def _file(
    asked: MixSet, policy: Policy | None, weights: Sequence[Weight], probabilities: list[float] | None,
    found: dict[str, Any],
) -> tuple[str, list[str]]:  # fmt: skip
    """The content of the file, and the words that say the same to the training command."""
    source, strategy = asked.source, asked.shares.mix_strategy
    if _is_policy(asked):
        total = found["total"]["bytes"]
        names = policy.shares if policy else [*source.dataset, *source.train_file]
        rows = [line["share_seen_rows"] * found["epoch"]["rows"] for line in found["sources"]]
        parts = [each * weight.bytes / weight.rows / total for each, weight in zip(rows, weights, strict=True)]
        text = json.dumps({name: float(f"{part:.6g}") for name, part in zip(names, parts, strict=True)},
                          ensure_ascii=False, indent=1) + "\n"  # fmt: skip
        return text, ["--sample_policy_file", "…"]
    values: dict[str, Any] = {
        **({"dataset": ",".join(source.dataset)} if source.dataset else {}),
        **({"train_file": ",".join(source.train_file)} if source.train_file else {}),
        **({"dataset_dir": source.dataset_dir} if source.dataset_dir != "data" else {}),
        **({"mix_strategy": strategy} if strategy != "concat" else {}),
        **({"interleave_probs": ",".join(_written(probabilities))} if probabilities else {}),
    }
    if policy is not None:
        values = {"sample_policy_file": asked.shares.sample_policy_file}
    text = "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())
    return text, [word for name, value in values.items() for word in (f"--{name}", value)]


def as_text(found: dict[str, Any]) -> str:
    """The table for a terminal, and the command."""
    counted = found["total"]["tokens"] is not None
    said = [
        f"{'source':<24}{'MB':>10}{'rows':>12}{'tokens':>16}{'in size':>9}{'sampled':>9}{'seen rows':>13}{'epochs':>8}"
    ]
    for line in found["sources"]:
        tokens = "–"
        if counted:
            away = (line["tokens_high"] - line["tokens_low"]) / 2
            tokens = f"{line['tokens']:,.0f}" + (f" ±{away / max(line['tokens'], 1):.1%}" if away else "")
        said.append(f"{line['name'][-24:]:<24}{line['bytes'] / 1e6:>10,.1f}{line['rows']:>12,}{tokens:>16}"
                    f"{line['share_rows']:>9.1%}{line['probability']:>9.1%}{line['seen_rows']:>13,}"
                    f"{line['epochs']:>8.2f}")  # fmt: skip
    total = found["total"]
    tokens = f", {total['seen_tokens']:,} tokens" if counted else ""
    said.append(f"{found['epochs']:.4g} times one epoch of the mix: {total['seen_rows']:,} rows{tokens}")
    for preset in found["presets"]:
        name = "uniform" if preset["temperature"] is None else f"T = {preset['temperature']:g}"
        said.append(f"  {name:<9}" + ", ".join(f"{each:.4g}" for each in preset["probabilities"]))
    said += found["notes"]
    if found["file"]:
        said.append(f"{found['file']} is written")
    return "\n".join([*said, f"{found['command']} --model_name_or_path … --output_dir …"])
