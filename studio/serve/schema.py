"""A request as OpenAI's clients write it: every field that is read, its type and its range.

Unknown fields are ignored, as OpenAI does; `unsupported` holds those that are refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from studio.arguments.generation import GenerationArguments
from studio.serve.unsupported import refused

MESSAGES, TOOLS, STOPS, CHOICES = 2048, 128, 16, 16
NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
# Nested deeper, a schema serves nobody and may exhaust the stack of whoever walks it.
DEPTH = 64
# Below this a temperature chooses the likeliest token but for rounding, and would carry numbers out of their range.
COLD = 0.01


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


Number = Annotated[float, BeforeValidator(_no_bool), Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True)]


class Part(BaseModel):
    """A part of a request; fields that it does not know are ignored."""

    model_config = ConfigDict(extra="ignore")


class CalledFunction(Part):
    """What a call names: the function, and its arguments as JSON text."""

    name: str = Field(min_length=1, max_length=256)
    arguments: dict[str, Any] = {}

    @field_validator("arguments", mode="before")
    @classmethod
    def _object(cls, value: Any) -> Any:
        if isinstance(value, str):
            try:
                value = json.loads(value or "{}")
            except (ValueError, RecursionError) as error:
                raise ValueError(f"must be JSON text; it cannot be read: {error}") from None
        if not isinstance(value, dict):
            raise ValueError("must be the JSON text of an object")
        return value


class Call(Part):
    """One call of an assistant's message."""

    id: str = ""
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Part):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str = ""
    reasoning_content: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    name: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        if isinstance(value, list):
            return "".join(_part_text(number, part) for number, part in enumerate(value))
        return "" if value is None else value

    @field_validator("content", "reasoning_content")
    @classmethod
    def _whole_characters(cls, value: str | None) -> str | None:
        if value is not None and any("\ud800" <= mark <= "\udfff" for mark in value):
            raise ValueError("must be text; it holds halves of characters (lone surrogates)")
        return value

    @model_validator(mode="after")
    def _complete(self) -> ChatMessage:
        if self.role != "assistant" and self.tool_calls:
            raise ValueError("tool_calls stand only in messages of the assistant")
        if self.role != "assistant" and "content" not in self.model_fields_set:
            raise ValueError("content is missing")
        return self


def as_template_reads(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """The messages as templates read them: one system role, calls with their arguments as objects."""
    names: dict[str, str] = {}
    found = []
    for message in messages:
        role = "system" if message.role == "developer" else message.role
        plain: dict[str, Any] = {"role": role, "content": message.content}
        if message.reasoning_content:
            plain["reasoning_content"] = message.reasoning_content
        if message.tool_calls:
            plain["tool_calls"] = [call.model_dump() for call in message.tool_calls]
            names |= {call.id: call.function.name for call in message.tool_calls if call.id}
        if role == "tool":
            name = message.name or names.get(message.tool_call_id or "")
            plain |= {"name": name} if name else {}
            plain |= {"tool_call_id": message.tool_call_id} if message.tool_call_id else {}
        found.append(plain)
    return found


def _part_text(number: int, part: Any) -> str:
    """The text of one part of a content list."""
    if not isinstance(part, dict) or part.get("type") not in ("text", "refusal"):
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        raise ValueError(f"part {number} must be text; pictures, sound and files are not read (got {str(kind)[:40]!r})")
    text = part.get(part["type"])
    if not isinstance(text, str):
        raise ValueError(f"part {number} must hold its text as a string")
    return text


class Function(Part):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None

    @field_validator("name")
    @classmethod
    def _named(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("must be letters, digits, _, . and -, at most 64")
        return value

    @field_validator("parameters")
    @classmethod
    def _shallow(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if _depth(value) > DEPTH:
            raise ValueError(f"must be nested at most {DEPTH} deep")
        return value


def _depth(value: Any) -> int:
    level, deepest = [value], 0
    while level and deepest <= DEPTH:
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        deepest += 1
    return deepest


class Tool(Part):
    """One tool."""

    type: Literal["function"]
    function: Function


class StreamOptions(Part):
    """What a stream tells beside the text."""

    include_usage: bool = False


class ResponseFormat(Part):
    """The form of the answer; only text can be promised."""

    type: Any = "text"

    @field_validator("type")
    @classmethod
    def _only_text(cls, value: Any) -> Any:
        if value != "text":
            raise ValueError(f"must be text: JSON cannot be promised ({str(value)[:40]!r}). Ask for it in the prompt")
        return value


class TemplateSettings(Part):
    """What a request may set of the chat template."""

    enable_thinking: Annotated[bool, Field(strict=True)] | None = None


class ChatRequest(Part):
    """The body of POST /v1/chat/completions."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1, max_length=MESSAGES)
    stream: bool = Field(False, strict=True)
    stream_options: StreamOptions | None = None
    n: Whole = Field(1, ge=1, le=CHOICES)
    max_tokens: Whole | None = Field(None, ge=1, le=10**7)
    max_completion_tokens: Whole | None = Field(None, ge=1, le=10**7)
    temperature: Number | None = Field(None, ge=0, le=2)
    top_p: Number | None = Field(None, gt=0, le=1)
    top_k: Whole | None = Field(None, ge=0, le=10**7)
    presence_penalty: Number | None = Field(None, ge=-2, le=2)
    frequency_penalty: Number | None = Field(None, ge=-2, le=2)
    repetition_penalty: Number | None = Field(None, ge=0.01, le=10)
    no_repeat_ngram_size: Whole | None = Field(None, ge=0, le=10**4)
    seed: Whole | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: list[str] = Field([], max_length=STOPS)
    tools: list[Tool] = Field([], max_length=TOOLS)
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    add_generation_prompt: bool = Field(True, strict=True)
    continue_final_message: bool = Field(False, strict=True)
    chat_template_kwargs: TemplateSettings = TemplateSettings()

    @model_validator(mode="before")
    @classmethod
    def _allowed(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        if found := refused(body):
            raise PydanticCustomError("refused_field", "{why}", {"param": found[0], "why": found[1]})
        # Clients write null for what they leave open.
        return {name: value for name, value in body.items() if value is not None}

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list) and any(each == "" for each in values):
            raise ValueError("must not hold an empty text")
        return values

    @field_validator("tool_choice")
    @classmethod
    def _choice(cls, value: Any) -> Any:
        if value not in (None, "none", "auto"):
            raise ValueError("must be none or auto: the model itself decides whether it calls a tool")
        return value

    @property
    def offered(self) -> list[dict[str, Any]] | None:
        """The tools as templates read them, or None when none may be called."""
        if not self.tools or self.tool_choice == "none":
            return None
        return [tool.model_dump(exclude_none=True) for tool in self.tools]

    @property
    def conversation(self) -> list[dict[str, Any]]:
        """The messages as templates read them."""
        return as_template_reads(self.messages)

    def asked(self, defaults: GenerationArguments) -> GenerationArguments:
        """How tokens are chosen: what the request says, else what the server was started with.

        A temperature below COLD takes the likeliest token. Any other, or a top_p or top_k alone, draws by chance.
        """
        draws = self.temperature is not None and self.temperature >= COLD
        changes: dict[str, Any] = {
            "max_new_tokens": self.max_completion_tokens or self.max_tokens,
            "temperature": self.temperature if draws else None,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "repetition_penalty": self.repetition_penalty,
            "no_repeat_ngram_size": self.no_repeat_ngram_size,
        }
        if self.temperature is not None:
            changes["do_sample"] = draws
        elif self.top_p is not None or self.top_k:
            changes["do_sample"] = True
        return defaults.model_copy(update={name: value for name, value in changes.items() if value is not None})
