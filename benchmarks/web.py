"""What the page costs: its start, its answers, its charts, ten tabs on a running job, and doing nothing.

    OMP_NUM_THREADS=1 python benchmarks/web.py            # all of it, about 4 minutes
    python benchmarks/web.py --only start idle

A studio of its own in a small workspace that is made for it, driven by Debian's Chromium. See README.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))
from tests.conftest import CHATML, END, TURN_END, write_model, write_workspace  # noqa: E402

TABS = 10
WATCH_S = 20
KEYS = 20
POINTS = 10_000
FORM = {"stage": "sft", "model_name_or_path": "models/tiny-chat", "dataset": ["tiny_sft"], "finetuning_type": "full",
        "max_steps": "100000", "logging_steps": "1", "cutoff_len": "64", "save_strategy": "no"}  # fmt: skip
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip

# Fill the form with what `FORM` says, as loading a saved form does.
FILL = """async (values) => {
  const { replace } = await import(window.studio.script("draft"));
  replace({ values, run_name: "bench" });
}"""
# Milliseconds from a keystroke to a command that says it, for each of `count` learning rates.
TYPE = """async (count) => {
  const field = document.querySelector("#train-learning_rate input, input#train-learning_rate");
  const text = document.querySelector("#train-command-text");
  const write = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
  const times = [];
  for (let n = 1; n <= count; n += 1) {
    const wanted = `${n}.5e-5`;
    const began = performance.now();
    write.call(field, wanted);
    field.dispatchEvent(new Event("input", { bubbles: true }));
    // Python writes small numbers with two digits in the exponent.
    const says = () => text.textContent.replace("e-05", "e-5");
    while (!says().includes(wanted) && !says().includes(String(Number(wanted)))) {
      if (performance.now() - began > 10000) return { wanted, found: text.textContent };
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    times.push(performance.now() - began);
  }
  return times;
}"""
# Milliseconds of one more point in the charts of a run that has `points` already.
CHART = """async (points) => {
  const ours = (name) => import(window.studio.script(name));
  const [{ Curve }, { charts }] = await Promise.all([ours("curve"), ours("chart")]);
  const row = (step) => ({
    step, total_steps: 2 * points, elapsed_s: step, epoch: step / points, loss: 2 + Math.sin(step / 50) / step ** 0.2,
    learning_rate: 1e-4 * (1 - step / points / 2), grad_norm: 1 + Math.random(), tokens_per_s: 1000 + Math.random(),
  });
  const curve = new Curve();
  const all = charts(curve);
  const place = document.createElement("div");
  Object.assign(place.style, { position: "fixed", inset: "0", zIndex: 999, overflow: "auto", background: "white" });
  place.append(all.element);
  document.body.append(place);
  curve.append(Array.from({ length: points }, (_, step) => row(step + 1)));
  all.draw();
  const settled = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)));
  for (let n = 0; n < 20; n += 1) await settled();
  const times = [];
  for (let n = 1; n <= 40; n += 1) {
    const channel = new MessageChannel();
    const after = new Promise((resolve) => { channel.port1.onmessage = resolve; });
    const began = performance.now();
    curve.append([row(points + n)]);
    all.draw();
    channel.port2.postMessage(0);
    await after;
    times.push(performance.now() - began);
    await settled();
  }
  const drawn = document.querySelectorAll(".chart canvas").length;
  place.remove();
  return { times, drawn, length: curve.length };
}"""


@dataclass
class Table:
    """What was measured, beside its target."""

    rows: list[tuple[str, float, str, float | None]] = field(default_factory=list)

    def add(self, what: str, value: float, unit: str, target: float | None = None) -> None:
        """One line, printed at once."""
        self.rows.append((what, value, unit, target))
        missed = target is not None and value > target
        goal = f"at most {target:g}" if target is not None else ""
        print(f"{what:<52}{value:>9.2f} {unit:<4} {goal:<14}{'MISSED' if missed else ''}", flush=True)

    @property
    def missed(self) -> bool:
        """Whether any target was."""
        return any(target is not None and value > target for _, value, _, target in self.rows)


class Studio:
    """One studio: started now, its costs until the first page in `cpu_s`, `wall_s` and `rss_mb`."""

    def __init__(self, root: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("STUDIO_", "GRADIO_"))}
        environment |= {"PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        words = [sys.executable, "-m", "studio", "--workspace", str(root), "webui", "--port", "0"]
        began = time.perf_counter()
        self.root = root
        self.process = subprocess.Popen(
            words, env=environment, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = next((line for line in self.process.stdout if "token=" in line), "")
        if not line:
            sys.exit("the studio ended; start it by hand to see why.")
        self.entry = line[line.index("http") :].split()[0]
        split = urllib.parse.urlsplit(self.entry)
        self.url, token = f"{split.scheme}://{split.netloc}", urllib.parse.parse_qs(split.query)["token"][0]
        self.http = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        self.http.get("/").raise_for_status()
        self.wall_s, self.cpu_s = time.perf_counter() - began, self.used_s()
        self.rss_mb = psutil.Process(self.process.pid).memory_info().rss / 1e6

    def used_s(self) -> float:
        """CPU seconds of the web process so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def share(self, watch: Callable[[float], object] = time.sleep) -> float:
        """Per cent of a core that the web process takes while `watch` goes on for `WATCH_S`."""
        before, began = self.used_s(), time.perf_counter()
        watch(WATCH_S)
        return 100 * (self.used_s() - before) / (time.perf_counter() - began)

    def end(self) -> None:
        """End it, the worker and every job."""
        for path in [*(self.root / ".studio").glob("jobs/*/supervisor.pid"), self.root / ".studio" / "worker.pid"]:
            try:
                os.killpg(int(path.read_text().split()[0]), signal.SIGKILL)
            except (OSError, ValueError, IndexError):
                continue
        self.http.close()
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()


def started(table: Table, root: Path, starts: int) -> None:
    """`studio webui` to the first answered page, the best of some starts after one that warms the disk."""
    measured = []
    for _ in range(starts + 1):
        studio = Studio(root)
        measured.append((studio.cpu_s, studio.wall_s, studio.rss_mb))
        studio.end()
    cpu, wall, rss = (min(column) for column in zip(*measured[1:], strict=True))
    table.add("studio webui to the first answered page, CPU", cpu, "s", 4.5)
    table.add("studio webui to the first answered page, wall", wall, "s", 6)
    table.add("memory at the first answered page", rss, "MB", 230)


def opened(browser: Browser, studio: Studio) -> Page:
    """A page that has been loaded once, so that the next load is a warm one."""
    page = browser.new_context(locale="en-US").new_page()
    page.set_default_timeout(60_000)
    page.goto(studio.entry)
    page.locator("#train-start").wait_for()
    return page


def page_times(table: Table, page: Page, studio: Studio) -> None:
    """Loading again, typing, charts."""
    loads = []
    for _ in range(5):
        began = time.perf_counter()
        page.goto(f"{studio.url}/#train", wait_until="commit")
        page.reload(wait_until="commit")
        page.locator("#train-start").wait_for()
        loads.append(time.perf_counter() - began)
    table.add("page interactive, warm, median of 5", statistics.median(loads), "s", 1.5)
    page.evaluate(FILL, FORM)
    page.wait_for_function("document.querySelector('#train-command-text').textContent.includes('tiny_sft')")
    times = page.evaluate(TYPE, KEYS)
    if isinstance(times, dict):
        sys.exit(f"the command does not follow the field: {times}")
    table.add(f"keystroke to command, median of {KEYS}", statistics.median(times), "ms", 200)
    drawn = page.evaluate(CHART, POINTS)
    if not drawn["drawn"]:
        sys.exit("no chart was drawn")
    table.add(
        f"one more point in {drawn['drawn']} charts of {drawn['length']:,}, median",
        statistics.median(drawn["times"]),
        "ms",
        50,
    )


def click_to_running(table: Table, page: Page, studio: Studio) -> int:
    """The click on Start until the job says running; gives its number."""
    page.evaluate(FILL, FORM)
    page.wait_for_function("!document.querySelector('#train-start').disabled")
    known = {job["id"] for job in studio.http.get("/api/jobs").json()["jobs"]}
    began = time.perf_counter()
    page.locator("#train-start").click()
    while time.perf_counter() - began < 60:
        jobs = [job for job in studio.http.get("/api/jobs").json()["jobs"] if job["id"] not in known]
        if jobs and jobs[0]["state"] == "running":
            table.add("click on Start to running", time.perf_counter() - began, "s", 1)
            return int(jobs[0]["id"])
        time.sleep(0.02)
    sys.exit(f"the job does not run: {studio.http.get('/api/jobs').json()}")


def ten_tabs(table: Table, browser: Browser, page: Page, studio: Studio, job: int) -> None:
    """Ten tabs that watch the same job, and whether one of them still answers."""
    until = time.monotonic() + 120
    while not (studio.http.get(f"/api/jobs/{job}").json().get("progress") or {}).get("step"):
        if time.monotonic() > until:
            sys.exit("the job makes no step")
        time.sleep(0.5)
    context = page.context
    tabs = [context.new_page() for _ in range(TABS)]
    for tab in tabs:
        tab.goto(f"{studio.url}/#jobs/{job}")
        tab.locator(".chart canvas").first.wait_for()
    table.add(
        f"{TABS} tabs on a running job, server", studio.share(lambda s: tabs[0].wait_for_timeout(1000 * s)), "%", 10
    )
    answers = []
    for _ in range(KEYS):
        began = time.perf_counter()
        studio.http.get("/api/jobs").raise_for_status()
        answers.append(1000 * (time.perf_counter() - began))
    table.add("an answer of the server meanwhile, median", statistics.median(answers), "ms")
    began = time.perf_counter()
    tabs[0].locator("#tab-datasets-button").click()
    tabs[0].get_by_text("tiny_share").first.wait_for()
    table.add("a click in one of them, answered after", time.perf_counter() - began, "s")
    for tab in tabs:
        tab.close()


@contextmanager
def workspace() -> Iterator[Path]:
    """A small workspace with two tiny models and three datasets."""
    with tempfile.TemporaryDirectory(prefix="studio-bench-") as name:
        made = Path(name) / "made"
        models = (write_model(made / "tiny", eos=END), write_model(made / "tiny-chat", eos=TURN_END, template=CHATML))
        yield write_workspace(Path(name) / "workspace", models).root


def main() -> None:
    """Print the table; end with 1 when a target is missed."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--only", nargs="*", choices=("start", "idle", "page", "job"), default=())
    reader.add_argument("--starts", type=int, default=3)
    asked = reader.parse_args()
    wanted = set(asked.only) or {"start", "idle", "page", "job"}
    program = os.environ.get("STUDIO_TEST_BROWSER") or shutil.which("chromium")
    table = Table()
    with workspace() as root:
        if "start" in wanted:
            started(table, root, asked.starts)
        studio = Studio(root)
        try:
            if "idle" in wanted:
                table.add("idle, no page open, server", studio.share(), "%", 4)
            if wanted & {"page", "job"}:
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
                    page = opened(browser, studio)
                    if "page" in wanted:
                        page_times(table, page, studio)
                    if "job" in wanted:
                        ten_tabs(table, browser, page, studio, click_to_running(table, page, studio))
                    browser.close()
        finally:
            studio.end()
    sys.exit(int(table.missed))


if __name__ == "__main__":
    main()
