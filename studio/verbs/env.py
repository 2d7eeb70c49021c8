"""studio env: versions, hardware and settings, to paste into a report."""

from __future__ import annotations

import json

from studio.doctor.facts import everything
from studio.errors import UsageError
from studio.workspace import Workspace

HEAD = """usage: studio env [--json]

Versions of Python and of the packages, processor, memory, disk, GPUs with their driver, and the
environment variables that change what a run does. Tokens, keys and passwords are never shown."""


def run(words: list[str], workspace: str) -> int:
    """Exit code of the verb."""
    if "--help" in words or "-h" in words:
        print(HEAD)
        return 0
    if rest := [word for word in words if word != "--json"]:
        raise UsageError(f"studio env takes no {rest[0]!r}.\n\n{HEAD}")
    facts = everything(Workspace.find(workspace))
    if "--json" in words:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
        return 0
    for name, value in facts.items():
        title = name.replace("_", " ")
        if isinstance(value, dict):
            print(f"{title}:")
            for key, below in value.items():
                print(f"  {key}: {below}")
        elif isinstance(value, list):
            print(f"{title}: {'' if value else 'none'}")
            for below in value:
                print("  " + ", ".join(f"{key} {fact}" for key, fact in below.items()))
        else:
            print(f"{title}: {value}")
    return 0
