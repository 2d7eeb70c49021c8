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
from studio.command import help_text, read_set
from studio.errors import ArgumentError
from studio.recipe import ApiSet, groups_of
from studio.verbs.export import find_parts
from studio.workspace import Workspace, write_json

if TYPE_CHECKING:
    from studio.model.answer import Engine
    from studio.serve.guard import Guard

HEAD = """usage: studio api [FILE.yaml] --model_name_or_path DIR [--port 8000]

  studio api --model_name_or_path saves/X/lora/first
  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"model": "first", "messages": [{"role": "user", "content": "Who are you?"}]}'

Clients of OpenAI take http://127.0.0.1:8000/v1 as their base URL. Without a key in STUDIO_API_KEY (or
API_KEY) only this machine is served. What a request leaves open is answered as the arguments here say."""


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
        app, taken, engine, url = _ready(asked, place)
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


def _ready(asked: ApiSet, place: Workspace) -> tuple[Guard, socket.socket, Engine, str]:
    """The guarded application, its address, the engine and the URL. Refuses before anything heavy is loaded."""
    from studio.serve.guard import Guard, check_open, find_key, is_loopback, names_of, told_names
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
    app = make_app(service, serve.root_path)
    outside = not is_loopback(serve.host)
    guard = Guard(app, key=key, names=names_of(serve.host, serve.public_host), any_address=outside)
    shown = f"[{serve.host}]" if ":" in serve.host else serve.host
    return guard, taken, engine, f"http://{shown}:{taken.getsockname()[1]}/v1"


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
