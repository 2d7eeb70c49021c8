"""Rows without an entry: which format they have, and what their columns mean, told from the first of them.

Few bad rows among them change nothing: they are told by their numbers when they are read. The shape
of the values decides first (a list of messages, a pair of sides), then the names that columns
usually have. Where two readings are possible nothing is guessed: the complaint names the
columns and the entry to write.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.data.columns import listed
from studio.data.entry import entry_of
from studio.data.example import FORMATS, to_example
from studio.data.shapes import LABELS, most_of, shape_of
from studio.errors import DatasetError, RowError

Rows = Sequence[Mapping[str, Any]]

# What a column may be called, in small letters.
_PROMPT = (
    "instruction", "prompt", "question", "query", "input", "human", "user", "ask", "problem",
    "问题", "提问", "问",
)  # fmt: skip
_ANSWER = (
    "output", "response", "answer", "completion", "target", "assistant", "reply", "solution",
    "回答", "答案", "回复", "答",
)  # fmt: skip
_TEXT = ("text", "data", "content")
_CHOSEN, _REJECTED = ("chosen", "selected", "accepted"), ("rejected",)
_SYSTEM = ("system", "system_prompt", "meta_instruction")
# Two of the names of a prompt that go together: the instruction, and what it is applied to.
_QUERIES = {
    "instruction": ("input", "context"),
    "prompt": ("query", "input", "context"),
}
# The shape of a conversation leads to its format.
_CHATS = {"messages": "openai", "turns": "sharegpt", "exchanges": "firefly", "rounds": "xtuner", "moss": "moss"}
_USER = ("user", "human", "用户")
_ASSISTANT = ("assistant", "gpt", "bot", "chatbot", "model", "ai", "助手")


@dataclass(frozen=True)
class Guess:
    """What the rows seem to be. `columns` is empty where the defaults of the format fit; `why` is a sentence."""

    formatting: str
    columns: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    ranking: bool = False
    why: str = ""

    def entry(self) -> dict[str, Any]:
        """The keys of an entry of dataset_info.json that say the same, file_name aside."""
        said: dict[str, Any] = {} if self.formatting == "alpaca" else {"formatting": self.formatting}
        said |= {"ranking": True} if self.ranking else {}
        said |= {"columns": dict(self.columns)} if self.columns else {}
        return said | ({"tags": dict(self.tags)} if self.tags else {})


@dataclass(frozen=True)
class _Sample:
    """The first rows, and the shape of the values of each of their columns."""

    shapes: Mapping[str, str]
    rows: Rows

    def named(self, names: Sequence[str], *shapes: str) -> list[str]:
        """The columns of one of these names, in the order of the names, whose values have such a shape."""
        return [
            column
            for name in names
            for column, shape in self.shapes.items()
            if column.strip().lower() == name and shape in (shapes or ("text",))
        ]

    def values(self, column: str) -> list[Any]:
        """The values of a column; what a text holds as a JSON list counts as that list."""
        return [listed(row.get(column)) for row in self.rows]


def recognise(rows: Rows) -> Guess:
    """What the rows are, from the first of them.

    Raises DatasetError that names the columns when nothing fits, or more than one thing.
    """
    if not rows:
        raise DatasetError("a file must have a row to tell its format from; this one has none.")
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))
    sample = _Sample({name: shape_of([row.get(name) for row in rows], name) for name in columns}, rows)
    for look in (_sides, _chat, _exchange, _running_text):
        guess = look(sample)
        if guess:
            _must_read(guess, sample)
            return guess
    mixed = [name for name, shape in sample.shapes.items() if shape == "mixed"]
    more = f"; the values of {', '.join(mixed)} are of several kinds" if mixed else ""
    raise _unclear(sample, f"no format is known that has these{more}")


def _must_read(guess: Guess, sample: _Sample) -> None:
    """Raise DatasetError when the guess reads none of the rows."""
    entry = entry_of("recognised", {"file_name": "rows.json", **guess.entry()}, Path(), Path())
    why = ""
    for row in sample.rows:
        try:
            to_example(dict(row), entry)
        except RowError as error:
            why = why or str(error)
            continue
        return
    look = f"they look like {guess.formatting} ({guess.why})"
    raise _unclear(sample, f"{look}, but no row reads so: {why}", guess.entry())


def _sides(sample: _Sample) -> Guess | None:
    """Pairs of a chosen and a rejected answer."""
    shapes = ("text", "message", "messages", "turn", "turns")
    chosen, rejected = sample.named(_CHOSEN, *shapes), sample.named(_REJECTED, *shapes)
    if not chosen or not rejected:
        return None
    sides = {"chosen": chosen[0], "rejected": rejected[0]}
    whole = sample.shapes[chosen[0]] in ("messages", "turns") and _begins_asking(sample.values(chosen[0]))
    chats = [name for name in _chats(sample) if name not in (chosen[0], rejected[0])]
    prompts = sample.named(_PROMPT, "text", "messages", "turns")
    more = _more(sample)
    if len(chosen) > 1 or (len(prompts) > 1 and not _queried(sample, prompts)):
        raise _unclear(sample, f"several may be the prompt or a side of a pair ({', '.join([*prompts, *chosen])})")
    if prompts:
        query = _queried(sample, prompts)
        found = {"prompt": prompts[0], **({"query": query} if query else {}), **sides, **more}
        if query:
            return _made("alpaca", found, {}, ranking=True, why="it has a prompt, and two answers to it", sample=sample)
        return _made("pairs", found, {}, why="it has a prompt, and two answers to it", sample=sample)
    if len(chats) == 1 and not whole:
        form = _CHATS[sample.shapes[chats[0]]]
        if form in ("openai", "sharegpt"):
            tags = _tags(sample, chats[0])
            found = {"messages": chats[0], **sides, **more}
            why = "it has a conversation, and two answers to it"
            return _made(form, found, tags, ranking=True, why=why, sample=sample)
    if whole:
        return _made("pairs", {**sides, **more}, {}, why="it has two whole conversations", sample=sample)
    raise _unclear(sample, f"{chosen[0]} and {rejected[0]} are a pair, and no column is its prompt")


def _chat(sample: _Sample) -> Guess | None:
    """A column of turns in one of the known shapes."""
    chats = _chats(sample)
    if len(chats) > 1:
        raise _unclear(sample, f"several hold a conversation ({', '.join(chats)})")
    if not chats:
        return None
    if _both(sample):
        asked, answer = _both(sample)
        raise _unclear(sample, f"{chats[0]} holds a conversation, and {asked} and {answer} another")
    column, shape = chats[0], sample.shapes[chats[0]]
    form, tags = _CHATS[shape], _tags(sample, chats[0])
    if form == "openai" and tags:
        # Other words for the roles: the format that takes them from tags.
        form, tags = "sharegpt", {"role_tag": "role", "content_tag": "content", **tags}
    found = {"messages": column, **_more(sample)}
    label = sample.named(LABELS, "flag")
    if label:
        found["kto_tag"] = label[0]
    why = f"{column} holds {_SAID[shape]}" + (f", and {label[0]} says whether it is wanted" if label else "")
    return _made(form, found, tags, why=why, sample=sample)


_SAID = {
    "messages": "lists of messages with role and content",
    "turns": "lists of turns with from and value",
    "exchanges": "lists of human and assistant",
    "rounds": "lists of input and output",
    "moss": "rounds of Human and MOSS",
}


def _exchange(sample: _Sample) -> Guess | None:
    """A question and an answer, each in a column of text."""
    prompts, answers = sample.named(_PROMPT), sample.named(_ANSWER)
    if not prompts or not answers:
        return None
    query = _queried(sample, prompts)
    if len(answers) > 1 or (len(prompts) > 1 and not query):
        raise _unclear(sample, f"several may be the question or the answer ({', '.join([*prompts, *answers])})")
    found = {"prompt": prompts[0], **({"query": query} if query else {}), "response": answers[0], **_more(sample)}
    history = sample.named(("history",), "history")
    if history:
        found["history"] = history[0]
    label = sample.named(LABELS, "flag")
    if label:
        found["kto_tag"] = label[0]
    form = "firefly" if (prompts[0], answers[0], len(found)) == ("input", "target", 2) else "alpaca"
    why = f"{' and '.join(filter(None, (prompts[0], query)))} may be the question, {answers[0]} the answer"
    return _made(form, found, {}, why=why, sample=sample)


def _running_text(sample: _Sample) -> Guess | None:
    """A column of running text: one of the usual name, or the only column."""
    found = sample.named(_TEXT)
    texts = [column for column, shape in sample.shapes.items() if shape == "text"]
    if not found and len(sample.shapes) == 1:
        found = texts
    if len(found) > 1:
        raise _unclear(sample, f"several may be the text ({', '.join(found)})")
    if not found or sample.named(_PROMPT[:4]) or sample.named(_ANSWER):
        return None
    values = [value.lstrip() for value in sample.values(found[0]) if isinstance(value, str)]
    written = values and all(value.startswith(("<s>Human:", "<s>System:")) for value in values)
    why = f"{found[0]} holds " + ("conversations written as <s>Human: …</s>" if written else "running text")
    return _made("atom" if written else "text", {"prompt": found[0]}, {}, why=why, sample=sample)


def _made(
    form: str, found: dict[str, str], tags: dict[str, str], *, why: str, sample: _Sample, ranking: bool = False
) -> Guess:
    """The guess, without columns where they are the defaults; it says which columns are not read."""
    defaults = FORMATS[form].columns
    usual = all(defaults.get(meaning) == column for meaning, column in found.items()) and not ranking
    unread = [column for column in sample.shapes if column not in found.values()]
    why += f"; {', '.join(unread[:8])}{' and more' if len(unread) > 8 else ''} not read" if unread else ""
    return Guess(form, {} if usual else found, tags, ranking, why)


def _more(sample: _Sample) -> dict[str, str]:
    """The columns beside a conversation that it is shown with: its system prompt and its tools."""
    system = sample.named(_SYSTEM)
    tools = sample.named(("tools",), "text", "list", "object", "nothing")
    return {**({"system": system[0]} if system else {}), **({"tools": tools[0]} if tools else {})}


def _both(sample: _Sample) -> list[str]:
    """The columns of a question and an answer in text, empty without both."""
    prompts, answers = sample.named(_PROMPT), sample.named(_ANSWER)
    return [prompts[0], answers[0]] if prompts and answers else []


def _queried(sample: _Sample, prompts: Sequence[str]) -> str:
    """The column that goes with the first prompt, when there is no other besides; else ""."""
    fitting = sample.named(_QUERIES.get(prompts[0].strip().lower(), ()))
    return fitting[0] if fitting and set(prompts) <= {prompts[0], fitting[0]} else ""


def _chats(sample: _Sample) -> list[str]:
    return [column for column, shape in sample.shapes.items() if shape in _CHATS]


def _begins_asking(values: Sequence[Any]) -> bool:
    """Whether lists of messages begin with something else than an answer."""
    first = [turns[0] for value in values if (turns := _turns(value))]
    begun = [str(turn.get("role", turn.get("from", ""))).lower() in _ASSISTANT for turn in first]
    return sum(begun) <= len(begun) / 2


def _turns(value: Any) -> list[dict[str, Any]]:
    """The turns of a conversation, none of a value that is no such list."""
    whole = isinstance(value, list) and all(isinstance(turn, dict) for turn in value)
    return value if whole else []


def _tags(sample: _Sample, column: str) -> dict[str, str]:
    """The words for user and assistant where they are not those of the format."""
    shape = sample.shapes[column]
    if shape not in ("messages", "turns"):
        return {}
    key = "role" if shape == "messages" else "from"
    seen = Counter(str(turn.get(key)) for turns in sample.values(column) for turn in _turns(turns))
    known = {**{"user_tag": "human", "assistant_tag": "gpt"}, **FORMATS[_CHATS[shape]].tags}
    tags = {}
    for tag, words in (("user_tag", _USER), ("assistant_tag", _ASSISTANT)):
        found = {word: count for word, count in seen.items() if word.lower() in words}
        usual = most_of(Counter(found).elements())
        if found and not usual:
            raise _unclear(sample, f"{column} has several words for one role ({', '.join(found)})")
        if found and usual != known[tag]:
            tags[tag] = usual
    return tags


def _unclear(sample: _Sample, why: str, said: Mapping[str, Any] | None = None) -> DatasetError:
    """The complaint, with an entry to write: `said`, or one for a question and an answer."""
    columns = ", ".join(f"{name} ({shape})" for name, shape in list(sample.shapes.items())[:20])
    texts = [name for name, shape in sample.shapes.items() if shape in ("text", "mixed")]
    texts = texts if len(texts) > 1 else ["question", "answer"]
    said = said or {"columns": {"prompt": texts[0], "response": texts[-1]}}
    written = json.dumps({"my_data": {"file_name": "…", **said}}, ensure_ascii=False)
    why = why if why.endswith((".", "?")) else f"{why}."
    return DatasetError(
        f"the columns must say what the rows are; they are {columns}, and {why} Write an entry in dataset_info.json "
        f"that says it, for example {written}, and name it as the dataset."
    )
