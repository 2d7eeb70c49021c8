"""studio train: read the recipe, then plan it or run it."""

from __future__ import annotations

import json
import os
import sys

from studio.command import help_text, read_recipe, to_argv
from studio.errors import StudioError
from studio.jobs import launch
from studio.jobs.signals import StopFlag
from studio.loop.zero import read_zero
from studio.recipe import arguments_of
from studio.workspace import Workspace

HEAD = """usage: studio train [FILE.yaml|FILE.json] [key=value …] [--flag value …]

  studio train --model_name_or_path models/X --dataset identity --output_dir saves/X/lora/first
  studio train run.yaml learning_rate=1e-5

  --plan        check everything and show what the run would cost, without starting
  --json        with --plan: as JSON
  --help WORD   only arguments that mention WORD; --help all adds those of transformers

The same command again goes on with an unfinished run."""


def run(words: list[str], workspace: str) -> int:
    """Exit code of the verb."""
    if "--help" in words or "-h" in words:
        rest = [word for word in words if not word.startswith("-")]
        page = help_text("train", arguments_of("sft").values(), rest[0] if rest else "")
        print(f"{HEAD}\n{page}")
        return 0
    plans, as_json = "--plan" in words, "--json" in words
    words = [word for word in words if word not in ("--plan", "--json")]
    place = Workspace.find(workspace)
    recipe, notes = read_recipe(words, place.root)
    if plans:
        return _plan(recipe, place, notes, as_json)
    count = launch.processes(os.environ, use_cpu=recipe.training.use_cpu)
    launch.check_launcher(os.environ)
    zero = read_zero(recipe, place)
    if (count > 1 or (zero and zero.stage)) and not launch.is_worker(os.environ):
        return launch.run_all(count, ["train", "--workspace", str(place.root), *to_argv(recipe)])
    stop = StopFlag()
    stop.install()  # loading the libraries below takes seconds, and a stop in them is no crash
    from studio.model.hardware import before_torch

    threads = before_torch(os.environ)
    from studio.train import train

    try:
        train(recipe, place, threads, notes, stop)
    except StudioError as error:
        launch.leave_word(error)
        raise
    return 0


def _plan(recipe: object, place: Workspace, notes: list[str], as_json: bool) -> int:
    from studio.model.hardware import before_torch
    from studio.recipe import Recipe

    assert isinstance(recipe, Recipe)
    before_torch(os.environ)
    from studio.train import plan

    def say(sentence: str) -> None:
        sys.stderr.write(sentence + "\n")

    for note in notes:
        say(note)
    try:
        ready, material = plan(recipe, place, say)
    except StudioError as error:
        if as_json:
            print(json.dumps({"ok": False, "complaints": str(error).splitlines()}, ensure_ascii=False, indent=2))
        raise
    if as_json:
        print(json.dumps(ready.as_json(material), ensure_ascii=False, indent=2))
    else:
        print("\n".join(ready.sentences()))
    for complaint in ready.complaints:
        sys.stderr.write(complaint + "\n")
    return 10 if ready.complaints else 0
