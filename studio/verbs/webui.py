"""studio webui: the page in the browser."""

from __future__ import annotations

import secrets
import socket

from studio.workspace import Workspace


def run(words: list[str], workspace: str) -> int:
    """Exit code of the verb."""
    place = Workspace.find(workspace)
    import uvicorn

    from studio.jobs.store import Store
    from studio.web.app import make_app
    from studio.web.site import Site

    site = Site(place, Store(place.root / ".studio" / "studio.db"), secrets.token_urlsafe(24))
    taken = socket.create_server(("127.0.0.1", int(words[1]) if words else 7860))
    app = make_app(site)
    print(f"http://127.0.0.1:{taken.getsockname()[1]}/?token={site.token}", flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, server_header=False, ws="none"))
    server.run(sockets=[taken])
    return 0
