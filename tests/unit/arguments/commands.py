"""Small whole commands: what a test asks, and the needed names that nothing asked stands for."""

import pytest

from studio.arguments.aliases import aliases
from studio.command import read_recipe
from studio.errors import ArgumentError
from studio.recipe import Recipe

BASE = {"model_name_or_path": "m", "dataset": "d", "output_dir": "o"}


def command(asked: dict[str, str]) -> list[str]:
    """Words of a command: what is asked, and the needed names that nothing asked stands for."""
    ours = {aliases()[name].ours if name in aliases() else name for name in asked}
    whole = {name: value for name, value in BASE.items() if name not in ours} | asked
    return [f"--{name}={value}" for name, value in whole.items()]


def read(**asked: str) -> Recipe:
    return read_recipe(command(asked))[0]


def complaints(**asked: str) -> list[str]:
    with pytest.raises(ArgumentError) as caught:
        read_recipe(command(asked))
    return caught.value.complaints
