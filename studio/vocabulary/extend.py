"""studio tokenizer extend: a model with more tokens, whose tables have rows for them."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from studio.errors import ArgumentError, ModelError
from studio.model.code import check_code
from studio.model.companions import write_companions
from studio.model.find import find_model
from studio.model.load import read_config
from studio.model.modelfile import modelfile
from studio.model.staging import in_the_way, refuse_nested, staged
from studio.model.tokenizer import LightTokenizer, check_against_transformers, open_tokenizer
from studio.model.tokenizer_files import SOURCES, TOKENIZER_FILE, read_object
from studio.model.weights import tensors
from studio.vocabulary import compare, model_file, rows, special, texts
from studio.vocabulary.growing import Grown, grown, token_file
from studio.vocabulary.tokenfile import opened, with_lists
from studio.works.base import Ear
from studio.workspace import Workspace, write_json, write_text

RECORD = "vocabulary.json"
# Texts whose ids are compared with those of transformers, and how much of each.
COMPARED, COMPARED_CHARACTERS = 200, 2_000
SHOWN_TOKENS = 24


def run(asked: Any, place: Workspace, ear: Ear) -> dict[str, Any]:
    """Extend a model; a plain result:

    folder, base      where the result lies, what it was made of
    how               "merges" (continued on texts), "pieces" (of a SentencePiece model) or "lists"
    scripts           the scripts whose runs became tokens; ["any"]
    tokens            {"before", "after", "added", "merges", "whole", "special"}: counts; special lists the texts
    rows              {"before", "after", "free"}: rows of the embeddings; free: those behind the last token
    start             how new rows began: subtokens, mean, random
    parameters        {"before", "after"}
    measures          {"datasets": [...], "scripts": [...]}: rows {"name", "texts", "characters", "bytes", "before":
                      {"tokens", "tokens_per_character", "bytes_per_token"}, "after": {…}} on held-out texts
    old_text          {"texts", "characters", "changed", "samples": [{"text", "token", "before", "after"}]}
    example           {"text", "before": [{"text", "ids"}], "after": [...]}, a held-out text token by token
    new_tokens        {"first": [{"id", "text"}], "last": [...]}
    left_out          {reason: [pieces]} of a SentencePiece model, at most 12 each; counts: numbers about them
    texts             {dataset: {"texts", "characters", "held_out", "held_out_characters"}}
    notes, seconds
    """
    started = time.monotonic()
    target = place.target(asked.folder.output_dir)
    if in_the_way(target, replace=asked.folder.overwrite_output_dir):
        raise ArgumentError([already(asked.folder.output_dir)])
    base = find_model(asked.extend.model_name_or_path, place)
    light = _base_tokenizer(base, place)
    refuse_nested(target, [base])
    before = rows.rows_of(base)
    lists_only = not (asked.source.dataset or asked.source.train_file or asked.extend.sentencepiece_model)
    file = token_file(light, lists_only=lists_only)
    read = texts.read(texts.Asked.of(asked), place, ear)
    found = grown(asked, file, light, read, place, ear)
    found.notes[:0] = read.notes
    raw = file.grown(found.growth) if file else with_lists(light, found.growth)
    old_text = _old_text(asked, read, light, raw, found, place, ear)
    made_of = [found.growth.made_of[token] for token in _in_order(found)]
    table = rows.Table(
        light.size, made_of, rows.rows_for(light.size + len(made_of), before, asked.extend.pad_to_multiple_of),
        asked.extend.init_new_rows, asked.sample.seed,
    )  # fmt: skip
    found.notes += _told_rows(table, before)
    room = rows.room_for(target, rows.bytes_for(base, table.rows))
    with room, staged(target, replace=asked.folder.overwrite_output_dir) as folder:
        _write_tokenizer(folder, base, light, raw, found, table, _samples(read))
        _check(folder, found, _samples(read), place)
        rows.write(base, folder, table, asked.extend.export_size, lambda a, b: ear.tell(a, b, "writing weights"))
        new = open_tokenizer(folder, place.cache)
        result = _result(asked, base, light, new, found, table, read)
        result |= {"folder": place.shown(target), "base": place.shown(base), "old_text": old_text}
        result["rows"] = {"before": before, "after": table.rows, "free": table.rows - table.size}
        result["parameters"] = _parameters(base, before, table.rows)
        _record(folder, result, base, light, table)
    return result | {"seconds": round(time.monotonic() - started, 2)}


def already(asked: str) -> str:
    """The complaint about a folder that exists."""
    return (
        f"--output_dir {asked}: must be a new folder; it exists already. Choose another name, or set "
        "--overwrite_output_dir True to move the old one aside."
    )


def _base_tokenizer(base: Path, place: Workspace) -> LightTokenizer:
    if not (base / "config.json").is_file():
        raise ModelError(
            f"{base} is an adapter; a vocabulary belongs to a whole model. Merge it first with studio export."
        )
    check_code(base, trust=False)
    if read_config(base).get("quantization_config"):
        raise ModelError(f"{base} is quantized; rounded tables get no new rows. Extend the model it was made from.")
    return open_tokenizer(base, place.cache)


def _in_order(found: Grown) -> list[str]:
    """The new tokens by their ids, which follow each other."""
    return [token for token, _ in sorted(found.growth.ids.items(), key=lambda item: item[1])]


def _old_text(
    asked: Any, read: texts.Texts, light: LightTokenizer, raw: dict[str, Any], found: Grown, place: Workspace, ear: Ear
) -> dict[str, Any]:
    """Which old texts get other ids. Raises ArgumentError when there are any and that is not allowed."""
    old = list(compare.KEPT)
    if asked.extend.old_dataset:
        more = texts.read(texts.Asked.of(asked, asked.extend.old_dataset), place, ear, hold_out=False)
        old += more.all
    elif not found.rule.all:
        old += [text for several in read.held_out.values() for text in several]
    result = compare.changed(old, light.fast, opened(raw), found.rule)
    if result["changed"] and not asked.extend.allow_changed_ids:
        first, count, of = result["samples"][0], result["changed"], result["texts"]
        raise ArgumentError([
            f"--allow_changed_ids: old text must keep its ids, but {count:,} of {of:,} texts would get others, such as "
            f"{first['text'][:60]!r} from token {first['token']} on. Name --scripts, take tokens of old text out of "
            "the lists, or allow it."
        ])  # fmt: skip
    return result


def _told_rows(table: rows.Table, before: int) -> list[str]:
    fresh = len(table.made_of)
    if table.first > before:
        return [
            f"the tokenizer had {table.first - before:,} tokens without a row in the tables; they get one at the "
            f"mean of all. The tables grow from {before:,} to {table.rows:,} rows for {table.size:,} tokens"
        ]
    if table.rows == before:
        return (
            [f"the tables had {before - table.first:,} free rows; {fresh:,} of them are used, none is added"]
            if fresh
            else []
        )
    taken = f", {before - table.first:,} of them free before" if before > table.first else ""
    return [f"the tables grow from {before:,} to {table.rows:,} rows for {table.size:,} tokens{taken}"]


def _write_tokenizer(
    folder: Path, base: Path, light: LightTokenizer, raw: dict[str, Any], found: Grown, table: rows.Table,
    samples: list[str],
) -> None:  # fmt: skip
    """Config, tokenizer and what else lies beside weights."""
    changed = special.changed_ids(found.special, found.growth, light)
    config = rows.with_vocabulary(read_config(base), table.rows) | changed
    found.notes += write_companions(folder, base, [], config, "")
    if light.files != base:
        write_json(folder / "tokenizer_config.json", read_object(light.files / "tokenizer_config.json"))
    write_json(folder / TOKENIZER_FILE, raw)
    special.write_settings(folder, found.growth, found.special, raw)
    stale = [name for name in (*SOURCES, "merges.txt", "added_tokens.json") if (folder / name).is_file()]
    if model_file.FILE in stale and _write_model(folder / model_file.FILE, raw, found, samples):
        stale.remove(model_file.FILE)
    for name in stale:
        (folder / name).unlink()
    if stale:
        found.notes.append(f"{', '.join(stale)} of the old vocabulary left out; {TOKENIZER_FILE} holds the new one")
    _tell_generation(folder, read_config(base), changed, found)
    if (folder / "Modelfile").is_file():
        write_text(folder / "Modelfile", modelfile(folder, config)[0])


def _write_model(path: Path, raw: dict[str, Any], found: Grown, samples: list[str]) -> bool:
    """SentencePiece's form of the new vocabulary in place of the old one; False, and told, where it cannot say it."""
    own = [*samples, " ".join(found.growth.plain)]
    try:
        path.write_bytes(model_file.grown_model(path, raw, found.growth, opened(raw), own))
    except ModelError as error:
        found.notes.append(f"no new {path.name}: {error}")
        return False
    return True


def _tell_generation(folder: Path, config: dict[str, Any], changed: dict[str, int], found: Grown) -> None:
    """Another end token ends answers too; the old one still does."""
    if not changed:
        return
    path = folder / "generation_config.json"
    settings = read_object(path)
    # Where it names none, the one in the base's config.json counts.
    old = settings.get("eos_token_id", config.get("eos_token_id"))
    if "eos_token_id" in changed and old not in (None, changed["eos_token_id"]):
        ends = [changed["eos_token_id"], *(old if isinstance(old, list) else [old])]
        changed = {**changed, "eos_token_id": list(dict.fromkeys(ends))}  # type: ignore[dict-item]
    write_json(path, {**settings, **changed})
    found.notes.append(f"config.json and generation_config.json name the new {', '.join(changed)}")


def _samples(read: texts.Texts) -> list[str]:
    several = [text[:COMPARED_CHARACTERS] for each in read.held_out.values() for text in each]
    return [*compare.KEPT, *several[:COMPARED]]


def _check(folder: Path, found: Grown, samples: list[str], place: Workspace) -> None:
    """Both readings of the written folder must give the ids that were planned. Raises ModelError."""
    light = open_tokenizer(folder, place.cache)
    wrong = [token for token, number in found.growth.ids.items() if light.fast.token_to_id(token) != number]
    if wrong:
        raise ModelError(
            f"every new token must have the id that was planned; {wrong[0]!r} has {light.fast.token_to_id(wrong[0])}. "
            "The tokenizer's files contradict each other; get the model anew."
        )
    own = " ".join([*found.growth.special, *list(found.growth.plain)[:COMPARED]])
    try:
        check_against_transformers(light, [*samples, own])
    except ModelError as error:
        raise ModelError(str(error).replace(str(folder), "the extended model")) from None


def _result(  # everything that is told
    asked: Any, base: Path, light: LightTokenizer, new: LightTokenizer, found: Grown, table: rows.Table,
    read: texts.Texts,
) -> dict[str, Any]:  # fmt: skip
    growth, held = found.growth, {name: several for name, several in read.held_out.items() if several}
    tokens = [(number, token) for token, number in sorted(growth.ids.items(), key=lambda item: item[1])]
    shown = [{"id": number, "text": new.fast.decode([number], skip_special_tokens=False)} for number, _ in tokens]
    example = max((text[: compare.SHOWN_CHARACTERS] for each in held.values() for text in each), key=len, default="")
    return {
        "how": found.how,
        "scripts": list(found.rule.names),
        "tokens": {
            "before": light.size, "after": table.size, "added": len(table.made_of), "merges": len(growth.merges),
            "whole": len(growth.plain), "special": [*growth.special, *growth.kept],
        },
        "start": asked.extend.init_new_rows,
        "measures": compare.measures(held, {"before": light.fast, "after": new.fast}),
        "example": {
            "text": example, "before": compare.spans(example, light.fast), "after": compare.spans(example, new.fast),
        },
        "new_tokens": {"first": shown[:SHOWN_TOKENS], "last": shown[SHOWN_TOKENS:][-SHOWN_TOKENS:]},
        "left_out": {reason: each[:12] for reason, each in found.left_out.items()},
        "counts": found.counts, "texts": read.counts(), "notes": found.notes,
    }  # fmt: skip


def _parameters(base: Path, before: int, after: int) -> dict[str, int]:
    stored = tensors(base)
    total = sum(tensor.count for tensor in stored.values())
    added = sum(tensor.count // before * (after - before) for tensor in rows.ends(stored).values())
    return {"before": total, "after": total + added}


def _record(folder: Path, result: dict[str, Any], base: Path, light: LightTokenizer, table: rows.Table) -> None:
    """vocabulary.json, which training reads for the new rows, and the card."""
    hashes = {
        "base_tokenizer": hashlib.sha256((light.files / TOKENIZER_FILE).read_bytes()).hexdigest(),
        "tokenizer": hashlib.sha256((folder / TOKENIZER_FILE).read_bytes()).hexdigest(),
    }
    first = min(table.first, result["rows"]["before"])
    added = [[first, table.size]] if table.size > first else []
    record = {
        "schema": 1, "base": result["base"], "base_size": light.size, "size": table.size, "added": added,
        "start": table.start, "hashes": hashes,
        **{key: result[key] for key in ("how", "scripts", "tokens", "rows", "measures", "old_text", "texts", "notes")},
    }  # fmt: skip
    write_json(folder / RECORD, record)
    write_text(folder / "README.md", _card(base, result))


def _card(base: Path, result: dict[str, Any]) -> str:
    tokens, measured = result["tokens"], _measured(result)
    lines = [
        "---", "library_name: transformers", f'base_model: "{base.name}"', "tags:", "- studio", "---", "",
        f"`{base.name}` with {tokens['added']:,} more tokens ({tokens['before']:,} before, {tokens['after']:,} now), "
        f"not trained since: their rows begin as {result['start']}. Pretrain it on text of the new language.", "",
        *measured, "",
        *(f"- {note}" for note in result["notes"]), "", f"The record is `{RECORD}`.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _measured(result: dict[str, Any]) -> list[str]:
    table = result["measures"]["scripts"]
    if not table:
        return []
    head = ["| held-out text | characters | tokens a character before | after |", "| --- | --- | --- | --- |"]
    return head + [
        f"| {row['name']} | {row['characters']:,} | {row['before']['tokens_per_character']:.3f} | "
        f"{row['after']['tokens_per_character']:.3f} |"
        for row in table
    ]


def as_text(found: dict[str, Any]) -> str:
    """What came of it, for a terminal."""
    tokens, kept = found["tokens"], found["old_text"]
    return "\n".join([
        f"{found['folder']}: {tokens['before']:,} tokens + {tokens['added']:,} = {tokens['after']:,}; embeddings of "
        f"{found['rows']['after']:,} rows ({found['rows']['before']:,} before), new ones begin as {found['start']}",
        *found["notes"], *_measured(found),
        f"old text: {kept['changed']:,} of {kept['texts']:,} texts without the new scripts got other ids",
        f"next: studio train --stage pt --model_name_or_path {found['folder']} …",
    ])  # fmt: skip
