"""studio worker: take jobs from the queue."""

from __future__ import annotations

from studio.errors import UsageError
from studio.workspace import Workspace

HEAD = """usage: studio worker

Take jobs from the queue of the workspace and look after those that work, until a signal comes. One worker
for each workspace; studio webui starts one by itself, and it outlives the page. Jobs outlive the worker."""


def run(words: list[str], workspace: str) -> int:
    """Exit code of the verb."""
    if "--help" in words or "-h" in words:
        print(HEAD)
        return 0
    if words:
        raise UsageError(f"studio worker takes no {words[0]!r}.\n\n{HEAD}")
    from studio.jobs.worker import Worker

    Worker(Workspace.find(workspace)).run()
    return 0
