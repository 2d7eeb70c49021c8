"""A studio of its own in a small workspace, and a browser that forgives nothing.

Every page fails its test on an error of a script and on any request to another host.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from studio.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
START_S = 60


@dataclass(frozen=True)
class Running:
    """A studio that runs: its address without the token, the token, its workspace, its process."""

    url: str
    token: str
    place: Workspace
    process: subprocess.Popen[str]

    @property
    def entry(self) -> str:
        """What the terminal shows."""
        return f"{self.url}/?token={self.token}"


def start_studio(place: Workspace, *flags: str, environment: dict[str, str] | None = None) -> Running:
    """Start `studio webui`, on a free port unless `--port` is among the flags; wait until it says its address."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STUDIO_", "GRADIO_"))}
    kept |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **(environment or {})}
    port = () if "--port" in flags else ("--port", "0")
    words = [sys.executable, "-m", "studio", "--workspace", str(place.root), "webui", *port, *flags]
    log = place.root / "webui.log"
    with log.open("a") as err:
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=err, text=True, env=kept, start_new_session=True, cwd=place.root
        )
    assert process.stdout is not None
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        line = process.stdout.readline()
        if "token=" in line:
            address = line[line.index("http") :].split()[0]
            found = urllib.parse.urlsplit(address)
            root = found.path.rstrip("/")
            url = f"{found.scheme}://{found.netloc}{root}"
            return Running(url, urllib.parse.parse_qs(found.query)["token"][0], place, process)
        if not line and process.poll() is not None:
            break
    raise AssertionError(f"the studio did not start: {log.read_text()[-3000:]}")


def end_studio(running: Running) -> None:
    """End it and the worker that it started, with every job."""
    if running.process.poll() is None:
        os.killpg(running.process.pid, signal.SIGTERM)
        try:
            running.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(running.process.pid, signal.SIGKILL)
            running.process.wait()
    if running.process.stdout is not None:
        running.process.stdout.close()
    # The page first, or it would start another worker meanwhile; then the worker, or it would start another job.
    _end(running.place.root / ".studio" / "worker.pid")
    for path in (running.place.root / ".studio").glob("jobs/*/supervisor.pid"):
        _end(path)


def _end(path: Path) -> None:
    """End the session that a file names."""
    try:
        os.killpg(int(path.read_text().split()[0]), signal.SIGKILL)
    except (OSError, ValueError, IndexError):
        return


@pytest.fixture(scope="module")
def place(make_workspace: Callable[[Path], Workspace], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace that the tests of a file share."""
    return make_workspace(tmp_path_factory.mktemp("web") / "workspace")


@pytest.fixture(scope="module")
def studio(place: Workspace) -> Iterator[Running]:
    """A studio that the tests of a file share."""
    running = start_studio(place)
    yield running
    end_studio(running)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Debian's Chromium, for the tests of a file: while it is open, no other test of the process can have a loop."""
    program = os.environ.get("STUDIO_TEST_BROWSER") or shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("no chromium: apt-get install chromium, or name one in STUDIO_TEST_BROWSER")
        pytest.skip("no chromium is installed; name one in STUDIO_TEST_BROWSER")
    from playwright.sync_api import expect, sync_playwright

    # Nothing here is about time, and the machine may be busy.
    expect.set_options(timeout=30_000)

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def open_page(browser: object, studio: Running) -> Iterator[Callable[..., object]]:
    """`open_page(language="en", width=1280)`: the studio's page in a browser that has never been there."""
    errors: list[str] = []
    contexts = []

    def begin(language: str = "en", width: int = 1280, entry: str = "") -> object:
        tag = {"en": "en-US", "zh": "zh-CN"}[language]
        context = browser.new_context(locale=tag, viewport={"width": width, "height": 900})  # type: ignore[attr-defined]
        context.set_default_timeout(30_000)
        contexts.append(context)
        host = urllib.parse.urlsplit(entry or studio.url).netloc

        def only_ours(route: object) -> None:
            url = urllib.parse.urlsplit(route.request.url)  # type: ignore[attr-defined]
            if url.netloc == host or url.scheme in ("data", "blob"):
                route.continue_()  # type: ignore[attr-defined]
            else:
                errors.append(f"a request to another host: {url.geturl()}")
                route.abort()  # type: ignore[attr-defined]

        context.route("**/*", only_ours)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(f"an error in the page: {error}"))
        page.goto(entry or studio.entry)
        page.locator("#studio-bar header").wait_for()
        return page

    yield begin
    for context in contexts:
        context.close()
    assert not errors, errors
