"""Chat templates compiled and run as transformers runs them, without transformers.

A template comes with a model from anywhere, so it runs in Jinja's immutable sandbox. The
environment has the settings, filters and functions that templates are written for: the text
must be byte for byte that of `apply_chat_template(tokenize=False)`, and a test holds it to that.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

# Noncharacters: no text may hold them for exchange, so they cannot be confused with an answer.
START, END = "\ufdd0", "\ufdd1"


@lru_cache(maxsize=32)
def compiled(source: str, marks: bool) -> jinja2.Template:
    """The template ready to render; with `marks`, START and END stand around what is generated.

    Raises jinja2.TemplateSyntaxError, which knows the line.
    """
    return _environment(marks).from_string(source)


@lru_cache(maxsize=32)
def names_read(source: str) -> frozenset[str]:
    """The names that the template expects from outside, such as `tools` or `bos_token`."""
    from jinja2 import meta

    return frozenset(meta.find_undeclared_variables(_environment(False).parse(source)))


class _Generation(Extension):
    """{% generation %} … {% endgeneration %}: what the model writes at inference."""

    tags = {"generation"}  # noqa: RUF012  declared by jinja2 as a plain attribute
    marks = ("", "")
    open = False

    def parse(self, parser: Parser) -> list[nodes.Node]:
        line = next(parser.stream).lineno
        if self.open:
            parser.fail("a generation block must not stand inside another", line)
        self.open = True
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        self.open = False
        before, after = (nodes.Output([nodes.TemplateData(mark)]) for mark in self.marks)
        # A scope of its own: what is set inside stays inside, as in a macro's body.
        return [part.set_lineno(line) for part in (before, nodes.Scope(body), after)]


class _Marked(_Generation):
    marks = (START, END)


class _Namespace(Namespace):
    """A namespace that takes no name with a leading underscore: no way to Python's insides."""

    def __init__(*args: Any, **values: Any) -> None:
        # Without named parameters, so that a template may write namespace(self=...).
        self, *rest = args
        Namespace.__init__(self, {})
        for name, value in dict(*rest, **values).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if str(name).startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace may not hold {name!r}; rename it.")
        super().__setitem__(name, value)


class _Dict:
    """`dict(...)` and `dict.fromkeys(...)` and nothing else of Python's dict."""

    def __call__(self, *args: Any, **values: Any) -> dict[Any, Any]:
        return dict(*args, **values)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _environment(marks: bool) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Marked if marks else _Generation, loopcontrols],
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": _strftime_now,
        "dict": _Dict(),
        "namespace": _Namespace,
    }
    return environment


def _tojson(
    x: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes HTML and sorts keys, which no model has seen.
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)
