"""Writes docs/arguments.md from the declarations: python docs/write_arguments.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from studio.arguments.aliases import Alias, aliases
from studio.arguments.base import Argument, declared
from studio.arguments.chat import ChatArguments
from studio.arguments.export import ExportArguments
from studio.arguments.generation import GenerationArguments
from studio.arguments.preview import EntryArguments, PreviewArguments, SourceArguments
from studio.arguments.refused import refusals
from studio.arguments.serve import EngineArguments, ServeArguments
from studio.arguments.web import WebArguments
from studio.command import to_text
from studio.recipe import STAGES, arguments_of

PAGE = Path(__file__).with_name("arguments.md")
HEAD = """# Arguments

Written by `python docs/write_arguments.py` from the declarations; a test compares the two.

## How they are written

```
studio train [FILE.yaml|FILE.json] [name=value …] [--name value] [--name=value] [--flag]
```

- What the line says wins over what the file says. A name may stand once on the line.
- A bare `--flag` is true. True is `True`, `true` or `1`; false is `False`, `false` or `0`.
- Names in a list have commas or blanks between them: `--dataset a,b` or `--dataset a b`.
- Where nothing is a value of its own, it is written `None` or `null`; in a file `null` is as if the line were away.
- An object is JSON text, `--lr_scheduler_kwargs '{"min_lr": 1e-6}'`, or nested below its name in a file.
- A value that begins with a dash may hang on its name: `--run_name=-x`.
- In YAML every plain value is read as text and then by the argument's own type, so `1e-4` is a number and `no`, `010`
  and `12:30` stay text. Tags, anchors, aliases, merge keys, duplicate names and several documents are refused.
- Secrets (`hub_token`, API keys) are refused everywhere; they belong in the environment.

**Bold** names are basic: what most runs set. The others are for experts.
"""
TITLES = {
    "model": "Which weights",
    "template": "The chat template",
    "data": "Which rows",
    "method": "Which weights learn",
    "training": "The course of a run",
    "upstream": "Other fields of transformers.TrainingArguments",
}
VERBS = {
    "studio export": (ExportArguments,),
    "studio chat": (ChatArguments, GenerationArguments, EngineArguments),
    "studio api": (ServeArguments,),
    "studio webui": (WebArguments,),
    "studio data preview": (PreviewArguments,),
    "studio data add": (SourceArguments, EntryArguments),
}


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_train(), *_verbs(), *_other_names(), *_refused()]) + "\n"


def _train() -> Iterator[str]:
    known = arguments_of("sft").values()
    yield "## studio train\n"
    for group, title in TITLES.items():
        yield from _table(f"### {title}", [argument for argument in known if argument.group == group])
        if group == "training":
            for name in STAGES:
                stage = STAGES[name]
                yield from _table(f"### Stage {name}: {stage.title}", list(declared("own", stage.fields)))


def _verbs() -> Iterator[str]:
    for verb, kinds in VERBS.items():
        found = [argument for kind in kinds for argument in declared("", kind)]
        yield from _table(f"## {verb}", found)


def _table(title: str, found: Iterable[Argument]) -> Iterator[str]:
    lines = [_line(argument) for argument in found]
    if lines:
        yield f"{title}\n\n| name | what may be written | default | what it does |\n|---|---|---|---|"
        yield "\n".join(lines) + "\n"


def _line(argument: Argument) -> str:
    name = f"`{argument.name}`"
    default = "" if argument.default in (None, "", ()) else f"`{to_text(argument.default)}`"
    words = ", ".join(f"`{word}`" for word in argument.choices)
    only = [f"finetuning_type {' or '.join(argument.methods)}"] if argument.methods else []
    only += [f"stage {' or '.join(argument.stages)}"] if argument.stages else []
    about = argument.help + (f" Only with {', '.join(only)}." if only else "")
    cells = [f"**{name}**" if argument.level == "basic" else name, words or argument.allowed, default, about]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _other_names() -> Iterator[str]:
    yield (
        "## Other names\n\nNames of other programs and of earlier versions are read as ours, with a note, wherever an "
        "argument may stand. Two names for one argument may stand together only with the same value.\n\n"
        "| other names | our name | how their values are read |\n|---|---|---|"
    )
    rows: dict[tuple[str, str], list[str]] = {}
    for alias in aliases().values():
        rows.setdefault((alias.ours, _rule(alias)), []).append(f"`{alias.name}`")
    lines = [f"| {' '.join(names)} | `{ours}` | {rule} |" for (ours, rule), names in rows.items()]
    yield "\n".join(lines) + "\n"


def _rule(alias: Alias) -> str:
    words = [f"`{word}` is `{ours}`" if ours else f"`{word}` asks for nothing" for word, ours in alias.words.items()]
    return ", ".join([*words, alias.remark] if alias.remark else words)


def _refused() -> Iterator[str]:
    yield (
        "## Names that are not taken\n\nThey are known, and never ignored: with a value that asks for nothing they are "
        "accepted with a note, with any other they are refused with the sentence. Those with a star are accepted "
        "with any value.\n\n| names | why, and what to do |\n|---|---|"
    )
    reasons: dict[str, list[str]] = {}
    for refusal in refusals().values():
        star = "\\*" if "*" in refusal.harmless else ""
        reasons.setdefault(refusal.why, []).append(f"`{refusal.name}`{star}")
    yield "\n".join(f"| {' '.join(names)} | {why.replace('|', chr(92) + '|')} |" for why, names in reasons.items())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
