"""Verdicts are right where the truth is known: the first worlds of `python -m bench.validation`, with the figures printed."""

import pytest

from bench import validation


@pytest.mark.parametrize("name", [*validation.QUESTIONS])
def test_planted_worlds_are_called_rightly(name, capsys):
    answers = validation.ask(name, runs=20)
    with capsys.disabled():
        print(f"\n{answers}")
    assert answers.runs == 20
    assert answers.right >= 18, answers


def test_equal_levels_are_seldom_called_unequal(capsys):
    answers = validation.equal(10)
    with capsys.disabled():
        print(f"\n{answers}: {answers.more}")
    assert answers.right >= 8, answers


def test_answers_count_what_is_wrong():
    answers = validation.Answers("asked", "goal")
    answers.add(right=False, verdict="harm")
    answers.add(right=True, verdict="")
    assert str(answers) == "asked: 1 of 2 (goal; 0 s); else: 1 harm"
