"""A terminal is asked before a backtest for what no table says; options, the project and --yes
answer without questions.
"""

from __future__ import annotations

import io

import pytest

import headwater as hw
from headwater.cli.command import Arguments
from headwater.cli.questions_before import ask
from headwater.cli.screen import Screen

LEVELS = ["daily", "hourly"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def asked(
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    evaluation: hw.Evaluation,
    *,
    as_json: bool = False,
    yes: bool = False,
) -> hw.Evaluation:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    return ask(Arguments(yes=yes, baseline=None), Screen(as_json=as_json), evaluation, LEVELS)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("daily\nyes\nno\n", ("daily", True, False)),
        ("\n\n\n", (None, None, None)),  # Enter takes the proposal
        ("", (None, None, None)),  # and so does the end of the input
        ("dayly\ndaily\nmaybe\nno\nyes\n", ("daily", False, True)),  # a wrong answer is asked again
        ("nothing\nnot known\nyes\n", (None, None, True)),
    ],
)
def test_a_terminal_answers(monkeypatch, capsys, typed, expected):
    found = asked(monkeypatch, typed, hw.Evaluation())
    assert (found.baseline, found.adversaries, found.delay_by_outcome) == expected
    assert "What serves today? daily, hourly, nothing [nothing]" in capsys.readouterr().err


@pytest.mark.parametrize("how", [{"yes": True}, {"as_json": True}])
def test_scripts_are_not_asked(monkeypatch, capsys, how):
    evaluation = hw.Evaluation()
    assert asked(monkeypatch, "daily\nyes\nyes\n", evaluation, **how) is evaluation
    assert capsys.readouterr().err == ""


def test_what_the_project_answers_is_not_asked(monkeypatch, capsys):
    given = hw.Evaluation(baseline="daily", adversaries=True, delay_by_outcome=False)
    assert asked(monkeypatch, "", given) is given
    assert capsys.readouterr().err == ""
