"""What a foreign page in the same browser can do with a studio that is open: nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.web


class Foreign(BaseHTTPRequestHandler):
    """Another program of this machine, with a page of its own: the same site, another origin."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>foreign</title><body>foreign"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def foreign() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Foreign)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


ATTACK = """async ([studio]) => {
  const tried = {};
  const look = async (name, ask) => {
    try { const answer = await ask(); tried[name] = answer.type === 'opaque' ? 'opaque' : `read ${answer.status}`; }
    catch (error) { tried[name] = 'refused'; }
  };
  const post = {method: 'POST', credentials: 'include', body: '{}', headers: {'Content-Type': 'text/plain'}};
  await look('read', () => fetch(`${studio}/api/jobs`, {credentials: 'include'}));
  await look('change', () => fetch(`${studio}/api/jobs`, post));
  await look('json', () => fetch(`${studio}/api/jobs`, {...post, headers: {'Content-Type': 'application/json'}}));
  await look('upload', () => { const form = new FormData(); form.append('files', new Blob(['x']), 'x.txt');
    return fetch(`${studio}/gradio_api/upload`, {method: 'POST', credentials: 'include', body: form}); });
  return tried;
}"""

FRAME = """(url) => new Promise((done) => {
  const frame = document.createElement('iframe');
  frame.onload = done;
  frame.src = url;
  document.body.append(frame);
})"""
VERSION = "async () => (await (await fetch(window.studio.address('/api/jobs'))).json()).version"


def test_a_foreign_page_reads_nothing_changes_nothing_and_frames_nothing(
    studio: Any, open_page: Callable[..., Any], foreign: str
) -> None:
    page = open_page()
    before = page.evaluate(VERSION)
    other = page.context.new_page()
    page.context.unroute_all()
    other.goto(foreign)
    assert set(other.evaluate(ATTACK, [studio.url]).values()) == {"refused"}
    other.evaluate(FRAME, studio.url)
    assert other.frames[-1].url.startswith("chrome-error:")
    assert page.evaluate(VERSION) == before


def test_the_token_is_nowhere_in_the_page_and_scripts_cannot_read_the_cookie(
    studio: Any, open_page: Callable[..., Any]
) -> None:
    page = open_page()
    assert studio.token not in page.content()
    assert studio.token not in page.url
    assert page.evaluate("document.cookie") == ""
    assert studio.token not in page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")


def test_without_the_token_a_person_is_asked_for_it_and_gets_in(studio: Any, browser: Any) -> None:
    context = browser.new_context(locale="zh-CN")
    page = context.new_page()
    assert page.goto(studio.url).status == 401
    page.get_by_label("token").fill("a wrong one")
    page.get_by_role("button").click()
    expect(page.get_by_label("token")).to_be_visible()
    page.get_by_label("token").fill(studio.token)
    page.get_by_role("button").click()
    expect(page.locator("#studio-bar header")).to_be_visible(timeout=30_000)
    assert "token" not in page.url
    context.close()
