"""studio api: answer any OpenAI client with a model."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from studio.arguments.check import arguments_in
from studio.arguments.serve import ServeArguments
from studio.command import help_text, read_set
from studio.errors import ArgumentError
from studio.model.classifier import is_reward_model
from studio.recipe import ApiSet, groups_of
from studio.verbs.export import find_parts
from studio.workspace import Workspace, write_json

if TYPE_CHECKING:
    from fastapi import FastAPI

    from studio.serve.guard import Guard
    from studio.serve.opening import Parts
    from studio.serve.server import Ends

HEAD = """usage: studio api [FILE.yaml] --model_name_or_path DIR [--port 8000]

  studio api --model_name_or_path saves/X/lora/first
  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"model": "first", "messages": [{"role": "user", "content": "Who are you?"}]}'

Clients of OpenAI take http://127.0.0.1:8000/v1 as their base URL. Without a key in STUDIO_API_KEY (or
API_KEY) only this machine is served. What a request leaves open is answered as the arguments here say.
A reward model (a run of stage rm) gives scores: POST /v1/score with the messages of a conversation."""


def run(words: list[str], workspace: str) -> int:
    """Exit code of the verb."""
    if "--help" in words or "-h" in words:
        print(HEAD)
        print(help_text("api", arguments_in(groups_of(ApiSet)).values()))
        return 0
    place = Workspace.find(workspace)
    asked, notes = read_set(ApiSet, words, place.root)
    if not asked.model.model_name_or_path:
        raise ArgumentError(["studio api needs --model_name_or_path; see --help."])
    for note in notes:
        _say(note)
    from studio.serve.opening import without_collections

    # Also while it loads, being asked to end is no failure.
    signal.signal(signal.SIGTERM, _end)
    with without_collections():
        app, taken, url, engine = _ready(asked, place)
    from studio.serve.server import run as serve

    names = _names(asked)

    def ready() -> None:
        print(f"{' and '.join(names)} answers at {url}", flush=True)
        _tell_job(url, names)

    try:
        serve(app, taken, engine, ready)
    finally:
        engine.stop()
        taken.close()
    return 0


def _ready(asked: ApiSet, place: Workspace) -> tuple[Guard, socket.socket, str, Ends]:
    """The guarded application, its address, the URL and the engine. Refuses before anything heavy is loaded."""
    from studio.serve.guard import check_open, find_key, told_names
    from studio.serve.opening import open_engine, open_prompter, parts_of

    serve = asked.serve
    key = find_key(os.environ)
    check_open(serve.host, key)
    for sentence in told_names():
        _say(sentence)
    if asked.engine.infer_backend == "vllm":
        from studio.serve.vllm import check_installed

        check_installed()
    parts = parts_of(*find_parts(asked.model, place), asked.model, place, "api")
    if is_reward_model(parts.adapter or parts.base):
        return _scoring(asked, parts, place, key)
    prompter = open_prompter(parts, asked.template, place, _say, trust=asked.model.trust_remote_code)
    from studio.serve.server import Service, bind, make_app

    taken = bind(serve.host, serve.port)
    engine = open_engine(parts, prompter, asked.model, asked.engine, waiting=serve.max_waiting, place=place, say=_say)
    service = Service(
        engine=engine,
        names=_names(asked),
        asked=asked.generation,
        shows_tools=prompter.template is not None and prompter.template.shows_tools,
        special=prompter.tokenizer.end_strings,
        say=_say,
        created=int(time.time()),
        prompter=prompter,
    )
    return *_guarded(make_app(service, serve.root_path), serve, key, taken), engine


def _scoring(asked: ApiSet, parts: Parts, place: Workspace, key: str) -> tuple[Guard, socket.socket, str, Ends]:
    """The same for a reward model, which gives scores."""
    from studio.model.hardware import before_torch
    from studio.serve.opening import open_prompter
    from studio.serve.server import bind

    if asked.engine.infer_backend == "vllm":
        raise ArgumentError(
            ["--infer_backend vllm: a reward model is scored by the studio's own engine. Leave it out."]
        )
    prompter = open_prompter(parts, asked.template, place, _say, trust=asked.model.trust_remote_code)
    taken = bind(asked.serve.host, asked.serve.port)
    before_torch(os.environ)
    from studio.model.scorer import open_scorer
    from studio.serve.scoring import Scoring, make_scoring_app

    scorer = open_scorer(
        parts.adapter or parts.base, cache=place.cache, base=parts.base, template=prompter.template,
        tokenizer=prompter.tokenizer, asked=asked.model, dtype=asked.engine.infer_dtype,
    )  # fmt: skip
    service = Scoring(scorer, _names(asked), asked.serve.max_waiting, _say, int(time.time()))
    return *_guarded(make_scoring_app(service, asked.serve.root_path), asked.serve, key, taken), service


def _guarded(app: FastAPI, serve: ServeArguments, key: str, taken: socket.socket) -> tuple[Guard, socket.socket, str]:
    """The application behind its guard, its socket, and its URL."""
    from studio.serve.guard import Guard, is_loopback, names_of

    outside = not is_loopback(serve.host)
    guard = Guard(app, key=key, names=names_of(serve.host, serve.public_host), any_address=outside)
    shown = f"[{serve.host}]" if ":" in serve.host else serve.host
    return guard, taken, f"http://{shown}:{taken.getsockname()[1]}/v1"


def _names(asked: ApiSet) -> list[str]:
    """The names under which the model is served."""
    return list(asked.serve.served_model_name) or [asked.model.model_name_or_path.rstrip("/").rpartition("/")[2]]


def _tell_job(url: str, names: list[str]) -> None:
    """Where it answers, for who started it as a job."""
    if folder := os.environ.get("STUDIO_JOB_FOLDER"):
        write_json(Path(folder) / "endpoint.json", {"url": url, "names": names})


def _end(*_: object) -> None:
    raise SystemExit(0)


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()
