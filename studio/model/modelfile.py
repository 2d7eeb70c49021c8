"""An Ollama Modelfile for a model folder, its TEMPLATE derived from the chat template.

Ollama renders prompts with Go templates. The Jinja template is rendered with marks in place of
the contents; what stands between the marks are the pieces of the Go template. The pieces are then
put together for other conversations and compared with what Jinja gives: only when every one is
the same is a TEMPLATE written, else the file says why there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import RowError
from studio.model.templates import Message, Template
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.model.tokenizer_files import TOKENIZER_FILE

# A context this long is asked for even when the model could take more: Ollama reserves the
# memory for all of it at once.
CONTEXT_TOKENS = 8192
# Unlikely in any template, and plain letters so that no filter changes them.
MARKS = ("Qsystemq", "Quseroneq", "Qanswerq", "Qusertwoq", "Qlastq")


@dataclass(frozen=True)
class Pieces:
    """The text around the contents: of the system message, a question and an answer.

    `without_system` stands in place of the whole system block in a conversation that has none.
    `before_system` is None when the template takes no system message.
    """

    before_system: str | None
    after_system: str
    without_system: str
    before_user: str
    after_user: str
    after_answer: str

    def text(self, messages: Sequence[Message]) -> str:
        """What Ollama makes of a conversation that ends with a question."""
        system = next((m["content"] for m in messages if m["role"] == "system"), None)
        parts = [self.without_system]
        if system is not None:
            parts = [self.before_system or "", system, self.after_system]
        for message in messages:
            if message["role"] == "user":
                parts += [self.before_user, message["content"], self.after_user]
            elif message["role"] == "assistant":
                parts += [message["content"], self.after_answer]
        return "".join(parts)

    @property
    def go(self) -> str:
        """The same as a Go template."""
        start = self.without_system
        if self.before_system is not None:
            block = f"{self.before_system}{{{{ .System }}}}{self.after_system}"
            start = "{{ if .System }}" + block
            start += ("{{ else }}" + self.without_system if self.without_system else "") + "{{ end }}"
        return (
            start
            + '{{ range .Messages }}{{ if eq .Role "user" }}'
            + f"{self.before_user}{{{{ .Content }}}}{self.after_user}"
            + '{{ else if eq .Role "assistant" }}{{ .Content }}'
            + f"{self.after_answer}{{{{ end }}}}{{{{ end }}}}"
        )


def modelfile(folder: Path, config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The Modelfile for an export, and notes on what it lacks."""
    lines = ["# Make the model with: ollama create NAME -f Modelfile", "FROM .", ""]
    if not (folder / TOKENIZER_FILE).is_file():
        note = f"the Modelfile has no TEMPLATE and no stop words: there is no {TOKENIZER_FILE}"
        return "\n".join([*lines[:2], f"# {note}", ""]), [note]
    tokenizer = open_tokenizer(folder, folder)
    notes = []
    pieces, why = derive(tokenizer)
    if pieces is None:
        notes.append(f"the Modelfile has no TEMPLATE: {why}")
        lines += [f"# {notes[0]}", ""]
    else:
        if pieces.before_system is None:
            lines.append("# The chat template takes no system message, so TEMPLATE leaves one out.")
        lines += [f'TEMPLATE """{pieces.go}"""', ""]
    for stop in _stops(tokenizer, pieces):
        lines.append(f'PARAMETER stop "{stop}"')
    context = config.get("max_position_embeddings") or config.get("n_positions")
    if isinstance(context, int):
        lines.append(f"PARAMETER num_ctx {min(context, CONTEXT_TOKENS)}")
    return "\n".join(lines) + "\n", notes


def _stops(tokenizer: LightTokenizer, pieces: Pieces | None) -> list[str]:
    """The strings that end an answer: the end tokens, and the special tokens after an answer."""
    stops = [tokenizer.eos_token]
    stops += [token for id in tokenizer.stop_ids if (token := tokenizer.fast.id_to_token(id))]
    if pieces is not None:
        stops += [token for token in tokenizer.end_strings if token in pieces.after_answer]
    return [stop for stop in dict.fromkeys(stops) if stop and not set(stop) & set('"\n\\')]


def derive(tokenizer: LightTokenizer) -> tuple[Pieces | None, str]:
    """The pieces of the tokenizer's chat template, or None and the reason."""
    if not tokenizer.chat_template:
        return None, "the model has no chat template"
    template = Template("export", tokenizer.chat_template, "the model's own", False)
    try:
        pieces = _probe(template, tokenizer)
    except (RowError, ValueError):
        return None, "the chat template cannot be taken apart at its contents"
    found = (pieces.before_system or "", *_parts(pieces))
    if any(mark in part for part in found for mark in ("{{", "}}", '"""')):
        return None, "the chat template writes braces or quotes that have a meaning there"
    if not all(_agrees(pieces, template, tokenizer, messages) for messages in _trials(pieces)):
        return None, "the chat template treats earlier turns unlike the last, which cannot be said there"
    return pieces, ""


def _parts(pieces: Pieces) -> tuple[str, ...]:
    return (
        pieces.after_system,
        pieces.without_system,
        pieces.before_user,
        pieces.after_user,
        pieces.after_answer,
    )


def _probe(template: Template, tokenizer: LightTokenizer) -> Pieces:
    system, question, answer, second, last = MARKS
    talk = [_user(question), _answer(answer), _user(second)]
    text = template.render([*talk, _answer(last)], special=tokenizer.special)
    start, after_user, between, _, after_answer = _split(text, question, answer, second, last)
    if not between.startswith(after_answer):
        raise ValueError("what follows the last answer differs from what follows an earlier one")
    before_user = between.removeprefix(after_answer)
    if not start.endswith(before_user):
        raise ValueError("the first question begins unlike a later one")
    start = _without_bos(start, tokenizer)
    without_system = start[: len(start) - len(before_user)]
    before_system, after_system = None, ""
    try:
        full = template.render([_system(system), *talk], special=tokenizer.special)
        head, middle, *_ = _split(full, system, question)
    except (RowError, ValueError):
        # Some templates take no system message.
        return Pieces(None, "", without_system, before_user, after_user, after_answer)
    if not middle.endswith(before_user):
        raise ValueError("the question after a system message begins unlike a later one")
    after_system = middle[: len(middle) - len(before_user)]
    before_system = _without_bos(head, tokenizer)
    return Pieces(before_system, after_system, without_system, before_user, after_user, after_answer)


def _split(text: str, *marks: str) -> list[str]:
    """The text between the marks; each must stand in it once and in order."""
    parts = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            raise ValueError(f"{mark} stands not once")
        parts.append(before)
    return [*parts, text]


def _without_bos(text: str, tokenizer: LightTokenizer) -> str:
    """Ollama puts the begin token itself where the tokenizer does, so the template must not."""
    bos = tokenizer.bos_token
    adds = bos and tokenizer.fast.encode("a").ids[:1] == [tokenizer.fast.token_to_id(bos)]
    return text.removeprefix(bos) if adds else text


def _trials(pieces: Pieces) -> list[list[Message]]:
    short: list[Message] = [_user("How far is it?")]
    long: list[Message] = [*short, _answer("Twelve miles.\n\nOr 19 km."), _user("  And back? ")]
    system: list[Message] = [] if pieces.before_system is None else [_system("Be brief.")]
    return [short, long, [*system, *short], [*system, *long]]


def _agrees(pieces: Pieces, template: Template, tokenizer: LightTokenizer, messages: Sequence[Message]) -> bool:
    # Ollama hands contents over as they are; a template that strips them differs only in that.
    stripped = [{**message, "content": str(message["content"]).strip()} for message in messages]
    for variant in (messages, stripped):
        try:
            text = template.render(variant, special=tokenizer.special, add_generation_prompt=True)
        except RowError:
            return False
        if pieces.text(variant) == _without_bos(text, tokenizer):
            return True
    return False


def _system(content: str) -> Message:
    return {"role": "system", "content": content}


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _answer(content: str) -> Message:
    return {"role": "assistant", "content": content}
