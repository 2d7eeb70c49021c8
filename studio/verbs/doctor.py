"""studio doctor: is everything here that a run needs, and what to do where it is not."""

from __future__ import annotations

import functools
import json

from studio.doctor import machine, place
from studio.doctor.finding import Check, Finding, look
from studio.errors import UsageError
from studio.workspace import Workspace

HEAD = """usage: studio doctor [--json]

Looks at Python and the packages, GPUs with driver and torch (a small product in bf16 on each),
bitsandbytes, memory, disks, the workspace, the registry of datasets, models, git-LFS, the hub.
Each finding is ok, a warning, or broken, with what to do.

exit code: 0 when nothing is broken (there may be warnings), 1 when something is"""


def run(words: list[str], workspace: str) -> int:
    """Exit code of the verb."""
    if "--help" in words or "-h" in words:
        print(HEAD)
        return 0
    if rest := [word for word in words if word != "--json"]:
        raise UsageError(f"studio doctor takes no {rest[0]!r}.\n\n{HEAD}")
    findings = look(checks(Workspace.find(workspace)))
    broken = any(finding.state == "broken" for finding in findings)
    if "--json" in words:
        told = {"ok": not broken, "findings": [finding.as_dict() for finding in findings]}
        print(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        for finding in findings:
            print(_line(finding))
        print(_sum(findings))
    return 1 if broken else 0


def checks(where: Workspace) -> dict[str, Check]:
    """All checks by name, in the order in which they are told."""
    here = functools.partial
    return {
        "python": machine.python,
        "packages": machine.packages,
        "extras": machine.extras,
        "devices": machine.devices,
        "memory": machine.memory,
        "threads": machine.threads,
        "text": machine.text_encoding,
        "workspace": here(place.workspace, where),
        "disk": here(place.disk, where),
        "datasets": here(place.registry, where),
        "models": here(place.models, where),
        "git-LFS": here(place.pointers, where),
        "hub": here(place.hub, where),
    }


def _line(finding: Finding) -> str:
    remedy = f"\n         → {finding.remedy}" if finding.remedy else ""
    return f"{finding.state:<8} {finding.name}: {finding.text}{remedy}"


def _sum(findings: list[Finding]) -> str:
    count = {state: sum(finding.state == state for finding in findings) for state in ("warning", "broken")}
    if not any(count.values()):
        return "everything is well."
    return f"{count['broken']} broken, {count['warning']} to be warned of."
