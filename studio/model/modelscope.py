"""Files of a repository on ModelScope, through the three addresses of its API that reading needs."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from studio.model.asking import (
    ANSWER_S,
    Refused,
    Unreachable,
    Wanted,
    brief,
    refuse_full_disk,
    refuse_outside,
    shown,
    tell,
    within,
)
from studio.model.snapshots import File, Store
from studio.workspace import write_json

if TYPE_CHECKING:
    import httpx2

PAGE = 200
PAGES = 500
# Without a byte for that long a connection is taken as dead.
SILENCE_S = 30


def endpoint() -> str:
    """The address that is asked, as it may be shown."""
    return shown(_address())


def listed(wanted: Wanted) -> dict[str, File]:
    """The files of the repository by path. Raises Unreachable or Refused."""
    if wanted.repo.count("/") != 1:
        raise Refused(f"{wanted.repo!r} is no name of a repository on ModelScope. Write owner/name.")
    return {file.path: file for file in _listed(wanted)}


def download(wanted: Wanted, files: Mapping[str, File]) -> Path:
    """Fetch what is wanted of the listed files; gives the folder. Raises Unreachable, Refused, DiskFullError."""
    chosen = [files[path] for path in wanted.select(files)]
    store = _store(wanted)
    if missing := store.missing_bytes(chosen):
        refuse_full_disk(store.home, missing, wanted.repo)
        tell(f"fetching {wanted.repo}, {missing:,} bytes, from {endpoint()}")
    with _session() as session:

        @contextlib.contextmanager
        def opened(file: File, have: int) -> Iterator[tuple[bool, Iterable[bytes]]]:
            with _stream(session, wanted, file, have) as answer:
                yield answer.status_code == 206, answer.iter_raw()

        folder = store.fetch(chosen, _ref(wanted), opened, wanted.repo)
    write_json(_list(wanted), sorted(files))
    return folder


def cached(wanted: Wanted) -> Path | None:
    """The snapshot that was fetched earlier for the same wish."""
    return _store(wanted).find(_ref(wanted))


def cached_names(wanted: Wanted) -> tuple[list[str], bool]:
    """The files of the repository as it was when something of it was fetched, and whether these are all of them.

    Without a list of that time they are those that were fetched, for whatever wish.
    """
    with contextlib.suppress(OSError, ValueError):
        return [str(name) for name in json.loads(_list(wanted).read_text(encoding="utf-8"))], True
    store, branch = _store(wanted), quote(_revision(wanted), safe="")
    found = (store.find(ref.name) for ref in (store.home / "refs").glob(f"{glob.escape(branch)}-*"))
    names = {str(file.relative_to(top)) for top in found if top for file in top.rglob("*") if file.is_file()}
    return sorted(names), False


def _address() -> str:
    named = os.environ.get("MODELSCOPE_ENDPOINT") or os.environ.get("MODELSCOPE_DOMAIN") or "www.modelscope.cn"
    return (named if "://" in named else f"https://{named}").rstrip("/")


def _revision(wanted: Wanted) -> str:
    """The branch that is called main elsewhere is master there."""
    return "master" if wanted.revision in ("", "main") else wanted.revision


def _ref(wanted: Wanted) -> str:
    choice = hashlib.sha256(repr((wanted.allow, wanted.ignore)).encode()).hexdigest()[:16]
    return f"{quote(_revision(wanted), safe='')}-{choice}"


def _list(wanted: Wanted) -> Path:
    return _store(wanted).home / "lists" / f"{quote(_revision(wanted), safe='')}.json"


def _store(wanted: Wanted) -> Store:
    usual = Path(os.environ.get("MODELSCOPE_CACHE") or Path.home() / ".cache" / "modelscope")
    root = wanted.cache / "modelscope" if wanted.cache else usual.expanduser() / "studio"
    return Store(root / f"{wanted.kind}s--{quote(wanted.repo.replace('/', '--'), safe='')}")


@contextlib.contextmanager
def _session() -> Iterator[httpx2.Client]:
    import httpx2

    headers = {"User-Agent": "studio"}
    if token := os.environ.get("MODELSCOPE_API_TOKEN"):
        # Some of its addresses read the one, some the other. Neither goes along to another host.
        headers |= {"Authorization": f"Bearer {token}", "Cookie": f"m_session_id={token}"}
    limits = httpx2.Timeout(SILENCE_S, connect=ANSWER_S)
    with httpx2.Client(headers=headers, timeout=limits, follow_redirects=True) as session:
        yield session


@contextlib.contextmanager
def _stream(session: httpx2.Client, wanted: Wanted, file: File, have: int) -> Iterator[httpx2.Response]:
    import httpx2

    asked = {"Revision": _revision(wanted), "FilePath": file.path}
    # Bytes are counted and checked as they are stored, so they must come unpacked.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with session.stream("GET", f"{_repository(wanted)}", params=asked, headers=headers) as answer:
            if answer.is_error:
                raise _answered(answer.status_code, wanted)
            yield answer
    except httpx2.HTTPError as error:
        raise Unreachable(brief(error)) from None


def _repository(wanted: Wanted) -> str:
    return f"{_address()}/api/v1/{wanted.kind}s/{wanted.repo}/repo"


def _listed(wanted: Wanted) -> Iterator[File]:
    asked = {"Revision": _revision(wanted)}
    with _session() as session:
        if wanted.kind == "model":
            # A listing with all folders is cut off at some length without a word, and a model lies in the top one.
            asked["Recursive"] = "False"
            yield from _files(_entries(session, f"{_repository(wanted)}/files", asked, wanted))
            return
        for page in range(1, PAGES + 1):
            more = {"Recursive": "True", "PageNumber": str(page), "PageSize": str(PAGE)}
            entries = _entries(session, f"{_repository(wanted)}/tree", asked | more, wanted)
            yield from _files(entries)
            if len(entries) < PAGE:
                return
    raise Refused(f"it has more than {PAGE * PAGES:,} files. Fetch the ones that are needed by other means.")


def _entries(session: httpx2.Client, url: str, asked: dict[str, str], wanted: Wanted) -> list[Any]:
    import httpx2

    try:
        # Each page has its own time: a long listing is no hub that hangs.
        answer = within(ANSWER_S, lambda: session.get(url, params=asked))
        if answer.is_error:
            raise _answered(answer.status_code, wanted)
        data = answer.json()["Data"]
        return list(data if isinstance(data, list) else data["Files"] or [])
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Unreachable(brief(error)) from None
    except (ValueError, KeyError, TypeError):
        raise Unreachable("what answers there does not speak as ModelScope does") from None


def _files(entries: list[Any]) -> Iterator[File]:
    for entry in entries:
        try:
            path, size, kind = str(entry["Path"]), int(entry.get("Size") or 0), entry.get("Type", "blob")
            digest = str(entry.get("Sha256") or "").lower()
            commit = str(entry.get("Revision") or entry.get("CommitId") or "")
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Unreachable("what answers there does not list files as ModelScope does") from None
        if kind == "tree":
            continue
        refuse_outside(path)
        if digest and (len(digest) != 64 or set(digest) - set("0123456789abcdef")):
            raise Refused(f"it gives {path!r} the checksum {digest[:80]!r}, which is none. Do not use it.")
        yield File(path, size, digest, commit)


def _answered(code: int, wanted: Wanted) -> Refused | Unreachable:
    page = f"{endpoint()}/{wanted.kind}s/{wanted.repo}"
    if code in (401, 403):
        return Refused(
            f"{page} is given only to accounts with a right to it (answer {code}). Ask for access on that page, then "
            "set MODELSCOPE_API_TOKEN in the environment to a token of the account."
        )
    if code == 404:
        return Refused(
            f"{endpoint()} has no {wanted.kind} {wanted.repo!r} with revision {_revision(wanted)!r} (answer 404). "
            "Check the spelling; for a private one set MODELSCOPE_API_TOKEN."
        )
    return Unreachable(f"it answers {code}")
