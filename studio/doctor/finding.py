"""What a check says: a state, a sentence, and what to do; and all checks at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal

from studio.errors import StudioError

State = Literal["ok", "warning", "broken"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `remedy` says what to do; empty where all is well."""

    name: str
    state: State
    text: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """As plain values, for --json."""
        return asdict(self)


def ok(name: str, text: str) -> list[Finding]:
    """All is well."""
    return [Finding(name, "ok", text)]


def warning(name: str, text: str, remedy: str) -> list[Finding]:
    """A run can start, and something will be slow, missing or in the way."""
    return [Finding(name, "warning", text, remedy)]


def broken(name: str, text: str, remedy: str) -> list[Finding]:
    """Something that runs need does not work."""
    return [Finding(name, "broken", text, remedy)]


Check = Callable[[], list[Finding]]


def look(checks: Mapping[str, Check]) -> list[Finding]:
    """What the checks say, in their order; they are made all at once. A check that fails is a finding too."""
    with ThreadPoolExecutor(max(len(checks), 1)) as pool:
        answers = [pool.submit(_one, name, check) for name, check in checks.items()]
        return [finding for answer in answers for finding in answer.result()]


def _one(name: str, check: Check) -> list[Finding]:
    try:
        return check()
    except StudioError as error:
        return broken(name, str(error), "")
    except Exception as error:  # noqa: BLE001  whatever is wrong with this machine, the other checks must be heard
        text = " ".join(str(error).split())[:300]
        return broken(name, f"the check could not be made: {type(error).__name__}: {text}", "Look at what it names.")
