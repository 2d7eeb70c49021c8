"""Two answers to one prompt, by the scores of a reward model or by how likely a policy finds them.

    accuracy  the share of pairs in which the chosen answer is worth more; a tie counts as wrong
    margin    how much more it is worth, in the mean

Of a policy an answer is worth log p(answer) - log p_base(answer): the reward that preference learning gives it, but
for a factor (Rafailov et al., 2023, equation 5). `likelihood_accuracy` and `likelihood_margin` take log p(answer)
alone, which the base has too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from studio.data.render import Rendered, View, render
from studio.errors import ModelError, RowError
from studio.evaluate.intervals import Measure
from studio.evaluate.pair_rows import Pair
from studio.evaluate.sums import Sums, mean_of, share_of
from studio.model.templates import Template
from studio.model.tokenizer import LightTokenizer

if TYPE_CHECKING:
    from studio.model.generate import Speaker
    from studio.model.scorer import Scorer

AT_ONCE = 32
SHOWN_CHARACTERS = 400
Worth = tuple[float, float]
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Sides:
    """The two conversations of a pair as rows of ids, with what of each is the answer, and whether one is cut."""

    chosen: Rendered
    rejected: Rendered

    @property
    def cut(self) -> bool:
        """Whether the end of one is not seen."""
        return self.chosen.truncated or self.rejected.truncated


def sides_of(pairs: Sequence[Pair], tokenizer: LightTokenizer, template: Template | None, cutoff: int) -> list[Sides]:
    """Each pair as the stages rm and dpo have it. Raises RowError with its place for one that cannot be rendered."""
    view = View(cutoff, wants="pairs")
    found = []
    made = render([pair.example for pair in pairs], tokenizer, template, view)
    for pair, rows in zip(pairs, made, strict=True):
        if isinstance(rows, RowError):
            raise rows.at(pair.file, pair.row)
        chosen, rejected = rows
        if not all(any(each.loss_mask[1:]) for each in rows):
            why = f"its answers begin behind cutoff_len, {cutoff} tokens. Raise it, or take the row out"
            raise RowError(why).at(pair.file, pair.row)
        found.append(Sides(chosen, rejected))
    return found


def scores(scorer: Scorer, sides: Sequence[Sides], tell: Tell | None = None) -> list[Worth]:
    """What a reward model gives the chosen and the rejected answer of each pair."""
    found: list[Worth] = []
    for start in range(0, len(sides), AT_ONCE):
        some = sides[start : start + AT_ONCE]
        values = scorer.score([each.input_ids for pair in some for each in (pair.chosen, pair.rejected)])
        found += list(zip(values[::2], values[1::2], strict=True))
        if tell is not None:
            tell(len(found), len(sides))
    return found


def likelihoods(speaker: Speaker, sides: Sequence[Sides], batch_size: int = 8, tell: Tell | None = None) -> list[Worth]:
    """The log-probability of the chosen and the rejected answer of each pair, in nats."""
    from studio.evaluate.likelihood import token_logprobs

    found: list[Worth] = []
    for start in range(0, len(sides), AT_ONCE):
        some = [each for pair in sides[start : start + AT_ONCE] for each in (pair.chosen, pair.rejected)]
        values = token_logprobs(speaker.model, [each.input_ids for each in some], batch_size=batch_size)
        sums = [
            math.fsum(value for value, learned in zip(row, each.loss_mask[1:], strict=True) if learned)
            for row, each in zip(values, some, strict=True)
        ]
        if not all(map(math.isfinite, sums)):
            raise ModelError("the model gives log-probabilities that are no numbers: its weights are damaged, or its "
                             "precision is too small. Try --infer_dtype float32.")  # fmt: skip
        found += list(zip(sums[::2], sums[1::2], strict=True))
        if tell is not None:
            tell(len(found), len(sides))
    return found


@dataclass(frozen=True)
class PairsFound:
    """Pairs in numbers, in their order. `worth` by the name of its measures: "" for scores and implicit rewards.

    `members` are the pairs of each source when there are several.
    """

    pairs: Sequence[Pair]
    sides: Sequence[Sides]
    worth: Mapping[str, Sequence[Worth]]
    members: Mapping[str, list[int]] = field(default_factory=dict)

    @property
    def sums(self) -> dict[str, Sums]:
        """accuracy and margin of each worth, as sums over pairs."""
        found: dict[str, Sums] = {}
        for name, values in self.worth.items():
            found[f"{name}accuracy"] = share_of([float(chosen > rejected) for chosen, rejected in values])
            found[f"{name}margin"] = mean_of([chosen - rejected for chosen, rejected in values])
        return found

    @property
    def ties(self) -> int:
        """Pairs whose answers are worth the same."""
        return sum(chosen == rejected for chosen, rejected in next(iter(self.worth.values())))

    def measures(self) -> dict[str, Measure]:
        """Over everything."""
        return {name: each.measure() for name, each in self.sums.items()}

    def groups(self) -> dict[str, dict[str, Measure]]:
        """By source, where there are several."""
        sums = self.sums
        return {
            group: {name: each.of_rows(rows).measure() for name, each in sums.items()}
            for group, rows in self.members.items()
        }

    def against(self, base: PairsFound) -> dict[str, dict[str, Measure]]:
        """Group → measure → difference from the base's, of the measures that both have."""
        mine, theirs = self.sums, base.sums
        names = [name for name in mine if name in theirs]
        found = {"all": {name: mine[name].against(theirs[name]) for name in names}}
        for group, rows in self.members.items():
            found[group] = {name: mine[name].of_rows(rows).against(theirs[name].of_rows(rows)) for name in names}
        return found

    def shown(self) -> list[dict[str, Any]]:
        """The pairs for people to look at."""
        (values, *_) = self.worth.values()
        return [
            {"source": pair.source, "file": pair.file, "row": pair.row, "prompt": pair.prompt[:SHOWN_CHARACTERS],
             "chosen": _text(pair.example.chosen), "rejected": _text(pair.example.rejected),
             "chosen_worth": chosen, "rejected_worth": rejected, "right": chosen > rejected, "cut": each.cut}
            for pair, each, (chosen, rejected) in zip(self.pairs, self.sides, values, strict=True)
        ]  # fmt: skip


def pairs_found(pairs: Sequence[Pair], sides: Sequence[Sides], worth: Mapping[str, Sequence[Worth]]) -> PairsFound:
    """What some pairs are worth, in numbers."""
    names = list(dict.fromkeys(pair.source for pair in pairs))
    members = {name: [at for at, pair in enumerate(pairs) if pair.source == name] for name in names}
    return PairsFound(pairs, sides, worth, members if len(names) > 1 else {})


def implicit(policy: Sequence[Worth], base: Sequence[Worth]) -> list[Worth]:
    """The reward that a policy gives by how much likelier than its base it finds an answer."""
    return [(mine[0] - theirs[0], mine[1] - theirs[1]) for mine, theirs in zip(policy, base, strict=True)]


def _text(messages: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(str(message["content"]) for message in messages)[:SHOWN_CHARACTERS]
