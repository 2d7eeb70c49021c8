"""A reward function is found without being run, and what goes wrong in it is told with its line."""

from __future__ import annotations

import pytest

from studio.errors import RewardError, StudioError
from studio.rewards.base import Sample
from studio.rewards.function import FunctionReward, find_function
from studio.workspace import Workspace

FILE = """
import math

print("imported")


def lengths(samples):
    return [len(sample.answer) for sample in samples]


def one(sample):
    return sample.answer == sample.row["answer"]


def fails(sample):
    return {}["nothing"]


def indirect(samples):
    return list(map(fails, samples))


def gives(samples, what=[1.0]):
    return what


def nan(samples):
    return [math.nan for _ in samples]


def text(samples):
    return "12"


def two(samples, more):
    return [0.0]


async def later(samples):
    return [0.0]


def leaves(samples):
    raise SystemExit(3)


class Judge:
    def reward(self, samples):
        return [0.0]
"""
SAMPLES = [
    Sample(({"role": "user", "content": "?"},), "yes", row={"answer": "yes"}),
    Sample((), "no", row={"answer": "yes"}),
]


@pytest.fixture
def place(workspace: Workspace) -> Workspace:
    workspace.path("judges.py").write_text(FILE)
    return workspace


def call(place: Workspace, name: str) -> list[float]:
    return FunctionReward(find_function(f"judges.py:{name}", place))(SAMPLES)


def test_it_takes_all_samples_or_one(place: Workspace):
    assert call(place, "lengths") == [3.0, 2.0]
    assert call(place, "one") == [1.0, 0.0]


def test_finding_it_runs_nothing(place: Workspace, capsys: pytest.CaptureFixture[str]):
    assert find_function("judges.py:lengths", place).each is False
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["fails", "indirect"])
def test_what_it_raises_is_told_with_its_line(place: Workspace, name: str):
    with pytest.raises(RewardError) as told:
        call(place, name)
    assert "failed in line 16 (return {}[\"nothing\"]): KeyError: 'nothing'. Mend the function" in str(told.value)


def test_a_function_that_ends_the_program_is_told_too(place: Workspace):
    with pytest.raises(RewardError, match=r"leaves failed in line \d+ \(raise SystemExit\(3\)\): SystemExit: 3\."):
        call(place, "leaves")


@pytest.mark.parametrize(
    ("name", "words"), [("gives", "gave 1 number"), ("nan", "gave nan"), ("text", "which are no numbers")]
)
def test_what_it_gives_must_be_a_number_for_each(place: Workspace, name: str, words: str):
    with pytest.raises(RewardError, match=words):
        call(place, name)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("judges.py", "must be path/to/file.py:name"),
        ("judges:lengths", "must be path/to/file.py:name"),
        ("judges.py:not a name", "must be path/to/file.py:name"),
        ("nowhere.py:reward", "cannot be read"),
        ("judges.py:length", "Did you mean lengths?"),
        ("judges.py:Judge", "defines no function Judge"),
        ("judges.py:reward", "defines no function reward"),
        ("judges.py:two", "a plain function of one argument"),
        ("judges.py:later", "a plain function of one argument"),
    ],
)
def test_what_is_no_function_is_told_before_the_start(place: Workspace, asked: str, words: str):
    with pytest.raises(RewardError) as told:
        find_function(asked, place)
    assert words in str(told.value)


def test_a_file_that_is_no_python_is_told_with_its_line(place: Workspace):
    place.path("broken.py").write_text("x = 1\ndef reward(:\n")
    with pytest.raises(RewardError, match="line 2"):
        find_function("broken.py:reward", place)


def test_a_file_that_cannot_be_imported_is_told(place: Workspace):
    place.path("needs.py").write_text("import no_such_module_at_all\n\ndef reward(samples):\n    return [0.0]\n")
    with pytest.raises(RewardError, match=r"cannot be imported in line 1 .*ModuleNotFoundError"):
        FunctionReward(find_function("needs.py:reward", place))


def test_a_file_outside_the_roots_is_refused(place: Workspace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDIO_ROOTS", str(place.root))
    with pytest.raises(StudioError, match="leads outside"):
        find_function("/etc/rewards.py:reward", place)
