"""What a work says while it goes on is known to the page, so that a Chinese page says it in Chinese."""

import ast
import re
from collections.abc import Iterator

from studio.web.language import FOLDER, LANGUAGES, strings

ROOMS = ("cleaning", "data", "evaluate", "vocabulary")
# A word and a name that are put together where the texts are said; their two parts stand below.
JOINED = {"{name} {name}": ("reading", "cleaning", "sharding", "scattering")}


def worded(node: ast.expr) -> str:
    """A text as the keys write it: `f"reading {entry.name}"` is "reading {name}"; "" for what is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(each.value if isinstance(each, ast.Constant) else "{name}" for each in node.values)  # type: ignore[misc]
    return ""


def said() -> Iterator[str]:
    """Every text that a work tells: what stands in a call of `tell`, or is called `text` or `what` on its way there."""
    for room in ROOMS:
        for path in (FOLDER.parents[1] / room).glob("*.py"):
            source = path.read_text(encoding="utf-8")
            if not re.search(r"\btell\(", source):
                continue
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "tell":
                    yield from (worded(each) for each in node.args[2:3])
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_limited":
                    yield worded(node.args[3])
                if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "text" and "ear" in source:
                    yield worded(node.value)


def test_every_phase_of_a_work_is_a_string_of_the_page() -> None:
    # Before a colon stands the model; what follows it is said as a phase of its own.
    # What begins with a space is a line of a table.
    texts = {re.sub(r"^\{name\}: ", "", text) for text in said() if text[:1] != " "} - {"", "{name}"}
    for text, words in JOINED.items():
        texts = (texts - {text}) | {f"{word} {{name}}" for word in words}
    assert {"writing weights", "asking {name}", "sharding {name}", "{name} answers"} <= texts
    for language in LANGUAGES:
        assert sorted(text for text in texts if f"works.phase.{text}" not in strings(language)) == []
