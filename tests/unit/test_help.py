"""The help page: every argument in its group, narrowed by a word, and a sentence for an unknown one."""

import re

import pytest

from studio.arguments.base import Argument
from studio.command import help_text
from studio.errors import UsageError
from studio.recipe import arguments_of


def sft() -> list[Argument]:
    return list(arguments_of("sft").values())


def test_help_shows_every_argument_but_upstreams_in_groups() -> None:
    page = help_text("train", sft())
    assert [line for line in page.splitlines() if line and not line.startswith((" ", "*"))] == [
        "model:",
        "template:",
        "data:",
        "method:",
        "training:",
        "stage sft: Supervised Fine-Tuning:",
    ]
    assert "* --learning_rate [5e-05]\n      Highest learning rate" in page
    assert "  --lora_dropout [0]" in page
    assert "--adam_beta1" not in page


def test_help_all_adds_those_of_upstream() -> None:
    page = help_text("train", sft(), "all")
    assert "of transformers.TrainingArguments:" in page
    assert [a.name for a in sft() if f"--{a.name}" not in page] == []


@pytest.mark.parametrize("word", ["lora", "LoRA", "--lora_rank"])
def test_help_about_a_word_shows_what_mentions_it(word: str) -> None:
    page = help_text("train", sft(), word)
    assert "--lora_rank" in page
    assert "--cutoff_len" not in page


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("learning_rte", "no argument of studio train mentions 'learning_rte'. Did you mean learning_rate?"),
        ("use_unsloth", "--use_unsloth: not supported: it is another training engine"),
        ("zebra", "no argument of studio train mentions 'zebra'."),
    ],
)
def test_help_about_an_unknown_word_is_a_sentence(word: str, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        help_text("train", sft(), word)
