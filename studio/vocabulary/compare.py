"""Two vocabularies on the same texts: tokens by dataset and script, ids that changed, the text token by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from studio.vocabulary.merging import batches
from studio.vocabulary.scripts import Rule, letters

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHOWN_CHANGES = 8
SHOWN_CHARACTERS = 400
NO_LETTERS = "no letters"
# Text of many kinds that a new language must not touch; the sentences mean little.
KEPT = (
    "The quick brown fox jumps over the lazy dog; it's 1,234.56 metres (about 4,050 ft) away.",
    "Der Zwölfjährige aß früh süße Äpfel. Où êtes-vous, garçon ? ¿Qué pasó mañana? Un cafe\u0301.",
    "Привет, как дела? Это простое предложение. Καλημέρα κόσμε, τι κάνεις;",
    "مرحبا بالعالم، كيف حالك؟ שלום עולם, מה שלומך?",
    "नमस्ते दुनिया, आप कैसे हैं? สวัสดีชาวโลก สบายดีไหม",
    "こんにちは、せかい。ひらがなとカタカナ。 안녕하세요 세계, 어떻게 지내세요?",
    "你好，世界。今天的天气很好，我们去公园走走。",
    "def area(r: float) -> float:\n    return 3.14159 * r ** 2\n\n<a href='x.html'>x</a>\t{\"k\": [1, null]}",
    "∑ᵢ xᵢ² ≤ ∫ f(x) dx ≠ √2 → ∞, 20 °C, €5 — “quoted” … 😀👍🏽🇫🇷",
)


def tokens_in(texts: Sequence[str], fast: Tokenizer) -> list[int]:
    """How many tokens each text is."""
    return [
        len(encoding.ids)
        for batch in batches(texts)
        for encoding in fast.encode_batch_fast(batch, add_special_tokens=False)
    ]


def measures(
    texts: Mapping[str, Sequence[str]], tokenizers: Mapping[str, Tokenizer]
) -> dict[str, list[dict[str, Any]]]:
    """Characters, bytes and tokens by dataset and by the script that most letters of a text are of.

    {"datasets": [...], "scripts": [...]}, each {"name", "texts", "characters", "bytes", and of each tokenizer by
    its name {"tokens", "tokens_per_character", "bytes_per_token"}}, the most text first.
    """
    by_dataset: dict[str, dict[str, Any]] = {}
    by_script: dict[str, dict[str, Any]] = {}
    for name, several in texts.items():
        counts = {label: tokens_in(several, fast) for label, fast in tokenizers.items()}
        for place, text in enumerate(several):
            tokens = {label: each[place] for label, each in counts.items()}
            for table, key in ((by_dataset, name), (by_script, main_script(text))):
                row = table.setdefault(key, {"texts": 0, "characters": 0, "bytes": 0, **dict.fromkeys(tokens, 0)})
                row["texts"] += 1
                row["characters"] += len(text)
                row["bytes"] += len(text.encode(errors="replace"))
                for label, count in tokens.items():
                    row[label] += count
    return {"datasets": _rows(by_dataset, tokenizers), "scripts": _rows(by_script, tokenizers)}


def _rows(table: Mapping[str, dict[str, Any]], labels: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name, row in sorted(table.items(), key=lambda item: -item[1]["characters"]):
        each = {
            label: {
                "tokens": row[label],
                "tokens_per_character": row[label] / max(row["characters"], 1),
                "bytes_per_token": row["bytes"] / max(row[label], 1),
            }
            for label in labels
        }
        found.append({"name": name, **{key: row[key] for key in ("texts", "characters", "bytes")}, **each})
    return found


def main_script(text: str) -> str:
    """The script that most letters of a text are of."""
    found = letters([text])
    return found.most_common(1)[0][0] if found else NO_LETTERS


def changed(texts: Sequence[str], before: Tokenizer, after: Tokenizer, rule: Rule | None = None) -> dict[str, Any]:
    """Which texts got other ids: {"texts", "characters", "changed", "samples": [{"text", "before", "after"}]}.

    With a rule only texts without a character of its scripts are looked at.
    """
    kept = [text for text in texts if text and (rule is None or rule.all or not rule.touches(text))]
    count, samples = 0, list[dict[str, Any]]()
    for batch in batches(kept):
        old = before.encode_batch_fast(batch, add_special_tokens=False)
        new = after.encode_batch_fast(batch, add_special_tokens=False)
        other = [(text, a.ids, b.ids) for text, a, b in zip(batch, old, new, strict=True) if a.ids != b.ids]
        count += len(other)
        samples += [_difference(*each) for each in other[: SHOWN_CHANGES - len(samples)]]
    return {"texts": len(kept), "characters": sum(map(len, kept)), "changed": count, "samples": samples}


def _difference(text: str, old: list[int], new: list[int]) -> dict[str, Any]:
    at = next((place for place, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    return {"text": text[:SHOWN_CHARACTERS], "token": at, "before": old[at : at + 6], "after": new[at : at + 6]}


def spans(text: str, fast: Tokenizer) -> list[dict[str, Any]]:
    """The text cut where tokens end: {"text", "ids"}; several ids where tokens are parts of one character."""
    encoding = fast.encode(text, add_special_tokens=False)
    found: list[dict[str, Any]] = []
    end = 0
    for number, (first, last) in zip(encoding.ids, encoding.offsets, strict=True):
        if found and first < end:
            found[-1]["ids"].append(number)
            found[-1]["end"] = end = max(end, last)
            continue
        if first > end:
            # What a normaliser leaves out still stands in the text.
            found.append({"ids": [], "start": end, "end": first})
        found.append({"ids": [number], "start": first, "end": last})
        end = max(end, last)
    if end < len(text):
        found.append({"ids": [], "start": end, "end": len(text)})
    return [{"text": text[one["start"] : one["end"]], "ids": one["ids"]} for one in found]
