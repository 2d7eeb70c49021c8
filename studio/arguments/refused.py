"""Names of the ecosystem that the studio does not take: why, and what to use instead.

A name here is known, so it is never ignored: with its harmless value (the one upstream has when
nothing is asked, or one that asks for what is done in any case) it is accepted with a note, with any
other it is refused with the sentence. Other names for what the studio has are in `aliases`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from studio.arguments.reasons import LINES

SECRET_WORDS = ("_token", "_api_key", "_secret", "_password", "_webhook_url")
# Marks of a text, not of a person.
NOT_SECRET = ("eos_token", "bos_token", "pad_token", "unk_token")
SECRET = (
    "is a secret and must never stand in a command or a file. Set it in the environment "
    "(HF_TOKEN, WANDB_API_KEY, …) instead"
)


@dataclass(frozen=True)
class Refusal:
    """Why a name is not taken; `harmless` are the values under which it asks for nothing, * is any."""

    name: str
    why: str
    harmless: tuple[str, ...]

    @property
    def fact(self) -> str:
        """The reason without its advice to leave the name out: what a note says, which left it out already."""
        return self.why.removesuffix("leave it out").removesuffix("so ").rstrip(" ,;")

    def asks_nothing(self, value: Any) -> bool:
        """Whether the value is the one upstream has by itself, or none."""
        return "*" in self.harmless or plain(value) in {*map(plain, self.harmless), "none", "null"}


def plain(value: Any) -> str:
    """A value as text in which equal ones are equal: 4 and 4.0, False and no and nothing."""
    text = str(value).strip().lower()
    if text in ("false", "0", "0.0", "no", "off", "", "()", "[]", "{}"):
        return "off"
    if text in ("true", "1", "yes", "on"):
        return "on"
    try:
        return str(float(text))
    except ValueError:
        return text


@functools.cache
def refusals() -> dict[str, Refusal]:
    """Every refused name."""
    found: dict[str, Refusal] = {}
    for names, why in LINES:
        for item in names.split():
            name, _, harmless = item.partition("=")
            if name in found:
                raise ValueError(f"{name} is refused twice")
            found[name] = Refusal(name, why, tuple(harmless.split("|")))
    return found


def is_secret(name: str) -> bool:
    """Whether a name holds a secret by its spelling (hub_token, swanlab_api_key, …)."""
    spelled = f"_{name}".lower().replace("-", "_")
    return spelled.endswith(SECRET_WORDS) and spelled[1:] not in NOT_SECRET
