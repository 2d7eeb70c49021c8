"""`studio eval choice`: read the questions, ask the base and every model, compare, keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.arguments.template import TemplateArguments
from studio.errors import ArgumentError, counted
from studio.evaluate.categories import categories_of
from studio.evaluate.choice_prompts import Paper, set_papers
from studio.evaluate.choice_rows import Exam, read_exam
from studio.evaluate.kept import ALL, Result, export, export_targets, group_differences, keep, read_kept
from studio.evaluate.opening import Noted, Subject, names_of, opened, subjects
from studio.model.prompting import context_of
from studio.works.base import Ear
from studio.works.eval_choice import ChoiceArguments, ChoiceSet
from studio.workspace import Workspace, write_json

if TYPE_CHECKING:
    from studio.evaluate.choice import Answers
    from studio.evaluate.methods import Measurer
    from studio.model.generate import Speaker
    from studio.model.templates import Template

# What the result of a job has no use for: a number for each question.
_ONLY_IN_FILE = ("values", "members")


@dataclass(frozen=True)
class Prepared:
    """The questions of an evaluation, worded; the same for every model."""

    exam: Exam
    papers: tuple[Paper, ...]
    notes: tuple[str, ...]

    @property
    def categories(self) -> dict[str, list[str]]:
        """Category → its subjects, of those that are measured."""
        found: dict[str, list[str]] = {}
        for paper in self.papers:
            for category in categories_of(self.exam.layout, paper.name):
                found.setdefault(category, []).append(paper.name)
        return found

    def told(self) -> list[str]:
        """What is asked, as sentences: form, questions, and the examples by their rows."""
        questions = sum(len(paper.questions) for paper in self.papers)
        splits = ", ".join(dict.fromkeys(paper.split for paper in self.papers))
        lines = [f"{counted(questions, 'question')} of {counted(len(self.papers), 'subject')}, layout "
                 f"{self.exam.layout}, split {splits}"]  # fmt: skip
        lines += self.notes
        lines += [f"{paper.name}: examples are rows {', '.join(map(str, paper.shot_rows))} of {paper.shots_from}"
                  for paper in self.papers if paper.shots]  # fmt: skip
        return lines

    def described(self) -> list[dict[str, Any]]:
        """Each subject: {"name", "title", "lang", "split", "questions", "shots": rows, "shots_from"}."""
        return [
            {"name": paper.name, "title": paper.title, "lang": paper.lang, "split": paper.split,
             "questions": len(paper.questions), "shots": paper.shot_rows, "shots_from": paper.shots_from}
            for paper in self.papers
        ]  # fmt: skip


def prepare(asked: ChoiceArguments, place: Workspace) -> Prepared:
    """Read and word the questions. Raises DatasetError, ArgumentError."""
    exam = read_exam(place.path(asked.task_dir), asked.layout, skip_bad_rows=asked.skip_bad_rows)
    papers, notes = set_papers(
        exam, split=asked.split, subjects=asked.subjects, n_shot=asked.n_shot, shots_from=asked.shots_from,
        lang=asked.lang, max_samples=asked.max_samples, seed=asked.seed,
    )  # fmt: skip
    return Prepared(exam, tuple(papers), tuple(notes))


def measure(
    prepared: Prepared, speaker: Speaker, asked: ChoiceArguments, *, name: str, subject: Subject, batch_size: int,
    tell: Callable[[float, float, str], None],
) -> tuple[Result, Answers]:  # fmt: skip
    """What a loaded model makes of the questions."""
    from studio.evaluate.choice import answer, result_of
    from studio.evaluate.choice_prompts import Encoder

    context = context_of(speaker.model.config.get_text_config(decoder=True).to_dict())
    limit = min(filter(None, (asked.max_prompt_len, context)), default=0)
    encoder = Encoder(speaker.tokenizer, speaker.template if asked.apply_chat_template else None, limit)
    answers = answer(
        speaker.model, prepared.papers, encoder, tell, batch_size=batch_size, share_prefix=asked.prefix_cache
    )
    settings = {**asked.model_dump(mode="json"), "prompt": encoder.how, "limit": limit,
                "layout": prepared.exam.layout}  # fmt: skip
    found = result_of(
        answers, prepared.exam.layout, name=name, model=subject.name, base=subject.base, step=subject.step,
        settings=settings,
    )  # fmt: skip
    return found, answers


def run(asked: ChoiceSet, place: Workspace, ear: Ear) -> dict[str, Any]:
    """Measure the base, the checkpoints that are asked for, and the model; keep the numbers with the run.

    {"name", "task": "choice", "time", "settings", "layout", "notes": [sentence],
     "subjects": [{"name", "title", "lang", "split", "questions", "shots": [row], "shots_from"}],
     "categories": {category: [subject]},
     "results": [{"model", "base": bool, "step": int | null, "measures", "groups", "rows", "notes", …}],
     "differences": {model: {"all" | group: {measure: number}}},
     "kept": path, "answers": {model: path}, "exported": [path]}

    `results` has the base first. `measures` is {"accuracy", "accuracy_by_subject" (the mean of the subjects',
    with several), "probability" (of the right letter among the letters)}, each a number {"value", "low", "high",
    "count", "better"}; it is {} where no question has an answer. `groups` has the same for each subject and category.
    `rows` are up to 200 questions, some of each subject: {"subject", "id", "row", "question", "options": {letter:
    text} (empty where they stand in the question), "answer" ('' without one), "pick", "right": bool | null, "tied",
    "logps": {letter: number | null}, "chances": {letter: number}, "shots", "cut"}. A difference is model minus base
    over the same questions; a model that is measured alone has none. `answers` names a file for each model when some
    questions have no answer: {subject: {id: letter}}. The kept file has all this, and a number for each question.
    """
    chosen = asked.choice
    export_targets(asked.measured.export, place, overwrite=asked.measured.overwrite_export)
    prepared = prepare(chosen, place)
    for sentence in prepared.told():
        ear.say(sentence)
    noted = Noted(ear)
    every = subjects(asked.model, asked.measured, place, noted)
    if len(every) > 1:
        ear.say(f"measured: {names_of(every)}")
    results, answers = [], []
    for number, subject in enumerate(every):

        def tell(done: float, total: float, text: str, number: int = number, name: str = subject.name) -> None:
            ear.tell(number * total + done, len(every) * total, f"{name}: {text}")

        found, given = _one(asked, prepared, subject, _template(asked, every, place, ear), place, tell)
        for note in found.notes:
            ear.say(f"{subject.name}: {note}")
        results.append(found)
        answers.append(given)
    return _kept(asked, prepared, every, results, answers, place, [*prepared.notes, *noted.sentences])


def _one(
    asked: ChoiceSet, prepared: Prepared, subject: Subject, template: Template | None, place: Workspace,
    tell: Callable[[float, float, str], None],
) -> tuple[Result, Answers]:  # fmt: skip
    tell(0, 1, "loading")
    with opened(subject, asked.model, asked.measured, place, template=template) as speaker:
        size = asked.measured.per_device_eval_batch_size
        return measure(prepared, speaker, asked.choice, name="choice", subject=subject, batch_size=size, tell=tell)


def _template(asked: ChoiceSet, every: Sequence[Subject], place: Workspace, ear: Ear) -> Template | None:
    """The one template of all models: the base is asked as the model is, that their numbers may be compared."""
    if not asked.choice.apply_chat_template:
        return None
    from studio.model.templates import choose_template
    from studio.model.tokenizer import open_tokenizer

    last = every[-1]
    home = last.folder if any(last.folder.glob("tokenizer*")) else last.root
    chosen = asked.template
    template, told = choose_template(
        chosen.template, open_tokenizer(home, place.cache, trust=asked.model.trust_remote_code), place,
        enable_thinking=chosen.enable_thinking, default_system=chosen.default_system,
    )  # fmt: skip
    for sentence in told:
        ear.say(sentence)
    return template


def _kept(
    asked: ChoiceSet, prepared: Prepared, every: Sequence[Subject], results: list[Result], answers: Sequence[Answers],
    place: Workspace, notes: list[str],
) -> dict[str, Any]:  # fmt: skip
    base = results[0] if results[0].base and len(results) > 1 else None
    differences = {each.model: group_differences(each, base) for each in results if base and each is not base}
    # One model alone is its own base in name only.
    results = results if base else [replace(each, base=False) for each in results]
    settings = {
        **asked.changes(), "layout": prepared.exam.layout, "subjects": prepared.described(),
        "categories": prepared.categories, "hashes": prepared.exam.hashes, "notes": notes,
    }  # fmt: skip
    path = keep(results, differences, every[-1].run, place, settings=settings)
    files = _submissions(path, results, answers, place)
    kept = read_kept(path)
    exported = export(asked.measured.export, kept, place, overwrite=asked.measured.overwrite_export)
    plain = [{name: value for name, value in each.items() if name not in _ONLY_IN_FILE} for each in kept["results"]]
    return {
        "name": kept["name"], "task": kept["task"], "time": kept["time"], "settings": asked.changes(),
        "layout": prepared.exam.layout, "notes": notes, "subjects": prepared.described(),
        "categories": prepared.categories, "results": plain, "differences": kept["differences"],
        "kept": place.shown(path), "answers": files, "exported": [place.shown(each) for each in exported],
    }  # fmt: skip


def _submissions(path: Path, results: Sequence[Result], answers: Sequence[Answers], place: Workspace) -> dict[str, str]:
    """Answer files of models that were asked questions without an answer, beside the kept numbers."""
    files: dict[str, str] = {}
    for number, (result, each) in enumerate(zip(results, answers, strict=True)):
        if any(not given.question.answer for given in each.given):
            target = path.parent / "answers" / f"{path.stem}-{number}.json"
            write_json(target, each.submission())
            files[result.model] = place.shown(target)
    return files


def as_text(found: dict[str, Any]) -> str:
    """A table of subjects and categories by model, the differences from the base, and where it is kept."""
    lines: list[str] = []
    results = found["results"]
    names = [ALL, *found["categories"], *(each["name"] for each in found["subjects"])]
    wide = max(len(name) for name in names)
    for result in results:
        head = result["model"] + (" (base)" if result["base"] else "")
        lines += [head, *(_line(name, wide, result, found["differences"]) for name in names if _has(result, name))]
        lines.append("")
    lines += [f"answers of {model}: {path}" for model, path in found["answers"].items()]
    lines += [f"written: {path}" for path in found["exported"]]
    return "\n".join([*lines, f"kept: {found['kept']}"])


def _has(result: dict[str, Any], group: str) -> bool:
    return bool(result["measures"]) if group == ALL else group in result["groups"]


def _line(group: str, wide: int, result: dict[str, Any], differences: dict[str, Any]) -> str:
    found = (result["measures"] if group == ALL else result["groups"][group])["accuracy"]
    text = f"  {group:<{wide}}  {found['value']:6.1%}  ({found['low']:.1%} to {found['high']:.1%}, {found['count']:,})"
    apart = differences.get(result["model"], {}).get(group, {}).get("accuracy")
    if apart is None:
        return text
    low, high = apart["low"], apart["high"]
    return f"{text}  {apart['value']:+.1%} from the base ({low:+.1%} to {high:+.1%})"


def while_training(asked: ChoiceSet, place: Workspace, template: Template | None) -> Measurer:
    """What asks a model in memory the same questions each time, in the template of its run or as plain text.

    Raises ArgumentError for a template of its own, and as `prepare`.
    """
    if asked.template != TemplateArguments():
        raise ArgumentError(["--template: the run's own template is used. Leave it out."])
    if asked.choice.apply_chat_template and template is None:
        raise ArgumentError(["--apply_chat_template True: this run has no chat template. Leave it out, or give the run "
                             "a --template."])  # fmt: skip
    prepared = prepare(asked.choice, place)
    size = asked.measured.per_device_eval_batch_size

    def measurer(speaker: Speaker, subject: Subject, name: str) -> Result:
        found, _ = measure(
            prepared, speaker, asked.choice, name=name, subject=subject, batch_size=size, tell=lambda *_: None
        )
        return replace(found, notes=[*prepared.told(), *found.notes])

    return measurer
