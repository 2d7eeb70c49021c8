"""Each argument is declared once, explained, read by some code, and means what it means upstream."""

import ast
import functools
import importlib
import inspect
import pkgutil
import runpy
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

import studio
import studio.arguments
import studio.stages
from studio.arguments.base import Argument, Arguments, declared
from studio.arguments.method import MethodArguments
from studio.arguments.upstream import upstream_arguments, upstream_fields
from studio.arguments.web import WebArguments
from studio.recipe import STAGES, arguments_of

PACKAGE = Path(studio.__file__).parent


def groups() -> list[type[Arguments]]:
    """Every group, from the modules in studio/arguments and studio/stages."""
    modules = [
        importlib.import_module(found.name)
        for package in (studio.arguments, studio.stages)
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + ".")
    ]
    return [
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Arguments) and kind is not Arguments and kind.__module__ == module.__name__
    ]


DECLARED: list[tuple[type[Arguments], Argument]] = [
    (kind, argument)
    for kind in groups()
    for argument in declared(kind.__name__, kind)
    # A field that comes from a parent class is the parent's declaration.
    if argument.name in kind.__annotations__
]


@functools.cache
def words_outside_arguments() -> frozenset[str]:
    """Every attribute, keyword and text that code outside studio/arguments mentions."""
    words: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(PACKAGE / "arguments"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                words.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
    return frozenset(words)


def test_every_argument_is_explained() -> None:
    unexplained = [f"{kind.__name__}.{argument.name}" for kind, argument in DECLARED if len(argument.help) < 15]
    assert DECLARED
    assert not unexplained, f"needs a docstring below the field: {unexplained}"


# What page and API each have for themselves, and why it is not shared.
OWN_OF_THE_PAGE = {
    "host": "the page always has a token, the API may have a key",
    "port": "each has its own usual one",
    "root_path": "what stands behind it is another",
    "public_host": "the page's may have a port and https:// before it",
    "trust_remote_code": "the page allows it, a job asks for it",
}


def test_no_argument_is_declared_twice() -> None:
    counts = Counter(argument.name for kind, argument in DECLARED if kind is not WebArguments)
    assert [argument.name for kind, argument in DECLARED if kind is WebArguments and counts[argument.name]] == [
        *OWN_OF_THE_PAGE
    ], "say in OWN_OF_THE_PAGE why the page declares it too"
    twice = [name for name, count in counts.items() if count > 1]
    assert not twice, f"declare these in one place and share it: {twice}"


def test_every_argument_is_read_by_some_code() -> None:
    # What transformers.TrainingArguments has under the same name is handed to it as it is.
    known = words_outside_arguments() | upstream_fields().keys()
    unread = [f"{kind.__name__}.{argument.name}" for kind, argument in DECLARED if argument.name not in known]
    assert not unread, f"nothing reads {unread}: an argument lands together with the code that reads it"


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, argument.name) for kind, argument in DECLARED if argument.name in upstream_fields()],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_name_from_upstream_takes_what_upstream_takes(kind: type[Arguments], name: str) -> None:
    facts = upstream_fields()[name]
    values = [*facts["choices"], *([] if facts["default"] is None else [facts["default"]])]
    for value in values:
        try:
            kind.model_validate({name: value})
        except ValidationError as refusal:
            pytest.fail(f"upstream's {name}={value!r} is refused here: {refusal}")


# Where a declaration takes other types than upstream's, and why.
OTHER_TYPES = {
    "bf16": "unset is decided from the hardware",
    "deepspeed": "it is a file; its settings cannot stand in a command",
    "fp16": "unset is decided from the hardware",
}


def test_a_name_from_upstream_has_upstreams_type() -> None:
    as_upstream = {
        argument.name: argument for argument in declared("upstream", upstream_arguments(frozenset(), frozenset()))
    }
    different = [
        argument.name
        for _, argument in DECLARED
        if (other := as_upstream.get(argument.name)) is not None
        and (set(argument.kinds), argument.optional) != (set(other.kinds), other.optional)
    ]
    assert sorted(different) == sorted(OTHER_TYPES), "say in OTHER_TYPES why a type is another than upstream's"


def test_every_stage_and_method_that_a_declaration_names_exists() -> None:
    methods = next(a.choices for a in declared("method", MethodArguments) if a.name == "finetuning_type")
    for kind, argument in DECLARED:
        assert set(argument.stages) <= set(STAGES), f"{kind.__name__}.{argument.name}"
        assert set(argument.methods) <= set(methods), f"{kind.__name__}.{argument.name}"


def test_every_argument_of_upstream_is_explained() -> None:
    for stage in STAGES:
        short = [name for name, argument in arguments_of(stage).items() if len(argument.help) < 15]
        assert not short, f"needs a sentence in HELP: {short}"


def test_the_reference_page_is_the_declarations() -> None:
    writer = runpy.run_path(str(PACKAGE.parent / "docs" / "write_arguments.py"))
    written = (PACKAGE.parent / "docs" / "arguments.md").read_text(encoding="utf-8")
    assert written == writer["page"](), "run python docs/write_arguments.py"
