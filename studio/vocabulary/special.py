"""Special tokens: names and texts from a special_tokens_map.json that a person wrote, or from a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.errors import ArgumentError, ModelError
from studio.model.tokenizer import LightTokenizer
from studio.model.tokenizer_files import read_object, token_text
from studio.vocabulary.tokenfile import Growth
from studio.workspace import write_json

LISTS = ("additional_special_tokens", "extra_special_tokens")
# Ids that config.json and generation_config.json name too.
IDS = {"bos_token": "bos_token_id", "eos_token": "eos_token_id", "pad_token": "pad_token_id"}


@dataclass
class Special:
    """Special tokens by name (`chat_end_token`), and those without one."""

    named: dict[str, str] = field(default_factory=dict)
    unnamed: list[str] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """Each token once."""
        return list(dict.fromkeys([*self.named.values(), *self.unnamed]))


def read_map(path: Path) -> Special:
    """What a special_tokens_map.json names: any key that ends in `_token`, and lists of more.

    Raises ArgumentError with everything that is wrong in it.
    """
    if not path.is_file():
        raise ArgumentError(
            [f"--special_tokens_map {path}: must be a file such as special_tokens_map.json; none is there."]
        )
    try:
        held = read_object(path)
    except ModelError as error:
        raise ArgumentError([f"--special_tokens_map: {error}"]) from None
    found, wrong = Special(), []
    for key, value in held.items():
        if key in LISTS and isinstance(value, list | Mapping):
            each = list(value.values()) if isinstance(value, Mapping) else value
            if isinstance(value, Mapping):
                found.named.update({name: token_text(one) for name, one in value.items()})
            else:
                found.unnamed += [token_text(one) for one in value]
            wrong += [f"{key} holds {one!r}, which is no token" for one in each if not token_text(one).strip()]
        elif key.endswith("_token") and token_text(value).strip():
            found.named[key] = token_text(value)
        elif key.endswith("_token") and value is None:
            continue
        else:
            wrong.append(f"{key}: {str(value)[:40]!r} is no name of a token with its text")
    if not found.texts and not wrong:
        wrong = ["it names none"]
    if wrong:
        raise ArgumentError([
            f"--special_tokens_map {path}: must lead from names that end in _token to texts, such as "
            f'{{"user_token": "<|user|>"}}; {"; ".join(wrong)}. Correct the file.'
        ])  # fmt: skip
    return found


def grow(special: Special, light: LightTokenizer, growth: Growth, free: int) -> list[str]:
    """Put the special tokens that the tokenizer lacks behind all ids from `free` on; tells what became of each."""
    added = {token.content: token for token in light.fast.get_added_tokens_decoder().values()}
    notes = []
    for text in special.texts:
        number = light.fast.token_to_id(text)
        if number is None:
            growth.special[text] = free
            growth.made_of[text] = tuple(light.fast.encode(text, add_special_tokens=False).ids)
            free += 1
        elif text not in added or not added[text].special:
            growth.kept[text] = number
            notes.append(f"{text!r} is a token already ({number:,}) and becomes special")
        else:
            notes.append(f"{text!r} is a special token already ({number:,})")
    return notes


def whole_tokens(texts: Sequence[str], light: LightTokenizer, growth: Growth, free: int) -> None:
    """Put tokens that stand for their text wherever it stands behind all ids. Raises ArgumentError for known ones."""
    known = [text for text in texts if light.fast.token_to_id(text) is not None]
    if known:
        raise ArgumentError([
            f"--add_tokens: every token must be new; {len(known)} are in the vocabulary already: "
            f"{', '.join(map(repr, known[:5]))}. Take them out of the list."
        ])  # fmt: skip
    for place, text in enumerate(texts):
        growth.plain[text] = free + place
        growth.made_of[text] = tuple(light.fast.encode(text, add_special_tokens=False).ids)


def write_settings(folder: Path, growth: Growth, special: Special, raw: Mapping[str, Any]) -> None:
    """Tell the small files of a tokenizer in `folder` of the new tokens, as `raw` (tokenizer.json) lists them."""
    path = folder / "tokenizer_config.json"
    config = read_object(path)
    if "added_tokens_decoder" in config:
        fresh = {**growth.special, **growth.plain, **growth.kept}
        rows = {str(entry["id"]): entry for entry in raw["added_tokens"] if entry["content"] in fresh}
        config["added_tokens_decoder"] |= {
            number: {key: value for key, value in row.items() if key != "id"} for number, row in rows.items()
        }
    config |= special.named
    if special.unnamed:
        key = next((name for name in LISTS if isinstance(config.get(name), list)), "extra_special_tokens")
        before = [token_text(one) for one in config.get(key) or []] if isinstance(config.get(key), list) else []
        if not isinstance(config.get(key), Mapping):
            config[key] = list(dict.fromkeys([*before, *special.unnamed]))
    write_json(path, config)
    named = folder / "special_tokens_map.json"
    if named.is_file():
        write_json(named, {**read_object(named), **special.named})


def changed_ids(special: Special, growth: Growth, light: LightTokenizer) -> dict[str, int]:
    """What config.json must say where the begin, end or padding token became another."""
    return {
        IDS[name]: growth.special.get(text, light.fast.token_to_id(text) or 0)
        for name, text in special.named.items()
        if name in IDS and light.special.get(name) != text
    }
