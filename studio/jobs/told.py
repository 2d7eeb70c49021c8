"""What a long command tells the page while it works, in the folder of its job; without a job, nothing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from studio.workspace import write_json

AT_MOST_EVERY_S = 0.2
RESULT = "result.json"
_last = -AT_MOST_EVERY_S


def tell(done: float, total: float, text: str = "") -> None:
    """One line of progress: so much of so much, and what is being done. The last one is never left out."""
    global _last
    folder = os.environ.get("STUDIO_JOB_FOLDER", "")
    now = time.monotonic()
    if not folder or (now - _last < AT_MOST_EVERY_S and done < total):
        return
    _last = now
    line = json.dumps({"done": done, "total": total, "text": text}, ensure_ascii=False)
    with (Path(folder) / "progress.jsonl").open("a", encoding="utf-8") as out:
        out.write(line + "\n")


def result(value: Any) -> None:
    """What came of the command, as JSON; its work is done with that."""
    if folder := os.environ.get("STUDIO_JOB_FOLDER", ""):
        write_json(Path(folder) / RESULT, value)
