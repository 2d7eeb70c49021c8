"""Random recipes, generated from the declarations themselves: any stage, any argument, odd texts."""

import re
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from studio.arguments.base import Argument
from studio.arguments.check import fill
from studio.arguments.method import MethodArguments
from studio.arguments.upstream import upstream_fields
from studio.errors import ArgumentError
from studio.recipe import STAGES, Recipe, arguments_of, make_recipe, recipe_groups

ODD_TEXTS = [
    "", " ", "-", "--", "---", "-x", "--bf16", "--bf16=True", "=", "a=b", "a,b", "null", "None", "~", "none", "true",
    "False", "no", "yes", "on", "1e-4", "010", "1_000", "12:30", "0x1F", "2024-01-01", ".5", "nan", ".inf", "'", '"',
    "it's", 'say "hi"', "a\nb", "\n", "tab\there", "  outer  ", "#", "a #b", "a: b", "- a", "{", "{}", "[1]", "!!str x",
    "&a", "*a", "%", "@x", "`x`", "$HOME", "$(id)", "\\", "\\n", "|", ">", "<<", "?", "\x85", "\u2028", "\u2029",
    "\ufeff", "\ufeffx", "x\ufeff", "\xa0", "\x80", "\u200b", "中文 路径", "ünï", "🙂", "e\u0301", "\ufffe", "a" * 300,
    "run.yaml", "x.json", "--stage",
]  # fmt: skip
CONTROLS = "".join(map(chr, [*range(9), *range(11, 32), 127]))
texts = st.sampled_from(ODD_TEXTS) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=CONTROLS), max_size=20
)
words = texts.map(lambda text: text.replace(",", "").strip()).filter(bool)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
plain = st.none() | st.booleans() | numbers | texts
objects = st.dictionaries(
    texts,
    st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)),
    max_size=3,
)


WORDS = {
    "stage": list(STAGES),
    "optim": upstream_fields()["optim"]["choices"],
    "lr_scheduler_type": upstream_fields()["lr_scheduler_type"]["choices"],
    "trainable_token_indices": [(), ("new",), ("7", "20-30")],
    "interleave_probs": [(), ("0.7", "0.3"), ("0.5", "0.5")],
    "metric_for_best_model": ["", "loss", "eval_loss", "accuracy", "perplexity", "bits_per_character"],
}

# Arguments that make sense together only, each group with what it needs.
TOGETHER: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"val_size": 0.1, "eval_strategy": "steps", "eval_steps": 5.0, "save_steps": 10.0},
        ["do_eval", "load_best_model_at_end", "metric_for_best_model", "lr_scheduler_type", "do_train", "eval_delay"],
    ),
    (
        {"eval_dataset": "e", "eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True},
        ["early_stopping_steps", "metric_for_best_model", "eval_on_start", "lr_scheduler_type"],
    ),
    (
        {"dataloader_num_workers": 2},
        ["dataloader_prefetch_factor", "dataloader_persistent_workers", "dataloader_multiprocessing_context"],
    ),
    ({"optim": "galore_adamw"}, ["optim_target_modules", "optim_args"]),
    ({"finetuning_type": "freeze"}, [name for name in MethodArguments.model_fields if name.startswith("freeze")]),
    ({"finetuning_type": "full"}, []),
    (
        {"train_file": ("a.csv",), "validation_file": ("b.csv",), "eval_strategy": "steps"},
        ["max_eval_samples", "eval_dataset", "dataset", "do_eval"],
    ),
    ({"quantization_bit": 4}, ["quantization_method", "quantization_type", "double_quantization", "lora_rank"]),
    ({"quantization_bit": 8}, ["quantization_method", "optim"]),
    ({"finetuning_type": "lora"}, [name for name in MethodArguments.model_fields if "lora" in name]),
]


def values(argument: Argument) -> st.SearchStrategy[Any]:
    """Every value that the declaration of an argument allows."""
    if argument.name in WORDS:
        return st.sampled_from(WORDS[argument.name])
    if argument.choices:
        made: st.SearchStrategy[Any] = st.sampled_from(argument.choices)
    else:
        made = st.one_of([_of_kind(argument, kind) for kind in argument.kinds])
    return made | st.none() if argument.optional else made


def _of_kind(argument: Argument, kind: type) -> st.SearchStrategy[Any]:
    bounds = {name: limit for rule in argument.info.metadata for name, limit in _limits(rule)}
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(-(2**63) if low is None else int(low), 2**63 if high is None else int(high))
    if kind is float:
        number = st.floats(
            low, high, exclude_min="gt" in bounds, exclude_max="lt" in bounds, allow_nan=False, allow_infinity=False
        )
        # Steps above 1 must be whole, and whole numbers are what people write.
        whole = st.integers(max(1, int(low or 0)), 10_000).map(float)
        return number | whole if high is None else number
    if kind is tuple:
        return st.lists(words, max_size=3).map(tuple)
    return objects if kind is dict else texts


def _limits(rule: Any) -> list[tuple[str, float]]:
    return [(name, getattr(rule, name)) for name in ("ge", "gt", "le", "lt") if hasattr(rule, name)]


def _may_stand(argument: Argument, method: str) -> bool:
    return argument.name != "finetuning_type" and (not argument.methods or method in argument.methods)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """A checked recipe; what breaks a rule across arguments is taken out, what fits no type is a failure."""
    stage = draw(st.sampled_from(list(STAGES)))
    known = arguments_of(stage)
    fixed, beside = draw(st.sampled_from(TOGETHER))
    free = sorted(name for name in known if _may_stand(known[name], fixed.get("finetuning_type", "lora")))
    chosen = draw(st.lists(st.sampled_from([*free, *beside]), unique=True, max_size=15))
    raw = fixed | {name: draw(values(known[name])) for name in chosen if name not in fixed}
    needed = {"stage": stage, "model_name_or_path": "models/x", "dataset": ("a", "b"), "output_dir": "saves/x"}
    if raw.get("train_file"):
        del needed["dataset"]
    raw |= {name: raw.get(name) or value for name, value in needed.items()} | {"stage": stage}
    # No single value that a declaration allows may be refused by it.
    assert fill(recipe_groups(stage), raw).complaints == []
    for _ in range(6):
        try:
            return make_recipe(raw)[0]
        except ArgumentError as error:
            broken = {name for text in error.complaints for name in re.findall(r"--(\w+)", text)} & set(raw)
            raw = {name: value for name, value in raw.items() if name not in broken or name in needed}
    assume(False)
    raise AssertionError
