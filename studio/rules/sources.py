"""What must hold where rows of several datasets are mixed."""

from __future__ import annotations

import math

from studio.recipe import Recipe, rule


@rule("interleave_probs", "mix_strategy", "dataset", "train_file", "sample_policy_file")
def _probabilities_fit(recipe: Recipe) -> str | None:
    data = recipe.data
    given = data.interleave_probs
    if not given or data.sample_policy_file:
        return None
    said = f"--interleave_probs {','.join(given)}: "
    if wrong := [each for each in given if not _is_probability(each)]:
        return (
            f"{said}must be numbers above 0 with commas between, such as 0.7,0.3; {wrong[0]!r} is none. Leave out a "
            "dataset that shall not be seen."
        )
    if data.mix_strategy == "concat":
        return (
            f"{said}needs --mix_strategy interleave_under (an epoch ends with the first dataset), interleave_over "
            "(with the last one; short ones repeat) or interleave_once; it is concat, which takes every row once."
        )
    count = len(data.dataset) + len(data.train_file)
    if len(given) != count:
        return (
            f"{said}must be as many as there are datasets and files to train on; they are {len(given)} for {count}. "
            "Write one for each, in the same order."
        )
    return None


def _is_probability(text: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isfinite(value) and value > 0


@rule("sample_policy_file", "dataset", "train_file", "mix_strategy", "interleave_probs", "max_samples")
def _a_policy_says_it_all(recipe: Recipe) -> str | None:
    data = recipe.data
    if not data.sample_policy_file:
        return None
    beside = {
        "--dataset": data.dataset,
        "--train_file": data.train_file,
        "--interleave_probs": data.interleave_probs,
        f"--mix_strategy {data.mix_strategy}": data.mix_strategy != "concat",
        "--max_samples": data.max_samples is not None,
    }
    if told := [name for name, asked in beside.items() if asked]:
        return (
            f"--sample_policy_file {data.sample_policy_file}: names the sources and how much of each is seen, so "
            f"{' and '.join(told)} beside it would be unclear. Leave one of them out."
        )
    return None
