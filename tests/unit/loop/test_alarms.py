"""Canned courses of a run raise the alarm that names what is wrong with them, and a good course raises none."""

from __future__ import annotations

import itertools
import json

from studio.loop.alarms import QUIET, Alarms

GOOD = {"kl": 4.0, "length": 60.0, "together": 0.0, "explained": 0.3}


def course(steps: int, **change: float) -> list[tuple[int, list[str]]]:
    """Twenty good steps, then others; the steps that raise something."""
    alarms, found = Alarms(6.0), []
    for step in range(1, steps + 1):
        seen = {**GOOD, **(change if step > 20 else {})}
        if told := alarms.look(seen):
            found.append((step, list(told)))
    return found


def test_a_good_course_raises_none():
    assert course(200) == []


def test_each_fault_has_its_name():
    assert course(60, kl=30.0)[0] == (23, ["kl_blowup"])
    assert course(60, length=100.0, together=0.6)[0] == (28, ["length_hacking"])
    assert course(60, explained=-0.8)[0][1] == ["value_collapse"]


def test_longer_answers_that_are_not_rewarded_for_it_are_no_fault():
    assert course(60, length=100.0, together=0.1) == []
    assert course(60, together=0.9) == []


def test_an_alarm_is_quiet_for_a_while():
    steps = [step for step, _ in course(80, kl=30.0)]
    assert [after - before for before, after in itertools.pairwise(steps)] == [QUIET] * (len(steps) - 1)


def test_a_resumed_run_raises_what_an_unbroken_one_does():
    whole, first, second = Alarms(6.0), Alarms(6.0), Alarms(6.0)
    seen = [{**GOOD, "kl": 30.0 if 8 < step < 40 else 4.0} for step in range(60)]
    wanted = [list(whole.look(each)) for each in seen]
    found = [list(first.look(each)) for each in seen[:17]]
    second.restore(json.loads(json.dumps(first.state())))
    assert found + [list(second.look(each)) for each in seen[17:]] == wanted
    assert any(wanted)
