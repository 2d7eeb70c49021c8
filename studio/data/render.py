"""From an `Example` to tokens with a loss mask: the one way for preview, training and the rest.

The whole text is encoded at once, as it is at inference, and the mask comes from characters:
a token bears loss when it lies wholly inside a span. A token that straddles a border of a span
belongs to the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from studio.data.example import Example, sides
from studio.data.kinds import Wanted
from studio.data.mask import mask_by_bytes, mask_by_offsets
from studio.data.turns import Draft, drafts, question
from studio.errors import RowError
from studio.model.coverage import Coverage
from studio.model.templates import Span, Template
from studio.model.tokenizer import LightTokenizer
from studio.model.words import WordIds

if TYPE_CHECKING:
    from tokenizers import Encoding

# Enough for one call to keep all threads of tokenizers busy, few enough to hold their offsets.
CHUNK = 256


@dataclass(frozen=True)
class View:
    """What is made of the rows, of at most `cutoff_len` tokens each.

    `wants` "documents": loss on all of it, long rows cut in pieces. "answers": loss on those. "pairs": two rows,
    the chosen one first, loss on the last answer; "judged": the same for each answer with a verdict. "prompts":
    what stands before the last answer, no loss.
    """

    cutoff_len: int = 2048
    train_on_prompt: bool = False
    mask_history: bool = False
    wants: Wanted = "answers"

    @property
    def documents(self) -> bool:
        """Whether rows are documents, which go on in further rows where they are long."""
        return self.wants == "documents"

    @property
    def together(self) -> int:
        """How many rows in a row are one: two of a pair."""
        return 2 if self.wants == "pairs" else 1


@dataclass(frozen=True)
class Rendered:
    """One row for training.

    `input_ids` and `loss_mask` have the same length, at most `cutoff_len`. `spans` are the [start, end)
    characters of `text` that bear loss; with `truncated` the ids end before the text does. `forgets`: thinking
    of its past answers is left out by the template. `mark`: 1 for a chosen or wanted answer, else 0. `source`: of
    a prompt, the JSON object of its `messages`, its `tools` and the `answer` that the row gives.
    """

    input_ids: list[int]
    loss_mask: list[bool]
    text: str
    spans: list[Span]
    truncated: bool
    forgets: bool = False
    mark: int = 0
    source: str = ""


def render(
    examples: Sequence[Example], tokenizer: LightTokenizer, template: Template | None, view: View
) -> list[list[Rendered] | RowError]:
    """One item per example: its rows, or why it is refused (without file and row number).

    Usually one row; several when answers become rows of their own, or a document is cut in pieces.
    A row whose learned tokens all lie beyond `cutoff_len` comes with a mask that is all False.
    """
    done: list[list[Rendered] | RowError] = []
    for start in range(0, len(examples), CHUNK):
        done += _chunk(examples[start : start + CHUNK], tokenizer, template, view)
    return done


def _chunk(
    examples: Sequence[Example], tokenizer: LightTokenizer, template: Template | None, view: View
) -> list[list[Rendered] | RowError]:
    planned = [_plan(example, tokenizer, template, view) for example in examples]
    # Documents get the tokens that the tokenizer puts around them; a chat template writes its own.
    texts: dict[bool, list[str]] = {True: [], False: []}
    for plan in planned:
        if not isinstance(plan, RowError):
            for draft in plan:
                texts[draft.bare].append(draft.text)
    # The pieces of a long document are told apart by offsets; a mask may come without them.
    offsets = view.documents or tokenizer.byte_widths is None
    encoded = {bare: iter(_encode(tokenizer, texts[bare], special=not bare, offsets=offsets)) for bare in texts}
    done: list[list[Rendered] | RowError] = []
    for example, plan in zip(examples, planned, strict=True):
        if isinstance(plan, RowError):
            done.append(plan)
            continue
        pairs = [(draft, next(encoded[draft.bare])) for draft in plan]
        rows: list[Rendered] = []
        for draft, encoding in pairs:
            if isinstance(encoding, RowError):
                done.append(encoding)
                break
            if view.documents:
                rows += _pieces(draft, encoding, tokenizer, view, closed=not example.text)
            elif view.wants == "prompts" and len(encoding) > view.cutoff_len:
                done.append(_too_long(len(encoding), view.cutoff_len))
                break
            else:
                rows.append(_row(draft, encoding, tokenizer, view.cutoff_len))
        else:
            done.append(rows)
    return done


def _plan(example: Example, tokenizer: LightTokenizer, template: Template | None, view: View) -> list[Draft] | RowError:
    try:
        if example.text and (view.documents or not (example.messages or view.wants == "prompts")):
            return [_document(example, tokenizer, view)]
        if template is None:
            raise RowError("a conversation needs a chat template, and none was chosen. Set template, for example auto.")
        if view.wants == "prompts":
            return [question(example, template, tokenizer.special)]
        answered = view.wants in ("pairs", "judged")
        return [
            replace(draft, mark=int(side == "chosen" or bool(part.label)))
            for side, part in (sides(example) if answered else [("", example)])
            for draft in drafts(
                part,
                template,
                tokenizer.special,
                tokenizer.end_strings,
                whole=view.train_on_prompt or view.documents,
                last_only=view.mask_history or answered,
            )
        ]
    except RowError as error:
        return error


def _document(example: Example, tokenizer: LightTokenizer, view: View) -> Draft:
    if not view.documents:
        raise RowError(
            "this stage learns from conversations; the row is plain text. Use stage pt for it, or map the "
            "columns prompt and response in dataset_info.json."
        )
    text = example.text
    if example.messages:
        # A conversation written out: its marks are this tokenizer's, or stand for those that it has.
        for mark, own in (("<s>", tokenizer.bos_token), ("</s>", tokenizer.eos_token)):
            if mark not in tokenizer.end_strings:
                text = text.replace(mark, own)
    begun = tokenizer.bos_token
    return Draft(text, [(0, len(text))], bare=bool(begun) and text.startswith(begun))


def _encode(
    tokenizer: LightTokenizer, texts: list[str], *, special: bool, offsets: bool
) -> list[Encoding | WordIds | RowError]:
    """One encoding a text, or why there is none; word by word where that gives the same ids."""
    words, widths = tokenizer.words, tokenizer.byte_widths
    if words is None or widths is None or (special and tokenizer.fast.num_special_tokens_to_add(is_pair=False)):
        return [*_encoded(tokenizer, texts, special=special, offsets=offsets)]
    coverage = tokenizer.coverage
    found = [None if coverage is not None and coverage.lost(text) else words.ids(text) for text in texts]
    odd = [text for text, ids in zip(texts, found, strict=True) if ids is None]
    others = iter(_encoded(tokenizer, odd, special=special, offsets=offsets) if odd else [])
    return [next(others) if ids is None else WordIds(ids, text, widths) for text, ids in zip(texts, found, strict=True)]


def _encoded(tokenizer: LightTokenizer, texts: list[str], *, special: bool, offsets: bool) -> list[Encoding | RowError]:
    encode = tokenizer.fast.encode_batch if offsets else tokenizer.fast.encode_batch_fast
    try:
        done: list[Encoding | RowError] = list(encode(texts, add_special_tokens=special))
    except (TypeError, UnicodeEncodeError):
        if len(texts) == 1:
            return [_not_text(texts[0])]
        # One bad text spoils the batch: encode them one by one to find it.
        return [one for text in texts for one in _encoded(tokenizer, [text], special=special, offsets=offsets)]
    if tokenizer.coverage is None:
        return done
    return [_losing(text, tokenizer.coverage) or one for text, one in zip(texts, done, strict=True)]


def _losing(text: str, coverage: Coverage) -> RowError | None:
    """The complaint about characters that encoding would leave out, and with them the place of all tokens behind."""
    lost = coverage.lost(text)
    if not lost:
        return None
    first = f"{lost[0]!r} (U+{ord(lost[0]):04X})"
    which = f"{first} and {len(lost) - 1} more in the row, and leaves them" if lost[1:] else f"{first}, and leaves it"
    return RowError(
        f"the tokenizer must have a token for every character; it has none for {which} out without a word. Take out "
        "what it does not know, or use a tokenizer that has byte tokens."
    )


def _not_text(text: str) -> RowError:
    at = next((i for i, char in enumerate(text) if "\ud800" <= char <= "\udfff"), 0)
    return RowError(
        f"text must be Unicode; character {at} of the rendered row is {text[at : at + 1]!r}, half of a "
        "surrogate pair. Correct the file that wrote it."
    )


def _row(draft: Draft, encoding: Encoding | WordIds, tokenizer: LightTokenizer, cutoff_len: int) -> Rendered:
    ids = encoding.ids
    mask = _mask(draft, encoding, ids, tokenizer)
    truncated = len(ids) > cutoff_len
    if truncated:
        ids, mask = ids[:cutoff_len], mask[:cutoff_len]
    mask[:1] = [False] * len(mask[:1])  # nothing stands before the first token to predict it from
    return Rendered(ids, mask, draft.text, draft.spans, truncated, draft.forgets, draft.mark, draft.source)


def _too_long(tokens: int, cutoff_len: int) -> RowError:
    return RowError(
        f"a prompt must fit into cutoff_len, or the model would answer half a question; this one has {tokens:,} "
        f"tokens, and cutoff_len is {cutoff_len:,}. Raise it, or take the row out."
    )


def _mask(draft: Draft, encoding: Encoding | WordIds, ids: list[int], tokenizer: LightTokenizer) -> list[bool]:
    text, spans = draft.text, draft.spans
    if spans == [(0, len(text))]:
        return [True] * len(ids)
    if tokenizer.byte_widths is not None:
        mask = mask_by_bytes(ids, tokenizer.byte_widths, text, spans)
        if mask is not None:
            return mask
        encoding = tokenizer.fast.encode(text, add_special_tokens=False)
    assert not isinstance(encoding, WordIds), "only a byte-level tokenizer goes word by word"
    return mask_by_offsets(encoding, spans, len(text))


def _pieces(
    draft: Draft, encoding: Encoding | WordIds, tokenizer: LightTokenizer, view: View, *, closed: bool
) -> list[Rendered]:
    """A document as consecutive rows of at most `cutoff_len`; nothing is dropped.

    `closed`: it has its own end, so none is put behind it.
    """
    ids = encoding.ids
    if not closed:
        ids = _ended(ids, draft.text, tokenizer)
    starts = list(range(0, len(ids), view.cutoff_len))
    if len(starts) > 1 and len(ids) - starts[-1] == 1 and view.cutoff_len > 2:
        # A row of one token has nothing to predict.
        starts[-1] -= 1
    pieces = []
    for start, end in pairwise([*starts, len(ids)]):
        text = draft.text[_char_at(encoding, start, draft.text) : _char_at(encoding, end, draft.text)]
        mask = [False, *[True] * (end - start - 1)]  # nothing in the row predicts its first token
        pieces.append(Rendered(ids[start:end], mask, text, [(0, len(text))], False, draft.forgets))
    return pieces


def _ended(ids: list[int], text: str, tokenizer: LightTokenizer) -> list[int]:
    """The ids with the end token behind them, once."""
    end = tokenizer.eos_id
    if not text[-200:].rstrip().endswith(tokenizer.eos_token):
        return ids if ids[-1:] == [end] else [*ids, end]
    return ids[:-1] if ids[-2:] == [end, end] else ids


def _char_at(encoding: Encoding | WordIds, token: int, text: str) -> int:
    """Where the text of `token` begins; the tokens that end a document stand behind all of it."""
    if token == 0:
        return 0
    chars: Any = encoding.token_to_chars(token) if token < len(encoding) else None
    return int(chars[0]) if chars else len(text)
