"""studio webui: the page in the browser."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.arguments.check import arguments_in
from studio.arguments.web import WebArguments
from studio.command import help_text, read_raw
from studio.errors import ArgumentError
from studio.jobs.hold import hold
from studio.recipe import ArgumentSet, arguments_of_all, groups_of, make_set
from studio.workspace import Workspace

if TYPE_CHECKING:
    from studio.web.site import Site

HEAD = """usage: studio webui [FILE.yaml] [--port 7860] [--root DIR]

  studio webui
  studio webui --port 8080 --root /mnt/models
  studio webui --root_path /proxy/7860 --public_host notebook.example.org

Prints one address; open it in a browser. The token in it stays the same (.studio/token in the workspace, or
STUDIO_TOKEN), so that open pages survive a restart. Jobs go on when the page ends: Ctrl-C is harmless.
GRADIO_SERVER_NAME, GRADIO_SERVER_PORT and GRADIO_ROOT_PATH are read where no flag says otherwise."""

FROM_ENVIRONMENT = {"GRADIO_SERVER_NAME": "host", "GRADIO_SERVER_PORT": "port", "GRADIO_ROOT_PATH": "root_path"}
ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
LOOK_FOR_A_WORKER_S = 2.0


class WebSet(ArgumentSet):
    """The arguments of the verb."""

    web: WebArguments


def run(words: list[str], workspace: str) -> int:
    """Exit code of the verb."""
    if "--help" in words or "-h" in words:
        print(HEAD)
        print(help_text("webui", arguments_in(groups_of(WebSet)).values()))
        return 0
    place = Workspace.find(workspace)
    web, notes = read_web(words, os.environ, place)
    for note in notes:
        _say(note)
    _say(f"studio: starting in {place.root} …")
    # Another that is just ending may hold it for a moment.
    with hold(place, "webui", wait_s=1.0):
        return _serve(web, place)


def read_web(words: list[str], environment: Mapping[str, str], place: Workspace) -> tuple[WebArguments, list[str]]:
    """What the words say, and where they say nothing, what the environment says. Raises ArgumentError."""
    known = {**arguments_of_all(), **arguments_in(groups_of(WebSet))}
    told: dict[str, Any] = {name: environment[key] for key, name in FROM_ENVIRONMENT.items() if environment.get(key)}
    asked, notes = make_set(WebSet, {**told, **read_raw(words, known, place.root)})
    root_path = asked.web.root_path.rstrip("/")
    if not ROOT_PATH.fullmatch(root_path):
        raise ArgumentError(
            [f"--root_path {root_path!r}: must be a path such as /proxy/7860, of letters, digits and . _ ~ - only."]
        )
    return asked.web.model_copy(update={"root_path": root_path}), notes


def find_roots(asked: tuple[str, ...]) -> tuple[Path, ...]:
    """The further folders, with links followed. Raises ArgumentError naming all that are none."""
    found = [Path(name).expanduser().resolve() for name in asked]
    wrong = [str(path) for path in found if not path.is_dir() or os.pathsep in str(path)]
    if wrong:
        raise ArgumentError([f"--root {path}: must be a folder that exists, without {os.pathsep!r}." for path in wrong])
    return tuple(found)


def _serve(web: WebArguments, place: Workspace) -> int:
    from studio.serve.server import bind
    from studio.web.listen import frame_ancestor, public_host
    from studio.web.token import find_token, kept_secret

    roots = find_roots(web.root)
    for name in web.public_host:
        public_host(name)
    token = find_token(place, os.environ, new=web.new_token)
    session = kept_secret(place.root / ".studio" / "session", new=web.new_token)
    # Before anything heavy: who cannot listen hears so at once.
    taken = bind(web.host, web.port)
    _forget_gradios_settings()
    from studio.jobs.store import Store
    from studio.web.site import Site

    site = Site(
        place,
        Store(place.root / ".studio" / "studio.db"),
        token,
        roots=roots,
        root_path=web.root_path,
        public_hosts=web.public_host,
        trusts_code=web.trust_remote_code,
        host=web.host,
        port=taken.getsockname()[1],
        session=session,
        frame_ancestors=tuple(map(frame_ancestor, web.frame_ancestor)),
    )
    # Every path that comes from the page is held to these by workspace.resolve.
    os.environ["STUDIO_ROOTS"] = site.environment["STUDIO_ROOTS"]
    os.environ.pop("STUDIO_TOKEN", None)
    return _answer(site, taken)


def _answer(site: Site, taken: socket.socket) -> int:
    from studio.web.app import make_app
    from studio.web.listen import address_of, serve

    ended = threading.Event()
    keeper = threading.Thread(target=_keep_a_worker, args=(site.workspace, ended), daemon=True)
    app = make_app(site)

    def ready() -> None:
        print(address_of(site), flush=True)
        if site.trusts_code:
            _say(
                "warning: --trust_remote_code: jobs of this page may run Python code that a model's folder brings or "
                "--reward_function names."
            )
        keeper.start()

    try:
        serve(app, taken, ready)
    finally:
        ended.set()
        taken.close()
    _say("studio: the page has ended. Jobs and the worker go on; `studio jobs list` shows them.")
    return 0


def _keep_a_worker(place: Workspace, ended: threading.Event) -> None:
    """Start a worker when none runs, as long as the page is there."""
    from studio.jobs import worker

    told = ""
    while not ended.is_set():
        try:
            worker.ensure(place)
            told = ""
        except OSError as error:
            # A full disk or no more processes: it may pass, and the page must not end for it.
            if str(error) != told:
                told = str(error)
                _say(f"warning: no worker can be started: {error}. Jobs wait.")
        ended.wait(LOOK_FOR_A_WORKER_S)


def _forget_gradios_settings() -> None:
    """What Gradio would read itself: folders to give out, sharing, its own server."""
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()
