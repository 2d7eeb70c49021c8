"""What the page serves: a workspace, the folders it may reach, its token, its jobs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from studio.jobs.store import Store
from studio.workspace import Workspace


@dataclass(frozen=True)
class Site:
    """One studio: everything that its routes and tabs need to know."""

    workspace: Workspace
    store: Store
    token: str
    roots: tuple[Path, ...] = ()
    root_path: str = ""
    public_hosts: tuple[str, ...] = ()
    trusts_code: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    session: str = ""
    """What the browser keeps in place of the token; "" is made from the token."""
    frame_ancestors: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """What a command started for the page has in its environment besides that of the page itself."""
        listed = os.pathsep.join(str(path) for path in (self.workspace.root, *self.roots))
        return {"STUDIO_ROOTS": listed, "STUDIO_WORKSPACE": str(self.workspace.root)}
