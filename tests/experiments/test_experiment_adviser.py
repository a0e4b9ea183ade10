"""The adviser's decisions, row by row."""

from __future__ import annotations

import pytest

import headwater as hw
from headwater.definitions.checks import DAY, HOUR
from headwater.experiments.experiment_adviser import AdviserAnswers, advise, kind_warnings
from tests.experiments.shop_history import project


@pytest.mark.parametrize(
    ("answers", "written"),
    [
        (AdviserAnswers(False, False, False, 0), "hw.experiments.ABTest()"),
        (AdviserAnswers(False, False, True, 0), "hw.experiments.ABTest()"),
        (AdviserAnswers(True, False, False, 0), "hw.experiments.Switchback(region, length='7h')"),
        (
            AdviserAnswers(True, False, False, 3 * HOUR),
            "hw.experiments.Switchback(region, length='7h', washout='3h')",
        ),
        (
            AdviserAnswers(True, False, False, 4 * HOUR),
            "hw.experiments.Switchback(region, length='10h', washout='4h')",
        ),
        (
            AdviserAnswers(True, False, False, DAY),
            "hw.experiments.ClusterTest(cluster, burn_in='7d')",
        ),
        (
            AdviserAnswers(True, True, False, 0),
            "hw.experiments.ClusterTest(cluster, burn_in='28d')",
        ),
        (AdviserAnswers(False, True), "hw.experiments.ClusterTest(cluster, burn_in='28d')"),
        (AdviserAnswers(True), ""),
        (AdviserAnswers(None, False, False, 0), ""),
        (AdviserAnswers(), ""),
    ],
)
def test_the_kind_follows_from_the_answers(answers: AdviserAnswers, written: str) -> None:
    advice = advise(answers)
    assert advice.written == written
    if written:
        assert advice.kind not in advice.misleading
        assert eval(written.replace("(region", "('r'").replace("(cluster", "('c'"), {"hw": hw})


def test_a_kind_that_misleads_is_warned_of() -> None:
    fits = project().experiment("fresher")
    assert list(kind_warnings(fits, AdviserAnswers())) == []
    assert "A/B test misleads here" in next(
        kind_warnings(fits, AdviserAnswers(supply=True, adversaries=False, carry_over=0))
    )
    caused = project(outcomes="caused").experiment("fresher")
    assert "own log" in next(kind_warnings(caused, AdviserAnswers()))
    assert list(kind_warnings(caused, AdviserAnswers(feedback=False))) == []
