"""Commands that make this machine run what somebody else wrote: refused where the studio was started without."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from studio.arguments.check import arguments_in
from studio.command import read_raw
from studio.errors import ArgumentError, StudioError
from studio.recipe import arguments_of_all, groups_of
from studio.web.site import Site
from studio.works.base import WORKS

# Arguments besides trust_remote_code that make a command run what somebody else wrote: files, and a switch.
_FILES, _SWITCH = ("reward_function", "include_path"), "allow_code_execution"
# Every way to say no; whatever else stands there may mean yes.
_NO = ("", "false", "f", "no", "n", "off", "0", "0.0", "none", "null")


def code_complaints(site: Site, raw: Mapping[str, Any]) -> list[str]:
    """What asks for foreign code, where this studio runs none."""
    if site.trusts_code:
        return []
    complaints = []
    if str(raw.get("trust_remote_code", False)).strip().lower() not in _NO:
        complaints.append(
            "--trust_remote_code True: this studio runs no code of models. Whoever starts it may allow that, with "
            "studio webui --trust_remote_code; or leave it out."
        )
    named = [name for name in _FILES if raw.get(name)]
    if str(raw.get(_SWITCH) or "").strip().lower() not in _NO:
        named.append(_SWITCH)
    complaints += [
        f"--{name}: this studio runs no code that the page names. Whoever starts it may allow that, with "
        "studio webui --trust_remote_code; or run the command in a terminal."
        for name in named
    ]
    return complaints


def refuse_trust(site: Site, argv: Sequence[str]) -> None:
    """Hold a job that was made earlier against what this studio may run now. Raises ArgumentError."""
    raw: dict[str, Any] = {}
    works = (WORKS[name] for name in WORKS)
    work = next((work for work in works if tuple(argv[: len(work.words)]) == work.words), None)
    own = arguments_in(groups_of(work.asked)) if work else {}
    with contextlib.suppress(StudioError):
        words = argv[len(work.words) if work else 1 :]
        raw = read_raw(words, {**arguments_of_all(), **own}, site.workspace.root)
    if complaints := code_complaints(site, raw):
        raise ArgumentError(complaints)
