"""studio jobs: what runs, waits and ran, from the terminal; the page sees the same."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from studio.errors import StudioError, UsageError, WorkspaceError
from studio.jobs.identity import send
from studio.jobs.job import ENDED, Job, shell_line
from studio.jobs.lineage import dependants, discard_run
from studio.jobs.look import folder_in
from studio.jobs.runs import RunRow
from studio.jobs.store import Store, store_of
from studio.registry import did_you_mean
from studio.verbs.job_views import command_of, list_jobs, logs, say_worker, show
from studio.verbs.job_words import find, flag, one, some, value
from studio.workspace import Workspace

HEAD = """usage: studio jobs [list] [--all] [--json]
       studio jobs show JOB [--json]
       studio jobs logs JOB [--follow] [--lines N]
       studio jobs stop|kill|pause|resume JOB …
       studio jobs clone JOB [--start]
       studio jobs move JOB [--before JOB]
       studio jobs remove JOB … [--files] [--force]

  list     jobs and runs, the newest first; --all without a limit
  show     one of them: how it stands, why it failed, its command, checkpoints, parents and children
  logs     what it said; --follow shows what is added until it ends, --lines N begins with the last N lines
  stop     save, then end; kill ends at once; pause saves and ends, or holds a job that waits
  resume   put it back into the queue: a training goes on from its last checkpoint
  clone    the exact command, to paste; --start queues it as a new job with a folder of its own
  move     another place in the queue: before another job, or at the end
  remove   forget a job that has ended; --files removes its run folder in saves/ too, --force although
           something was made from it

JOB is the number of a job or the folder of a run. --json prints JSON."""

# The argument that names what a verb writes.
OUTPUTS = {"train": "output_dir", "export": "export_dir"}


def run(words: list[str], workspace: str) -> int:
    """Exit code of the verb."""
    if "--help" in words or "-h" in words:
        print(HEAD)
        return 0
    verbs: dict[str, Callable[[list[str], Workspace, Store], int]] = {
        "list": list_jobs, "show": show, "logs": logs, "stop": _stop, "kill": _kill, "pause": _pause,
        "resume": _resume, "clone": _clone, "move": _move, "remove": _remove,
    }  # fmt: skip
    verb = words[0] if words and not words[0].startswith("-") else "list"
    if verb not in verbs:
        raise UsageError(f"studio jobs {verb}: there is no such verb.{did_you_mean(verb, verbs)}\n\n{HEAD}")
    place = Workspace.find(workspace)
    store = store_of(place)
    try:
        return verbs[verb](words[1:] if words and words[0] == verb else words, place, store)
    finally:
        store.close()


def _stop(words: list[str], place: Workspace, store: Store) -> int:
    return _wish(words, place, store, "stop")


def _kill(words: list[str], place: Workspace, store: Store) -> int:
    return _wish(words, place, store, "kill")


def _pause(words: list[str], place: Workspace, store: Store) -> int:
    return _wish(words, place, store, "pause")


def _wish(words: list[str], place: Workspace, store: Store, wish: str) -> int:
    for found in [find(word, place, store) for word in some(words, wish)]:
        if isinstance(found, Job):
            job = store.wish(found.id, wish)  # type: ignore[arg-type]  # one of the three
            print(f"{job.name} {'is ' + job.state if job.state in ENDED else 'was asked to ' + wish}")
            continue
        name = place.shown(found.folder)
        if wish == "pause":
            raise WorkspaceError(f"{name} was started in a terminal and can only be stopped; resume goes on with it.")
        number = signal.SIGTERM if wish == "stop" else signal.SIGKILL
        if found.state != "running" or found.process is None or not send(found.process, number):
            raise WorkspaceError(f"only a run that works can be asked to {wish}; {name} is {found.state}.")
        print(f"{name} was asked to {wish}")
    return 0


def _resume(words: list[str], place: Workspace, store: Store) -> int:
    for found in [find(word, place, store) for word in some(words, "resume")]:
        if isinstance(found, Job):
            if found.state == "succeeded" and found.kind == "train":
                raise StudioError(f"{found.name} has finished; there is nothing to go on with. studio jobs clone "
                                  f"{found.id} --start begins it anew.")  # fmt: skip
            job = store.again(found.id)
        else:
            job = _queued(found, place, store)
        print(f"{job.name} waits in the queue")
    say_worker(place)
    return 0


def _queued(row: RunRow, place: Workspace, store: Store) -> Job:
    """A run of a terminal as a job: the same command in the same folder."""
    name = place.shown(row.folder)
    if row.state in ("running", "succeeded") or not row.argv:
        why = (
            "its record does not tell the command"
            if row.state not in ("running", "succeeded")
            else f"it is {row.state}"
        )
        raise WorkspaceError(f"only a run that ended early can go on; {name}: {why}.")
    return store.submit("train", row.argv, title=name.removeprefix("saves/"), output=str(row.folder))


def _clone(words: list[str], place: Workspace, store: Store) -> int:
    starts = flag(words, "--start")
    found = find(one(words, "clone"), place, store)
    if not starts:
        print(command_of(found, place))
        return 0
    kind, argv = (found.kind, found.argv) if isinstance(found, Job) else ("train", found.argv)
    output, folder = "", folder_in(found)
    if (name := OUTPUTS.get(kind)) and folder is not None:
        output = place.shown(_free(folder, place, store))
        argv = with_value(argv, name, output)
    job = store.submit(
        kind, argv, title=output.removeprefix("saves/") or kind, output=output,
        devices=found.devices if isinstance(found, Job) else (), parent=found.id if isinstance(found, Job) else None,
        environment=found.environment if isinstance(found, Job) else None,
    )  # fmt: skip
    print(f"{job.name} waits in the queue\n{shell_line(job.argv, job.devices, place)}")
    say_worker(place)
    return 0


def _free(folder: Path, place: Workspace, store: Store) -> Path:
    """A name beside a folder that neither a folder nor a job has: run → run-2."""
    taken = {job.output for job in store.jobs(limit=1_000_000)}
    stem, _, last = folder.name.rpartition("-")
    stem, number = (stem, int(last)) if stem and last.isdecimal() and len(last) < 6 else (folder.name, 1)
    while True:
        number += 1
        path = folder.with_name(f"{stem}-{number}")
        if not path.exists() and str(path.resolve()) not in taken:
            return path


def with_value(argv: Sequence[str], name: str, value: str) -> tuple[str, ...]:
    """A command with another value for one argument; what would undo a new folder is left out."""
    kept: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        flag, has_value, _ = word.partition("=")
        if flag in (f"--{name}", "--overwrite_output_dir", "--resume_from_checkpoint"):
            if not has_value and words and not words[0].startswith("--"):
                words.pop(0)
            continue
        kept.append(word)
    return (*kept, f"--{name}", value)


def _move(words: list[str], place: Workspace, store: Store) -> int:
    before = value(words, "--before")
    job = _a_job(one(words, "move"), place, store)
    store.move(job.id, _a_job(before, place, store).id if before else None)
    print("the queue: " + (", ".join(str(each.id) for each in store.queue()) or "empty"))
    return 0


def _remove(words: list[str], place: Workspace, store: Store) -> int:
    files, force = flag(words, "--files"), flag(words, "--force")
    for found in [find(word, place, store) for word in some(words, "remove")]:
        folder = folder_in(found)
        if isinstance(found, Job) and found.active:
            raise WorkspaceError(f"only a job that has ended can be removed; {found.name} is {found.state}.")
        if isinstance(found, RunRow) and not files:
            raise UsageError(f"{place.shown(found.folder)} is listed for its folder; --files removes it.")
        if files and folder is not None and folder.is_dir():
            active = [job for job in store.jobs(limit=10_000) if job.active]
            needed = [] if force else dependants(place, folder, active)
            if needed:
                told = ", ".join(each.path for each in needed[:5])
                raise WorkspaceError(
                    f"{place.shown(folder)} is still needed by {told}. --force removes it all the same."
                )
            discard_run(folder, place)
            print(f"{place.shown(folder)} is removed")
        if isinstance(found, Job):
            store.remove(found.id)
            print(f"{found.name} is removed")
    return 0


def _a_job(word: str, place: Workspace, store: Store) -> Job:
    found = find(word, place, store)
    if isinstance(found, RunRow):
        raise WorkspaceError(f"{place.shown(found.folder)} was started in a terminal and has no place in the queue.")
    return found
