"""Works from the command line: their arguments, a bar at the terminal, and what came of them for terminal and page."""

from __future__ import annotations

import json
import sys
import time

from studio.arguments.check import arguments_in
from studio.command import help_text, read_set
from studio.errors import ArgumentError, UsageError
from studio.recipe import groups_of
from studio.registry import did_you_mean
from studio.works.base import Work, of_verb
from studio.workspace import Workspace

BAR_EVERY_S = 0.2


def run_verb(verb: str, about: str, words: list[str], workspace: str) -> int:
    """A verb that has nothing but works; its exit code. Raises UsageError for another word."""
    works = of_verb(verb)
    listed = "\n".join(f"  {name:<12}{work.about.splitlines()[0]}" for name, work in works.items())
    head = f"usage: studio {verb} {' | '.join(works)} [arguments]\n\n{about}\n\n{listed}"
    if not words or words[0] in ("--help", "-h"):
        print(f"{head}\n\nstudio {verb} WORD --help tells the arguments of each.")
        return 0
    if words[0] not in works:
        raise UsageError(f"studio {verb} {words[0]}: there is no such verb.{did_you_mean(words[0], works)}\n\n{head}")
    return run_work(works[words[0]], words[1:], workspace)


def run_work(work: Work, words: list[str], workspace: str) -> int:
    """Do a work as it is asked for; the exit code. Raises StudioError children."""
    name = " ".join(work.words)
    if "--help" in words or "-h" in words:
        print(f"usage: studio {name} [FILE.yaml] [arguments] [--json]\n\n{work.about}")
        print(help_text(name, arguments_in(groups_of(work.asked)).values()))
        return 0
    as_data = "--json" in words
    place = Workspace.find(workspace)
    asked, notes = read_set(work.asked, [word for word in words if word != "--json"], place.root)
    if complaints := asked.complaints():
        raise ArgumentError([*complaints, f"See studio {name} --help."])
    from studio.jobs import told
    from studio.jobs.signals import StopFlag

    stop = StopFlag()
    stop.saved, stop.next = "nothing of it is kept", "begins anew"
    stop.install()
    ear = Terminal()
    for note in notes:
        ear.say(note)
    doer = work.doer()
    try:
        found = doer.run(asked, place, ear)
    finally:
        ear.close()
    stop.saved = "what it wrote is complete"
    told.result(found)
    print(json.dumps(found, ensure_ascii=False) if as_data else doer.as_text(found))
    return 0


class Terminal:
    """Sentences and a bar on stderr; progress for the page where the command is a job."""

    def __init__(self) -> None:
        self._drawn = -BAR_EVERY_S
        self._open = False

    def say(self, sentence: str) -> None:
        """One sentence on a line of its own."""
        self.close()
        sys.stderr.write(sentence + "\n")

    def tell(self, done: float, total: float, text: str) -> None:
        """So much of so much."""
        from studio.jobs import told

        told.tell(done, total, text)
        now = time.monotonic()
        if not sys.stderr.isatty() or (now - self._drawn < BAR_EVERY_S and done < total):
            return
        self._drawn, self._open = now, True
        share = f"{done / total:4.0%}" if total else f"{done:,.0f}"
        sys.stderr.write(f"\r\033[K{text} {share}\r")
        sys.stderr.flush()

    def close(self) -> None:
        """Take the bar away."""
        if self._open:
            sys.stderr.write("\r\033[K")
            self._open = False
