"""Chat templates: which one is used, and how a conversation becomes text.

A template is a Jinja file: the model's own, one that lies in `templates/` beside this module,
or the user's. To add a named one, add a file there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

import jinja2

from studio.errors import ModelError, RowError
from studio.model.sandbox import END, START, compiled, names_read
from studio.model.tokenizer import LightTokenizer
from studio.registry import did_you_mean
from studio.workspace import Workspace

NAMED = Path(__file__).parent / "templates"
GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
# Names under which data sets carry the thinking; templates read the first.
REASONING = ("reasoning_content", "thinking", "reasoning")

Message = Mapping[str, Any]
Span = tuple[int, int]


@dataclass(frozen=True)
class Template:
    """One chat template. `marked`: it says itself, by generation marks, what the model writes."""

    name: str
    jinja: str
    origin: str
    marked: bool

    @property
    def shows_tools(self) -> bool:
        """Whether the template reads `tools` at all."""
        return "tools" in names_read(self.jinja)

    def render(
        self,
        messages: Sequence[Message],
        *,
        special: Mapping[str, str],
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = False,
    ) -> str:
        """The text that `apply_chat_template(tokenize=False)` gives, byte for byte.

        `special` are the tokenizer's special tokens by name. Raises RowError when the template
        refuses the conversation or cannot render it.
        """
        template = compiled(self.jinja, marks=False)
        return self._run(template, messages, special, tools, add_generation_prompt)

    def render_marked(
        self,
        messages: Sequence[Message],
        *,
        special: Mapping[str, str],
        tools: list[dict[str, Any]] | None = None,
    ) -> tuple[str, list[Span]]:
        """The same text, and the character spans that stand between generation marks.

        Raises RowError also when a message holds the noncharacters that serve as marks.
        """
        for number, message in enumerate(messages, 1):
            if _holds_marks(message):
                raise RowError(
                    f"message {number} must not hold the noncharacters U+FDD0 and U+FDD1, which mark "
                    "answers while rendering. Remove them from the text."
                )
        return _unmark(self._run(compiled(self.jinja, marks=True), messages, special, tools, False))

    def _run(
        self,
        template: jinja2.Template,
        messages: Sequence[Message],
        special: Mapping[str, str],
        tools: list[dict[str, Any]] | None,
        add_generation_prompt: bool,
    ) -> str:
        try:
            return template.render(
                **special,
                messages=[_plain(message) for message in messages],
                tools=tools,
                documents=None,
                add_generation_prompt=add_generation_prompt,
            )
        except jinja2.UndefinedError as error:
            self._refuse(f"reads something that the row lacks: {error}")
        except jinja2.TemplateError as error:
            self._refuse(f"refuses it: {error}")
        except (
            TypeError,
            ValueError,
            LookupError,
            AttributeError,
            ArithmeticError,
            RecursionError,
            MemoryError,
        ) as error:
            self._refuse(f"fails on it with {type(error).__name__}: {error}")

    def _refuse(self, what: str) -> Never:
        raise RowError(
            f"the chat template {self.name!r} must be able to show the row; it {what.rstrip('.')}. "
            "Correct the row, or choose another template."
        )


def _plain(message: Message) -> Message:
    """A message as templates expect it: no None, and thinking under the name they read."""
    if None in message.values():
        message = {key: value for key, value in message.items() if value is not None}
    for key in REASONING:
        if key in message:
            return {"thinking": message[key], **message, "reasoning_content": message[key]}
    return message


def _holds_marks(message: Message) -> bool:
    for value in message.values():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        if START in text or END in text:
            return True
    return False


def _unmark(text: str) -> tuple[str, list[Span]]:
    """Take the marks out; the spans count characters of what is left."""
    head, *marked = text.split(START)
    parts, spans, at = [head], [], len(head)
    for piece in marked:
        inside, _, behind = piece.partition(END)
        spans.append((at, at + len(inside)))
        parts += (inside, behind)
        at += len(inside) + len(behind)
    return "".join(parts), spans


def named_templates() -> list[str]:
    """The names of the templates that come with the studio."""
    return sorted(path.stem for path in NAMED.glob("*.jinja"))


def choose_template(asked: str, tokenizer: LightTokenizer, place: Workspace) -> tuple[Template, list[str]]:
    """The template for `asked`, and what the user should be told about it, as sentences.

    Empty or `auto`: the model's own, or `default` for a model without one. A named template, or
    a path (with a slash, or ending .jinja) to the user's own file.
    Raises ModelError for an unknown name, a file that cannot be read or a template that does not parse.
    """
    model, own = tokenizer.name, tokenizer.chat_template
    if asked in ("", "auto"):
        if own:
            template = _template(model, own, "the model's own")
            return template, [f"template: the model's own ({model})", *_warnings(template, tokenizer)]
        if tokenizer.other_templates:
            raise ModelError(
                f"a model with several chat templates must have one named default; {model} has only "
                f"{', '.join(tokenizer.other_templates)}. Write the one you want to a .jinja file and set "
                "template to its path."
            )
        template = _named("default")
        notes = [f"template: default, because {model} has no chat template of its own"]
    elif asked.endswith(".jinja") or "/" in asked:
        path = place.path(asked)
        shown = place.shown(path)
        template = _template(path.stem, _read(path, shown), f"the file {shown}")
        notes = [f"template: the file {shown}"]
    else:
        template = _named(asked)
        notes = [f"template: {asked}"]
        if own and own != template.jinja:
            notes.append(
                f"warning: {model} has a chat template of its own, and template {asked} is another; the "
                "model must learn the new form first. Leave template empty to use its own."
            )
    return template, [*notes, *_warnings(template, tokenizer)]


def _named(name: str) -> Template:
    known = named_templates()
    if name not in known:
        raise ModelError(
            f"template must be auto (the model's own), {', '.join(known)}, or a path to a .jinja file; "
            f"got {name!r}.{did_you_mean(name, ['auto', *known])} Leave it empty to use the model's own."
        )
    path = NAMED / f"{name}.jinja"
    return _template(name, _read(path, path.name), f"the named template {name}")


def _read(path: Path, shown: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        why = "there is no such file"
    except OSError as error:
        why = error.strerror or str(error)
    except UnicodeDecodeError as error:
        why = f"byte {error.start} is not UTF-8"
    raise ModelError(f"template must name a readable Jinja file in UTF-8; {shown}: {why}. Check the path.")


def _template(name: str, source: str, origin: str) -> Template:
    marked = bool(GENERATION.search(source))
    try:
        compiled(source, marks=marked)
    except jinja2.TemplateSyntaxError as error:
        raise ModelError(
            f"a chat template must be valid Jinja; {origin} ({name}) is not, at line {error.lineno}: "
            f"{(error.message or '').rstrip('.')}. Correct that line, or choose another template."
        ) from None
    return Template(name, source, origin, marked)


def _warnings(template: Template, tokenizer: LightTokenizer) -> list[str]:
    """Told when an answer would be learned without its end: such a model never stops."""
    probe = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
    try:
        if template.marked:
            text, spans = template.render_marked(probe, special=tokenizer.special)
            text = text[: spans[-1][1]] if spans else text
        else:
            text = template.render(probe, special=tokenizer.special)
    except RowError:
        # A template may want another shape of conversation; the rows will tell.
        return []
    if text.rstrip().endswith(tokenizer.end_strings):
        return []
    return [
        f"warning: the template {template.name} puts no special token at the end of what is learned, so the "
        "model does not learn where an answer stops."
    ]
