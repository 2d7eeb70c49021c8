"""Questions with one right letter, from the layouts of C-Eval, MMLU, CMMLU and AGIEval, and from plain rows. Light.

    ceval    dev/ val/ test/, `<subject>_val.csv` with id, question, A, B, C, D, answer, explanation (test: no answer)
    mmlu     dev/ val/ test/, `<subject>_test.csv` without a header: question, A, B, C, D, answer
    cmmlu    dev/ test/, `<subject>.csv` with an unnamed index, Question, A, B, C, D, Answer
    agieval  `<subject>.jsonl` with passage, question, options ["(A)…", …], label (GaoKao: gaokao-*.jsonl)
    rows     JSONL or CSV: question, answer, and the options as A, B, … or inside the question

The form is told from a file's first row; the split from its folder or the end of its name. What MMLU has for training
(auxiliary_train) is left out.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from studio.data.encoding import check_head, not_utf8
from studio.data.textfile import TextFile
from studio.errors import DatasetError, RowError, counted

LAYOUTS = ("ceval", "mmlu", "cmmlu", "agieval", "rows")
SPLITS = ("dev", "val", "test")
LETTERS = "ABCDEFGHIJ"
# All of MMLU has 10 MB. A file of questions is read whole.
MOST_BYTES = 1 << 28
_SPLIT_WORDS = {"dev": "dev", "val": "val", "valid": "val", "validation": "val", "test": "test"}
# A folder of what models are trained on.
_TRAINED = ("train", "auxiliary_train")
_SPLIT_END = re.compile(r"_(dev|val|test)$")
# A line of a question that is an option: "A. …", "A、…", "（A）…", "(A) …".
_OPTION = re.compile(r"^\s*[(（]?([A-JＡ-Ｊ])\s*[.．、:：)）]", re.MULTILINE)
# The same anywhere behind white space, for options that share a line.
_WITHIN = re.compile(r"(?<!\S)[(（]?([A-JＡ-Ｊ])\s*[.．、:：)）]")
_MARKED = re.compile(r"^\s*[(（]?([A-J])\s*[.．、:：)）]\s*")
# Columns that say which subject a row is of.
_SUBJECT = ("subject", "source", "category")


@dataclass(frozen=True)
class Question:
    """One question: `options` by their letters, empty where they stand in the text. `answer` is '' where none is given.

    `id` is what an answer file calls it, `row` its number in its file from 1.
    """

    text: str
    options: tuple[str, ...]
    letters: tuple[str, ...]
    answer: str
    id: str
    row: int


@dataclass
class Subject:
    """The questions of one subject by split, and the file of each split."""

    name: str
    splits: dict[str, list[Question]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Exam:
    """All subjects of a folder or file. `layout` says how they were read, `notes` what people should know."""

    layout: str
    subjects: tuple[Subject, ...]
    hashes: dict[str, str]
    notes: tuple[str, ...]


def read_exam(path: Path, layout: str = "auto", *, skip_bad_rows: bool = False) -> Exam:
    """The questions below a folder, or in one file. Raises DatasetError, RowError with file and row."""
    if not path.exists():
        raise DatasetError(f"--task_dir must be a folder or a file with questions; there is none at {path}.")
    files = [path] if path.is_file() else sorted(_files(path))
    trained = [file for file in files if file != path and file.parent.name.lower() in _TRAINED]
    files = [file for file in files if file not in trained]
    if not files:
        raise DatasetError(f"--task_dir {path} must hold .csv or .jsonl files with questions, in dev, val and test or "
                           "beside each other; it holds none.")  # fmt: skip
    found: dict[str, Subject] = {}
    layouts: list[str] = []
    hashes, bad, others = {}, [], []
    for file in files:
        text = _text(file)
        hashes[str(file)] = _digest(text)
        form = _form(file, text, layout)
        layouts.append(form)
        split, stem = _split_of(file, path)
        rows = list(_rows(file, text, form))
        if form == "agieval" and path.is_dir() and _other_task(rows):
            others.append(file.name)
            continue
        for name, question in _questions(rows, file, stem, form):
            if isinstance(question, RowError):
                bad.append(question)
                continue
            subject = found.setdefault(name, Subject(name))
            subject.splits.setdefault(split, []).append(question)
            subject.files[split] = file
    notes = [*_bad(bad, skip_bad_rows=skip_bad_rows)]
    if trained:
        folders = ", ".join(dict.fromkeys(f"{file.parent.name}/" for file in trained))
        notes.append(f"not read: {counted(len(trained), 'file')} in {folders}, which are for training")
    if others:
        notes.append(f"not read: {', '.join(others)}: their rows have no options, or several right ones")
    if not found:
        raise DatasetError(f"--task_dir {path} holds no question with one right letter. {' '.join(notes)}".rstrip())
    form = max(set(layouts), key=layouts.count)
    return Exam(form, tuple(found.values()), hashes, tuple(notes))


def look(path: Path, layout: str) -> dict[str, Any]:
    """What a folder holds: {"layout", "subjects", "splits": {split: questions}, "notes"}. Raises as `read_exam`."""
    exam = read_exam(path, layout, skip_bad_rows=True)
    splits: dict[str, int] = {}
    for subject in exam.subjects:
        for split, questions in subject.splits.items():
            splits[split] = splits.get(split, 0) + len(questions)
    return {"layout": exam.layout, "subjects": len(exam.subjects), "splits": splits, "notes": list(exam.notes)}


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        below = path.relative_to(folder).parts
        if path.is_file() and path.suffix.lower() in (".csv", ".jsonl") and not any(p.startswith(".") for p in below):
            yield path


def _split_of(file: Path, top: Path) -> tuple[str, str]:
    """The split of a file and the name of its subject."""
    end = _SPLIT_END.search(file.stem)
    stem = file.stem[: end.start()] if end else file.stem
    folder = _SPLIT_WORDS.get(file.parent.name.lower(), "") if file != top else ""
    return folder or (end[1] if end else "test"), stem


def _text(path: Path) -> str:
    file = TextFile(path)
    check_head(file)
    if file.size > MOST_BYTES:
        raise DatasetError(f"{path}: a file of questions must have at most {MOST_BYTES >> 20} MiB; it has "
                           f"{file.size >> 20:,}. Name the file or folder of the questions alone.")  # fmt: skip
    with file.open() as stream:
        raw: bytes = stream.read(-1)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(file, error.start) from None


def _digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def _form(path: Path, text: str, asked: str) -> str:
    """Which layout a file has, or is said to have."""
    if asked != "auto":
        wants = ".jsonl" if asked == "agieval" else ".csv"
        if asked != "rows" and path.suffix.lower() != wants:
            raise DatasetError(f"{path}: the layout {asked} has {wants} files. Leave --layout out, or name its folder.")
        return asked
    if path.suffix.lower() == ".jsonl":
        first = next((line for line in text.split("\n") if line.strip()), "")
        return "agieval" if '"options"' in first else "rows"
    head = [cell.strip().lower() for cell in next(csv.reader(io.StringIO(text)), [])]
    if "question" in head:
        return "ceval" if head[0] == "id" else "cmmlu" if head[0] == "" else "rows"
    if head and head[-1].upper() in LETTERS and len(head) > 3:
        return "mmlu"
    raise DatasetError(
        f"{path} is not recognised: its first row must be a header with question, A, B, C, D and answer (C-Eval, "
        f"CMMLU), or a question with its options and its letter (MMLU); it is {','.join(head)[:120]!r}. "
        "Mend the file, or say the form with --layout."
    )


_Row = tuple[int, dict[str, Any] | RowError]


def _rows(path: Path, text: str, form: str) -> Iterator[_Row]:
    """Each row by its columns, in lower case, with its number."""
    if path.suffix.lower() == ".jsonl":
        yield from _json_rows(text)
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    head: list[str] = []
    try:
        for number, cells in enumerate(reader, start=1):
            if not any(cell.strip() for cell in cells):
                continue
            if form == "mmlu":
                options = [letter.lower() for letter in LETTERS[: max(len(cells) - 2, 0)]]
                if not 6 <= len(cells) <= len(LETTERS) + 2:
                    yield number, RowError(f"must have a question, 4 to {len(LETTERS)} options and a letter; it has "
                                           f"{counted(len(cells), 'column')}: {','.join(cells)[:80]!r}")  # fmt: skip
                    continue
                yield number, dict(zip(["question", *options, "answer"], cells, strict=True))
            elif not head:
                head = [cell.strip().lower() or "id" for cell in cells]
            elif len(cells) != len(head):
                yield number - 1, RowError(f"must have {counted(len(head), 'column')} as the header says; it has "
                                           f"{len(cells)}: {','.join(cells)[:80]!r}")  # fmt: skip
            else:
                yield number - 1, dict(zip(head, cells, strict=True))
    except csv.Error as error:
        raise DatasetError(f"{path}: line {reader.line_num} is no CSV ({error}). Mend its quotes.") from None


def _json_rows(text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, RowError(f"must be a JSON object; it is not ({error}): {line[:80]!r}")
            continue
        if not isinstance(value, dict):
            yield number, RowError(f"must be a JSON object; it is {line[:80]!r}")
        else:
            yield number, {str(name).lower(): each for name, each in value.items()}


def _other_task(rows: Sequence[_Row]) -> bool:
    """Whether a file of AGIEval asks for something else than one letter."""
    held = [row for _, row in rows if not isinstance(row, RowError)]
    return any(not row.get("options") or isinstance(row.get("label"), list) for row in held)


def _questions(rows: Sequence[_Row], path: Path, stem: str, form: str) -> Iterator[tuple[str, Question | RowError]]:
    counts: dict[str, int] = {}
    for number, row in rows:
        if isinstance(row, RowError):
            yield stem, row.at(str(path), number)
            continue
        named = [str(row[column]) for column in _SUBJECT if form == "rows" and row.get(column)]
        subject = named[0] if named else stem
        try:
            question = _question(row, number, counts.get(subject, 0))
        except RowError as error:
            yield subject, error.at(str(path), number)
            continue
        counts[subject] = counts.get(subject, 0) + 1
        yield subject, question


def _question(row: dict[str, Any], number: int, place: int) -> Question:
    text = row.get("question")
    if not isinstance(text, str) or not text.strip():
        raise RowError("must hold a question", column="question")
    if passage := row.get("passage"):
        text = f"{str(passage).strip()}\n{text}"
    options, letters = _options(row, text)
    given = row.get("answer") if "answer" in row and row.get("label") is None else row.get("label")
    answer = unicodedata.normalize("NFKC", str("" if given is None else given)).strip().strip("().。").upper()
    if answer and answer not in letters:
        raise RowError(f"must be one of {', '.join(letters)}; it is {str(given)[:40]!r}", column="answer")
    if any("\ud800" <= mark <= "\udfff" for mark in "".join((text, *options))):
        raise RowError("must be Unicode; half of a surrogate pair stands in it", column="question")
    named = str(row.get("id", "")).strip()
    return Question(text.strip(), options, letters, answer, named or str(place), number)


def _options(row: dict[str, Any], text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    listed = row.get("options")
    if isinstance(listed, list) and listed:
        options = [_MARKED.sub("", str(each)).strip() for each in listed]
    else:
        options = [str(row[letter.lower()]).strip() for letter in LETTERS if row.get(letter.lower()) is not None]
        while options and not options[-1]:
            options.pop()
    if options:
        if not 2 <= len(options) <= len(LETTERS):
            raise RowError(f"must have 2 to {len(LETTERS)} options; it has {len(options)}")
        return tuple(options), tuple(LETTERS[: len(options)])
    inside = _inside(text)
    if len(inside) < 2:
        found = ", ".join(_WITHIN.findall(text)) or "none"
        raise RowError("must have options: columns A, B, …, a list called options, or parts of the question that begin "
                       f"with A., B., …; found {found}", column="question")  # fmt: skip
    return (), tuple(inside)


def _inside(text: str) -> list[str]:
    """The letters of the options that stand in a question: those of its lines, else all behind the last A."""
    for form in (_OPTION, _WITHIN):
        found = [unicodedata.normalize("NFKC", letter) for letter in cast(list[str], form.findall(text))]
        last = found[len(found) - 1 - found[::-1].index("A") :] if form is _WITHIN and "A" in found else found
        if len(last) > 1 and last == list(LETTERS[: len(last)]):
            return last
    return []


def _bad(bad: Sequence[RowError], *, skip_bad_rows: bool) -> list[str]:
    if not bad:
        return []
    shown = "\n".join(str(error) for error in bad[:5])
    more = f"\nand {len(bad) - 5:,} more" if len(bad) > 5 else ""
    if not skip_bad_rows:
        raise DatasetError(f"{shown}{more}\nMend {'the row' if len(bad) == 1 else 'these rows'}, or leave them out "
                           "with --skip_bad_rows True.")  # fmt: skip
    return [f"left out: {counted(len(bad), 'row')} that cannot be used:\n{shown}{more}"]
