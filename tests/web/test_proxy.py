"""Behind a proxy that strips its prefix and behind one that keeps it, the whole page works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from studio.workspace import Workspace
from tests.web.conftest import Running, end_studio, start_studio
from tests.web.proxy import PREFIX, Proxy, proxies

pytestmark = pytest.mark.web


@pytest.fixture(scope="module")
def both(place: Workspace) -> Iterator[dict[str, Proxy]]:
    with proxies() as (stripping, keeping):
        names = f"{stripping.place},{keeping.place}"
        running = start_studio(place, "--root_path", f"{PREFIX}/", "--public_host", names)
        log = (place.root / ".studio" / "webui.lock").read_text()
        assert f"pid {running.process.pid}" in log
        port = port_of(running)
        stripping.upstream = keeping.upstream = ("127.0.0.1", port)
        stripping.token = keeping.token = running.token  # type: ignore[attr-defined]
        assert running.url == f"http://{stripping.place}{PREFIX}"
        yield {"strips": stripping, "keeps": keeping}
        end_studio(running)


def port_of(running: Running) -> int:
    """Where the studio really listens."""
    import psutil

    found = [one.laddr.port for one in psutil.Process(running.process.pid).net_connections() if one.status == "LISTEN"]
    return int(found[0])


@pytest.fixture
def studio(both: dict[str, Proxy]) -> None:
    """In place of the one without a proxy."""


@pytest.mark.parametrize("kind", ["strips", pytest.param("keeps", marks=pytest.mark.slow)])
def test_the_page_works_behind_a_proxy(both: dict[str, Proxy], open_page: Callable[..., Any], kind: str) -> None:
    proxy = both[kind]
    page = open_page(entry=f"http://{proxy.place}{PREFIX}/?token={proxy.token}")  # type: ignore[attr-defined]
    assert page.url.startswith(f"http://{proxy.place}{PREFIX}/")
    assert "token" not in page.url
    for tab in ("datasets", "jobs", "chat", "export", "train"):
        page.locator(f"#tab-{tab}-button").click()
        expect(page.locator(f"#tab-{tab}-button")).to_have_attribute("aria-selected", "true")
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("tab", name="训练")).to_be_visible()
    asked = "async () => (await fetch(window.studio.address('/api/jobs/diff'), {method: 'POST', body: '{\"ids\": []}', headers: {'Content-Type': 'application/json'}})).status"  # noqa: E501
    assert page.evaluate(asked) not in (401, 403, 421)
    cookie = next(each for each in page.context.cookies() if each["name"].startswith("studio_"))
    assert (cookie["path"], cookie["httpOnly"], cookie["sameSite"]) == (PREFIX, True, "Strict")
    # The browser itself asks for an icon at the top of a host.
    assert [path for path in proxy.outside if path != "/favicon.ico"] == []
