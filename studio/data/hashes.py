"""What a file holds, as a hash that is not computed twice, and the key of a kept result."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import studio
from studio.data.shards import known_sha256
from studio.errors import DatasetError
from studio.workspace import write_json

# The modules that decide what a row becomes. An edit in one of them makes new rows, so that nobody
# has to remember raising a version number.
_ROW_MODULES = (
    "data", "model/tokenizer.py", "model/coverage.py", "model/templates.py", "model/messages.py", "model/sandbox.py",
    "model/words.py",
)  # fmt: skip


@dataclass(frozen=True)
class Stamp:
    """What the system knows of a file's content without reading it."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of a file as it is now."""
        known = path.stat()
        return cls(known.st_size, known.st_mtime_ns, known.st_ino)


def file_hash(path: Path, cache: Path) -> str:
    """SHA-256 of the content, in hex; kept under `cache` until the file's stamp changes.

    Raises DatasetError when the file changes while it is read.
    """
    if content := known_sha256(path):  # a shard's, from its index
        return content
    kept = cache / "hashes" / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()}.json"
    before = Stamp.of(path)
    known = _read(kept)
    if known.get("stamp") == asdict(before) and isinstance(known.get("sha256"), str):
        return str(known["sha256"])
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    must_be_unchanged(path, before)
    # Two edits within one tick of the file system's clock leave the same stamp: a file this fresh
    # is hashed again next time.
    if time.time_ns() - before.mtime_ns > 1_000_000_000:
        write_json(kept, {"path": str(path), "stamp": asdict(before), "sha256": content})
    return content


def known_hash(path: Path, cache: Path) -> str:
    """The hash where `file_hash` has kept it for the file as it is; else "". Nothing of the file is read."""
    kept = _read(cache / "hashes" / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()}.json")
    return str(kept.get("sha256", "")) if kept.get("stamp") == asdict(Stamp.of(path)) else ""


def must_be_unchanged(path: Path, before: Stamp) -> None:
    """Raises DatasetError when the file is another one than when `before` was taken."""
    if not path.exists() or Stamp.of(path) != before:
        raise DatasetError(
            f"{path} must not change while it is read; it was written to meanwhile. "
            "Wait until it is complete and run the command again."
        )


def key_of(parts: Mapping[str, Any]) -> str:
    """One hex name for everything a result depends on; equal parts give equal names."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def code_hash() -> str:
    """A hash over the source of the modules that turn files into rows, and the encoder's version."""
    import tokenizers

    root = Path(studio.__file__).parent
    files = [file for name in _ROW_MODULES for file in sorted([root / name, *(root / name).glob("*.py")])]
    together = hashlib.sha256(tokenizers.__version__.encode())
    for file in files:
        if file.is_file():
            together.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return together.hexdigest()


def _read(path: Path) -> dict[str, Any]:
    """A kept JSON object; what cannot be read is as good as not kept."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
