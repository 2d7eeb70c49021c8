"""Questions → prompts as ids, with solved examples before them, and the ids of the letters that may follow. Light.

The words around the questions are those of the benchmarks (MMLU in English, C-Eval in Chinese), so that the numbers
can be held against published ones.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from studio.errors import ArgumentError, ModelError, counted
from studio.evaluate.categories import title_of
from studio.evaluate.choice_rows import Exam, Question, Subject
from studio.model.templates import Template
from studio.model.tokenizer import LightTokenizer

HEADS = {
    "en": "The following are multiple choice questions (with answers) about {}.\n\n",
    "zh": "以下是中国关于{}考试的单项选择题，请选出其中的正确答案。\n\n",
}
CUES = {"en": "Answer:", "zh": "答案："}
_CUE_THERE = re.compile(r"(?:Answer|答案)\s*[:：]\s*$", re.IGNORECASE)
_HAN = re.compile("[\u3400-\u9fff]")
# From so large a share of Chinese characters on a subject is Chinese; formulas and names stay in Latin letters.
_CHINESE = 0.1
# The end of a prompt that decides how a letter behind it becomes tokens.
_TAIL = 64
USUAL_SHOTS = 5


@dataclass(frozen=True)
class Paper:
    """What is asked of one subject: the questions, their solved examples, and how the prompt is worded.

    `shots_from` is the split of the examples, '' for none; `shot_rows` are their rows in its file.
    """

    name: str
    title: str
    lang: str
    split: str
    questions: tuple[Question, ...]
    shots: tuple[Question, ...]
    shots_from: str

    @property
    def shot_rows(self) -> list[int]:
        """Numbers of the examples in the file of their split, from 1."""
        return [shot.row for shot in self.shots]

    def text(self, question: Question, shots: int) -> str:
        """The prompt with the last `shots` of the examples, up to the letter."""
        head = HEADS[self.lang].format(self.title) if self.title else ""
        blocks = [
            self._block(shot) + between(self._block(shot)) + shot.answer
            for shot in self.shots[len(self.shots) - shots :]
        ]
        return head + "\n\n".join([*blocks, self._block(question)])

    def _block(self, question: Question) -> str:
        lines = [question.text, *(f"{letter}. {option}" for letter, option in zip(question.letters, question.options,
                                                                                  strict=False))]  # fmt: skip
        text = "\n".join(lines)
        return text if _CUE_THERE.search(text) else f"{text}\n{CUES[self.lang]}"


def between(text: str) -> str:
    """What stands between the end of a prompt and a letter: nothing behind white space or a wide sign, else a space."""
    last = text[-1:]
    return "" if not last or last.isspace() or ord(last) > 0x2E7F else " "


def set_papers(
    exam: Exam, *, split: str, subjects: Sequence[str], n_shot: int | None, shots_from: str, lang: str,
    max_samples: int | None, seed: int,
) -> tuple[list[Paper], list[str]]:  # fmt: skip
    """What is asked, subject by subject, and what people should know of it.

    Raises ArgumentError for a subject or split that is not there, and for a subject without rows for examples.
    """
    notes = list(exam.notes)
    known = {subject.name: subject for subject in exam.subjects}
    if wrong := [name for name in subjects if name not in known]:
        raise ArgumentError([f"--subjects {', '.join(wrong)}: must be subjects of the questions, which are: "
                             f"{', '.join(sorted(known))}."])  # fmt: skip
    chosen = [known[name] for name in subjects] or list(exam.subjects)
    part = _split(chosen) if split == "auto" else split
    missing = [subject.name for subject in chosen if part not in subject.splits]
    if len(missing) == len(chosen):
        there = sorted({each for subject in chosen for each in subject.splits})
        raise ArgumentError([f"--split {part}: no subject has it; there is {', '.join(there)}. Name one of these."])
    if missing:
        notes.append(f"without a {part} split, and not measured: {', '.join(missing)}")
    has_shots = any(shots_from in subject.splits for subject in chosen)
    shots = n_shot if n_shot is not None else (USUAL_SHOTS if has_shots and shots_from != part else 0)
    if n_shot is None:
        notes.append(f"{counted(shots, 'example')} before each question"
                     + ("" if shots else f": there is no {shots_from} split to draw them from"))  # fmt: skip
    papers = []
    for subject in chosen:
        if part in subject.splits:
            paper, told = _paper(exam, subject, part, shots, shots_from, lang, max_samples, seed)
            papers.append(paper)
            notes += told
    return papers, notes


def _split(chosen: Sequence[Subject]) -> str:
    """The part that is measured where none is named: test with answers, else val, else whatever there is."""
    for split in ("test", "val"):
        held = [question for subject in chosen for question in subject.splits.get(split, ())]
        if held and any(question.answer for question in held):
            return split
    there = {split for subject in chosen for split in subject.splits}
    return next(split for split in ("test", "val", "dev") if split in there)


def _paper(
    exam: Exam, subject: Subject, split: str, n_shot: int, shots_from: str, asked_lang: str, max_samples: int | None,
    seed: int,
) -> tuple[Paper, list[str]]:  # fmt: skip
    notes = []
    questions = list(subject.splits[split])
    solved = [question for question in subject.splits.get(shots_from, ()) if question.answer]
    if shots_from != split:
        # An example that is asked too would give its answer away.
        asked = {(question.text, question.options) for question in questions}
        apart = [question for question in solved if (question.text, question.options) not in asked]
        if n_shot and len(apart) < len(solved):
            notes.append(f"{subject.name}: {counted(len(solved) - len(apart), 'row')} of {shots_from} in {split} too, "
                         "word for word, and no examples")  # fmt: skip
        solved = apart
    if n_shot and not solved:
        why = "none of its rows can be an example" if subject.splits.get(shots_from) else "it has no such rows"
        raise ArgumentError([f"--n_shot {n_shot}: subject {subject.name} must have rows with answers in its "
                             f"{shots_from} split; {why}. Set --n_shot 0, draw examples from another split with "
                             "--shots_from, or leave the subject out with --subjects."])  # fmt: skip
    if n_shot > len(solved):
        notes.append(
            f"{subject.name}: {counted(len(solved), 'example')} instead of {n_shot}, all that {shots_from} has"
        )
    # By the name, so that a subject has the same examples whichever others are measured.
    order = random.Random(f"{seed}:{subject.name}").sample(range(len(solved)), min(n_shot, len(solved)))
    shots = [solved[at] for at in sorted(order)]
    if shots and shots_from == split:
        taken = {(shot.text, shot.options) for shot in shots}
        left = [question for question in questions if (question.text, question.options) not in taken]
        notes.append(f"{subject.name}: {counted(len(questions) - len(left), 'question')} of {split} are examples, and "
                     "not measured")  # fmt: skip
        if not left:
            raise ArgumentError([f"--n_shot {n_shot}: subject {subject.name} must have questions besides its examples; "
                                 f"all {len(questions)} of {split} are examples. Lower it."])  # fmt: skip
        questions = left
    questions = questions[:max_samples]
    lang = asked_lang if asked_lang != "auto" else _lang(questions)
    inside = bool(questions) and not questions[0].options
    title = "" if inside else title_of(exam.layout, subject.name, lang)
    paper = Paper(subject.name, title, lang, split, tuple(questions), tuple(shots), shots_from if shots else "")
    return paper, notes


def _lang(questions: Sequence[Question]) -> str:
    text = "".join(question.text + "".join(question.options) for question in questions)
    return "zh" if text and len(_HAN.findall(text)) >= _CHINESE * len(text) else "en"


@dataclass(frozen=True)
class Asked:
    """One prompt as ids, and the ids of each letter behind it. `shots` were kept of the examples, `cut` ids dropped."""

    context: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]
    shots: int
    cut: int


class Encoder:
    """Prompts and letters as ids of one tokenizer; a chat template, where given, makes a turn of each prompt.

    `limit` is the most ids of prompt and letter, 0 without one.
    """

    def __init__(self, tokenizer: LightTokenizer, template: Template | None, limit: int) -> None:
        self.tokenizer, self.template, self.limit = tokenizer, template, limit
        self._letters: dict[tuple[str, tuple[str, ...]], tuple[int, tuple[tuple[int, ...], ...]]] = {}

    def ask(self, paper: Paper, question: Question) -> Asked:
        """The prompt with as many examples as fit, the last ones; a question that is too long loses its beginning."""
        shots = len(paper.shots)
        while True:
            context, options = self.encode(self.rendered(paper.text(question, shots)), question.letters)
            room = self.limit - max(map(len, options)) + 1 if self.limit else len(context)
            if len(context) <= room or not shots:
                break
            shots -= 1
        if room < 1:
            raise ModelError(f"a prompt must have room for a token; --max_prompt_len {self.limit} leaves none.")
        cut = max(0, len(context) - room)
        # What begins a document stays in front of what is left.
        head = self.tokenizer.head if cut and self.template is None and room > len(self.tokenizer.head) else ()
        return Asked((*head, *context[cut + len(head) :]), options, shots, cut)

    def rendered(self, text: str) -> str:
        """The prompt as the model reads it: plain, or as the one turn that is answered."""
        if self.template is None:
            return text
        return self.template.render(
            [{"role": "user", "content": text}], special=self.tokenizer.special, add_generation_prompt=True
        )

    def encode(self, text: str, letters: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
        """The ids before the letters, and those of each letter, as the tokenizer reads text and letter together.

        Where a letter and the end of the text become one token, that end is part of every option.
        """
        ids = [*(self.tokenizer.head if self.template is None else ()), *self._ids(text)]
        key = (text[-_TAIL:], letters)
        if key not in self._letters:
            self._letters[key] = self._behind(key[0], letters)
        joined, options = self._letters[key]
        if joined >= len(ids):  # a text that is hardly longer than the token it shares with the letter
            joined, options = self._behind(text, letters)
        context = ids[: len(ids) - joined] or [self.tokenizer.eos_id]
        return tuple(context), options

    def _behind(self, tail: str, letters: tuple[str, ...]) -> tuple[int, tuple[tuple[int, ...], ...]]:
        plain = self._ids(tail)
        both = [self._ids(tail + between(tail) + letter) for letter in letters]
        same = min(_same(plain, each) for each in both)
        return len(plain) - same, tuple(tuple(each[same:]) for each in both)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.fast.encode(text, add_special_tokens=False).ids)

    @cached_property
    def how(self) -> str:
        """How prompts are given, for the record."""
        return "plain text" if self.template is None else f"one turn of the template {self.template.name}"


def _same(one: Sequence[int], other: Sequence[int]) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
