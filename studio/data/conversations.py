"""Lists of turns, as two families of files write them, brought into the one shape of messages.

    from_turns      questions and answers in strict turns, tool calls and results among them
    from_messages   the messages of OpenAI's API, in the order in which they stand

Both take the words for roles and keys from the entry's tags. A message that is not to be learned
("weight": 0) keeps that key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studio.data.calls import read_call, read_calls
from studio.data.columns import in_words, names_of
from studio.data.example import Message
from studio.errors import RowError
from studio.model.messages import REASONING
from studio.registry import did_you_mean

Tags = Mapping[str, str]

OPENAI_TAGS: Tags = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function",
    "system_tag": "system",
}
_MEDIA = ("image", "images", "image_url", "video", "videos", "audio", "audios")


@dataclass(slots=True)
class _Talk:
    """A conversation as it is read. `place` counts turns, system aside: when even, a question is due."""

    column: str
    tags: Tags
    messages: list[Message]
    place: int = 0

    def take(self, turn: Mapping[str, Any], number: int) -> None:
        """A turn that is no plain question or answer in its place, or the complaint about it."""
        tags = self.tags
        role, content = turn[tags["role_tag"]], turn[tags["content_tag"]]
        if role == tags["function_tag"] and self.place & 1:
            self._call(content, number)
        elif role == tags["observation_tag"] and (not self.place & 1 or self._owed()):
            self.messages.append({"role": "tool", "content": _result(content)})
            self.place |= 1
        elif type(content) is not str:
            raise RowError(f"turn {number} must be text, but it is {in_words(content)}; correct it", column=self.column)
        elif role == tags["system_tag"] and number == 1:
            if content:
                self.messages.append({"role": "system", "content": content})
        elif role != tags[("user_tag", "assistant_tag")[self.place & 1]]:
            raise _out_of_order(role, number, self.place, self.column, tags)
        else:
            raise _empty(f"turn {number} ({role})", self.column)

    def _call(self, content: Any, number: int) -> None:
        try:
            calls, thought = read_calls(content)
        except RowError as error:
            raise RowError(f"turn {number}: {error.why}", column=self.column) from None
        thinking = {"reasoning_content": thought} if thought else {}
        self.messages.append({"role": "assistant", "content": "", **thinking, "tool_calls": calls})
        self.place += 1

    def _owed(self) -> bool:
        """Whether calls of the last answer still wait for their result."""
        for results, message in enumerate(reversed(self.messages)):
            if message["role"] != "tool":
                return 0 < results < len(message.get("tool_calls", ()))
        return False


def from_turns(
    turns: Sequence[Any], column: str, tags: Tags, *, system: str = "", answered: bool = True
) -> list[Message]:
    """The messages of a conversation in which questions and answers take turns.

    A question is a user's or a tool's result, an answer an assistant's or its tool calls; after
    several calls several results may follow. It ends with an answer, or with a question when not
    `answered`. Raises RowError with the number of the turn.
    """
    role_tag, content_tag = tags["role_tag"], tags["content_tag"]
    roles = ((tags["user_tag"], "user"), (tags["assistant_tag"], "assistant"))
    talk = _Talk(column, tags, [{"role": "system", "content": system}] if system else [])
    messages, place = talk.messages, 0
    for number, turn in enumerate(turns, 1):
        try:
            role, content = turn[role_tag], turn[content_tag]
        except (TypeError, KeyError):
            raise _no_turn(turn, number, column, tags) from None
        word, name = roles[place & 1]
        if role == word and type(content) is str and content and not content.isspace():
            messages.append({"role": name, "content": content})
            place += 1
        else:
            talk.place = place
            talk.take(turn, number)
            place = talk.place
        if len(turn) > 2 and messages:
            _carry(turn, messages[-1], number, column)
    if place == 0 or (place & 1) == answered:
        raise _wrong_end(place, answered, column, tags)
    return messages


def from_messages(
    items: Sequence[Any], column: str, tags: Tags, *, system: str = "", answered: bool = True
) -> list[Message]:
    """Messages in the shape of OpenAI's API, their order kept and nothing put in.

    The last is an answer, or none when not `answered`. Raises RowError with the number of the
    message.
    """
    roles = {
        "developer": "system",
        "function": "tool",
        tags["system_tag"]: "system",
        tags["observation_tag"]: "tool",
        tags["user_tag"]: "user",
        tags["assistant_tag"]: "assistant",
    }
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict) or tags["role_tag"] not in item:
            raise _no_turn(item, number, column, tags)
        role = item[tags["role_tag"]]
        if role == tags["function_tag"] != "function":
            name, item = "assistant", {"tool_calls": read_calls(item.get(tags["content_tag"]))[0]}
        elif isinstance(role, str) and role in roles:
            name = roles[role]
        else:
            raise _unknown_role(role, number, column, list(roles))
        try:
            messages.append(_message(name, item, tags["content_tag"]))
        except RowError as error:
            raise RowError(f"message {number} ({role}) {error.why}", column=column) from None
        _carry(item, messages[-1], number, column)
    if (messages[-1]["role"] == "assistant") != answered:
        raise _wrong_end(len(messages) if answered else 0, answered, column, tags)
    return messages


def _message(role: str, item: Mapping[str, Any], content_tag: str) -> Message:
    """One message of OpenAI's API; complaints go on after its number and role."""
    content = item.get(content_tag)
    calls = _calls(item) if role == "assistant" else []
    if role == "tool":
        content = _result(_joined(content))
    elif content is None and calls:
        content = ""
    else:
        content = _joined(content)
        if type(content) is not str:
            raise RowError(f"must have text under {content_tag!r}, but it is {in_words(content)}; correct it")
        if role != "system" and not calls and (not content or content.isspace()):
            raise RowError("is empty; fill it or take the row out")
    message: Message = {"role": role, "content": content}
    if calls:
        message["tool_calls"] = calls
    for key in ("name", "tool_call_id"):
        if isinstance(item.get(key), str):
            message[key] = item[key]
    return message


def _calls(item: Mapping[str, Any]) -> list[Message]:
    """The calls of an assistant's message; `function_call` is how they were written before `tool_calls`."""
    calls = item.get("tool_calls")
    if not calls and isinstance(item.get("function_call"), dict):
        calls = [item["function_call"]]
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise RowError(f"must have a list of tool_calls, but they are {in_words(calls)}; correct it")
    try:
        return [read_call(call) for call in calls]
    except RowError as error:
        raise RowError(f"has a wrong call: {error.why}") from None


def _joined(content: Any) -> Any:
    """The text of a content that is a list of parts; anything but text is refused."""
    if not isinstance(content, list):
        return content
    parts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        text = part.get("text") if isinstance(part, dict) else part
        if kind != "text" or not isinstance(text, str):
            shown = f"one of type {kind!r}" if kind != "text" else in_words(part)
            raise RowError(f"must be made of text parts, but it has {shown}; take it out, text alone is learned")
        parts.append(text)
    return "".join(parts)


def _result(content: Any) -> str:
    """What a tool gave back, as text; values are written as JSON."""
    if content is None:
        return ""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _carry(turn: Mapping[str, Any], message: Message, number: int, column: str) -> None:
    """What a turn says beside role and content: thinking, whether it is learned; refuse what would be lost."""
    for key in _MEDIA:
        if turn.get(key):
            raise RowError(f"turn {number} has {key!r}; only text is learned, take the row out", column=column)
    if message["role"] != "assistant":
        return
    if turn.get("tool_calls") and "tool_calls" not in message:
        why = f"turn {number} has tool_calls, which formatting openai reads and this one does not; set formatting"
        raise RowError(why, column=column)
    thought = next((turn[key] for key in REASONING if turn.get(key)), None)
    if thought is not None:
        if not isinstance(thought, str):
            raise RowError(f"the thinking of turn {number} must be text, but it is {in_words(thought)}", column=column)
        message["reasoning_content"] = thought
    # OpenAI's files say weight 0 or 1, ms-swift's loss true or false.
    for key in ("weight", "loss"):
        weight = turn.get(key)
        if weight is None or weight in (0, 1):
            if weight == 0 and weight is not None:
                message["weight"] = 0
        else:
            why = f"turn {number} has the {key} {str(weight)[:40]}, and it must be 0 or 1; correct it"
            raise RowError(why, column=column)


def _no_turn(turn: Any, number: int, column: str, tags: Tags) -> RowError:
    shape = f'{{"{tags["role_tag"]}": "{tags["user_tag"]}", "{tags["content_tag"]}": "…"}}'
    found = f"an object with {names_of(turn)}" if isinstance(turn, dict) else in_words(turn)
    return RowError(
        f"turn {number} must be {shape}, but it is {found}; correct it, or set role_tag and content_tag",
        column=column,
    )


def _out_of_order(role: Any, number: int, place: int, column: str, tags: Tags) -> RowError:
    """The complaint about a role: out of turn, or not known."""
    known = [tags[key] for key in ("user_tag", "assistant_tag", "system_tag", "function_tag", "observation_tag")]
    if role not in known:
        return _unknown_role(role, number, column, known)
    expected = tags[("user_tag", "assistant_tag")[place & 1]]
    return RowError(
        f"turn {number} must be {expected!r} but is {role!r}: after an optional {tags['system_tag']!r}, "
        f"{tags['user_tag']!r} and {tags['assistant_tag']!r} take turns, {tags['observation_tag']!r} in the place of "
        f"the first and {tags['function_tag']!r} in that of the second; reorder it",
        column=column,
    )


def _unknown_role(role: Any, number: int, column: str, known: list[str]) -> RowError:
    near = did_you_mean(role, known).rstrip(".") if isinstance(role, str) else ""
    shown = ", ".join(dict.fromkeys(known))
    return RowError(f"turn {number} has the unknown role {role!r}; the entry's tags know {shown}.{near}", column=column)


def _empty(what: str, column: str) -> RowError:
    return RowError(f"{what} is empty; fill it or take the row out", column=column)


def _wrong_end(place: int, answered: bool, column: str, tags: Tags) -> RowError:
    if not answered:
        return RowError(
            f"the prompt of a pair must end with a question ({tags['user_tag']!r}); it does not. Put what follows "
            "into chosen and rejected",
            column=column,
        )
    last = f"it ends with {tags['user_tag']!r}" if place else "it has no turn beside the system prompt"
    return RowError(
        f"a conversation must end with an answer ({tags['assistant_tag']!r}), but {last}; "
        "add the answer or take the turn out",
        column=column,
    )
