"""Chat templates: which one is used, and how a conversation becomes text.

A template is a Jinja file: the model's own, one that lies in `templates/` beside this module,
or the user's. To add a named one, add a file there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Never

import jinja2

from studio.errors import ModelError, RowError
from studio.model.baking import bake, baked_thinking
from studio.model.messages import Message as Message
from studio.model.messages import holds_marks, plain
from studio.model.sandbox import END, START, compiled, names_read
from studio.model.tokenizer import LightTokenizer
from studio.registry import did_you_mean
from studio.workspace import Workspace

NAMED = Path(__file__).parent / "templates"
GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
# Plain letters, so that no template changes them.
PROBE = "Qanswerq"
# What running a template on a row may raise beside Jinja's own.
_FAILURES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)

Span = tuple[int, int]


@dataclass(frozen=True)
class Template:
    """One chat template. `marked`: it says itself, by generation marks, what the model writes.

    `enable_thinking` is what was asked for, and None when the template decides.
    """

    name: str
    jinja: str
    origin: str
    marked: bool
    enable_thinking: bool | None = None

    @property
    def shows_tools(self) -> bool:
        """Whether the template reads `tools` at all."""
        return "tools" in names_read(self.jinja)

    @property
    def reads_thinking(self) -> bool:
        """Whether the template reads `enable_thinking`."""
        return "enable_thinking" in names_read(self.jinja)

    def end(self, special: Mapping[str, str]) -> str:
        """The text that closes an answer, such as <|im_end|>; "" when the template writes none.

        With marks it is what stands inside them behind the answer. Engines stop at it.
        """
        return self.closing(special) or ""

    def closing(self, special: Mapping[str, str]) -> str | None:
        """The same, and None when the template refuses to show one question and its answer."""
        probe = [{"role": "user", "content": "question"}, {"role": "assistant", "content": PROBE}]
        try:
            if self.marked:
                text, spans = self.render_marked(probe, special=special)
                return text[: spans[-1][1]].rpartition(PROBE)[2].strip() if spans else ""
            text = self.render(probe, special=special)
        except RowError:
            return None
        # Some write a second token behind the whole conversation; the first one closes the answer.
        return next(iter(text.rpartition(PROBE)[2].split()), "")

    def render(
        self,
        messages: Sequence[Message],
        *,
        special: Mapping[str, str],
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        enable_thinking: bool | None = None,
    ) -> str:
        """The text that `apply_chat_template(tokenize=False)` gives, byte for byte.

        `special` are the tokenizer's special tokens by name; `enable_thinking` None leaves that to the
        template. Raises RowError when the template refuses the conversation or cannot render it.
        """
        template = compiled(self.jinja, marks=False)
        asked = {} if enable_thinking is None else {"enable_thinking": enable_thinking}
        return self._run(template, messages, {**special, **asked}, tools, add_generation_prompt)

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
            if holds_marks(message):
                raise RowError(
                    f"message {number} must not hold the noncharacters U+FDD0 and U+FDD1, which mark "
                    "answers while rendering. Remove them from the text."
                )
        return _unmark(self._run(compiled(self.jinja, marks=True), messages, special, tools, False))

    def _run(
        self,
        template: jinja2.Template,
        messages: Sequence[Message],
        known: Mapping[str, str | bool],
        tools: list[dict[str, Any]] | None,
        add_generation_prompt: bool,
    ) -> str:
        try:
            return template.render(
                **known,
                messages=[plain(message) for message in messages],
                tools=tools,
                documents=None,
                add_generation_prompt=add_generation_prompt,
            )
        except jinja2.UndefinedError as error:
            self._refuse(f"reads something that the row lacks: {error}")
        except jinja2.TemplateError as error:
            self._refuse(f"refuses it: {error}")
        except _FAILURES as error:
            self._refuse(f"fails on it with {type(error).__name__}: {error}")

    def _refuse(self, what: str) -> Never:
        raise RowError(
            f"the chat template {self.name!r} must be able to show the row; it {what.rstrip('.')}. "
            "Correct the row, or choose another template."
        )


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


def choose_template(
    asked: str,
    tokenizer: LightTokenizer,
    place: Workspace,
    *,
    enable_thinking: bool | None = None,
    default_system: str = "",
) -> tuple[Template, list[str]]:
    """The template for `asked`, and what the user should be told about it, as sentences.

    Empty or `auto`: the model's own, or `default` for a model without one. A named template, or
    a path (with a slash, or ending .jinja) to the user's own file. `enable_thinking` and
    `default_system` become part of its source, so that whatever carries the template carries them.
    Raises ModelError for an unknown name, a file that cannot be read, a template that does not parse,
    or one that has no place for what is asked.
    """
    template, notes = _found(asked, tokenizer, place)
    template = _baked(template, tokenizer, enable_thinking, default_system)
    if enable_thinking is False:
        notes.append("enable_thinking false: answers are learned without thinking; what rows hold of it is left out")
    return template, [*notes, *_off_prompt(template, tokenizer), *_warnings(template, tokenizer)]


def _found(asked: str, tokenizer: LightTokenizer, place: Workspace) -> tuple[Template, list[str]]:
    model, own = tokenizer.name, tokenizer.chat_template
    if asked in ("", "auto"):
        if own:
            return _template(model, own, "the model's own"), [f"template: the model's own ({model})"]
        if tokenizer.other_templates:
            raise ModelError(
                f"a model with several chat templates must have one named default; {model} has only "
                f"{', '.join(tokenizer.other_templates)}. Write the one you want to a .jinja file and set "
                "template to its path."
            )
        return _named("default"), [f"template: default, because {model} has no chat template of its own"]
    if asked.endswith(".jinja") or "/" in asked:
        path = place.path(asked)
        shown = place.shown(path)
        return _template(path.stem, _read(path, shown), f"the file {shown}"), [f"template: the file {shown}"]
    template, notes = _named(asked), [f"template: {asked}"]
    if own and own != template.jinja:
        notes.append(
            f"warning: {model} has a chat template of its own, and template {asked} is another; the "
            "model must learn the new form first. Leave template empty to use its own."
        )
    return template, notes


def _baked(
    template: Template, tokenizer: LightTokenizer, enable_thinking: bool | None, default_system: str
) -> Template:
    """The template with what was asked in front of its source. Raises ModelError when it would ignore it."""
    if enable_thinking is not None and not template.reads_thinking:
        able = [name for name in named_templates() if _named(name).reads_thinking]
        raise ModelError(
            f"enable_thinking must go with a chat template that reads it; {template.origin} ({template.name}) does "
            f"not. Leave enable_thinking out, or set template to one that does: {', '.join(able)}."
        )
    chosen = template.enable_thinking if enable_thinking is None else enable_thinking
    source = bake(template.jinja, enable_thinking, default_system)
    template = replace(template, jinja=source, enable_thinking=chosen)
    if default_system:
        try:
            text = template.render([{"role": "user", "content": "question"}], special=tokenizer.special)
            why = "" if default_system.strip() in text else "it leaves the message out"
        except RowError as error:
            why = str(error).rstrip(".")
        if why:
            raise ModelError(
                f"default_system must go with a chat template that shows system messages; {template.name} does not: "
                f"{why}. Leave default_system empty, or choose another template."
            )
    return template


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
    return Template(name, source, origin, marked, baked_thinking(source))


def _off_prompt(template: Template, tokenizer: LightTokenizer) -> list[str]:
    """Told when a marked answer does not stand where the model will be asked for it."""
    question, answer = {"role": "user", "content": "question"}, {"role": "assistant", "content": PROBE}
    try:
        text, spans = template.render_marked([question, answer], special=tokenizer.special)
        prompt = template.render([question], special=tokenizer.special, add_generation_prompt=True)
    except RowError:
        return []
    if not template.marked or any(text[:start] == prompt for start, _ in spans):
        return []
    return [
        f"warning: no mark of the template {template.name} begins where its prompt ends ({prompt[-40:]!r} with "
        "add_generation_prompt), so answers are learned at another place than they are asked for."
    ]


def _warnings(template: Template, tokenizer: LightTokenizer) -> list[str]:
    """Told when an answer would be learned without its end: such a model never stops."""
    end = template.closing(tokenizer.special)
    # Nothing known: a template may want another shape of conversation; the rows will tell.
    if end is None or end.endswith(tokenizer.end_strings):
        return []
    if end and template.marked:
        return [
            f"warning: the template {template.name} ends an answer with {end}, which is no special token of "
            f"{tokenizer.name}: the model learns it as plain text, and other programs must be told to stop there."
        ]
    return [
        f"warning: the template {template.name} puts no special token at the end of what is learned, so the "
        "model does not learn where an answer stops."
    ]
