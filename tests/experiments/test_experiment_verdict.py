"""Verdicts of a look: each of the six, and the error of many looks, arms and guardrails
together.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from headwater.experiments.experiment_verdict import ExperimentLook, GuardrailLook, verdict
from headwater.experiments.health import HealthCheck
from headwater.experiments.relative_lift import RelativeLift


def _lift(log_ratio: float, se: float = 0.01) -> RelativeLift:
    return RelativeLift(1.0, math.exp(log_ratio), log_ratio, se)


def _decision(lift: float, **options: object) -> str:
    given = {
        "information": [0.5, 1.0],
        "lifts": {"streaming": _lift(lift)},
        "guardrails": {},
        "checks": [],
    } | options
    return verdict(ExperimentLook(**given)).decision


def test_each_decision() -> None:
    assert _decision(0.05) == "real-time"
    assert _decision(0.05, break_even=0.04) == "inconclusive"
    assert _decision(0.05, break_even=0.08) == "stay batch"
    assert _decision(0.05, break_even=0.04, information=[0.5]) == "keep running"
    assert _decision(0.0, break_even=0.05, information=[0.7]) == "stay batch"
    assert _decision(-0.05) == "harm"
    assert _decision(-0.05, higher_is_better=False) == "real-time"
    assert _decision(0.05, higher_is_better=False) == "harm"
    assert _decision(0.01) == "inconclusive"
    assert _decision(0.01, min_lift=0.05) == "stay batch"
    assert _decision(0.01, min_lift=0.02) == "inconclusive"
    assert _decision(0.01, min_lift=0.05, information=[0.5]) == "keep running"
    assert (
        _decision(0.01, min_lift=0.05, information=[0.5], over="the experiment was stopped")
        == "stay batch"
    )
    assert _decision(0.05, checks=[HealthCheck("sample ratio", "broken", "")]) == "invalid"
    assert (
        _decision(
            0.05, checks=[HealthCheck("bots", "ok", ""), HealthCheck("age", "not checked", "")]
        )
        == "real-time"
    )
    assert _decision(0.0, information=[0.0]) == "keep running"


def test_a_guardrail_stops_a_winner() -> None:
    worse = GuardrailLook("refunds", _lift(0.2, 0.02), 10_000, 0.05, higher_is_better=False)
    assert _decision(0.05, guardrails={"streaming": [worse]}) == "harm"
    open_one = GuardrailLook("refunds", _lift(0.04, 0.02), 10_000, 0.05, higher_is_better=False)
    assert _decision(0.05, guardrails={"streaming": [open_one]}) == "real-time"
    assert [rail.state(0.05) for rail in (worse, open_one)] == ["worse", "not proven"]
    assert [replace(rail, margin=0.5).state(0.05) for rail in (worse, open_one)] == [
        "within",
        "within",
    ]
    assert replace(worse, higher_is_better=True).state(0.05) == "within"


def test_arms_share_the_error_by_holm() -> None:
    lifts = {"hourly": _lift(0.022), "streaming": _lift(0.03), "never": _lift(0.0)}
    look = ExperimentLook([1.0], lifts, {}, [])
    found = verdict(look)
    assert list(found.intervals) == list(lifts)
    widths = {
        arm: math.log1p(high) - math.log1p(low) for arm, (low, high) in found.intervals.items()
    }
    assert widths["streaming"] / 0.02 == pytest.approx(2.394, abs=0.001)  # 5 % over three
    # over two, since streaming is shown
    assert widths["hourly"] / 0.02 == pytest.approx(2.241, abs=0.001)
    assert widths["never"] / 0.02 == pytest.approx(2.241, abs=0.001)  # hourly is not
    assert (found.decision, found.arm) == ("real-time", "streaming")


@pytest.mark.parametrize("arms", [1, 3])
def test_an_aa_experiment_of_many_looks_decides_at_its_level(arms: int) -> None:
    random = np.random.default_rng(arms)
    looks, wrong, runs = 5, 0, 800
    for _ in range(runs):
        paths = np.cumsum(random.standard_normal((looks, arms)), axis=0)
        for look in range(looks):
            information = [(n + 1) / looks for n in range(look + 1)]
            z = paths[look] / math.sqrt(look + 1)
            lifts = {
                f"arm{n}": _lift(
                    0.01 * float(z[n]) / math.sqrt(information[-1]),
                    0.01 / math.sqrt(information[-1]),
                )
                for n in range(arms)
            }
            if verdict(ExperimentLook(information, lifts, {}, [])).decision in (
                "real-time",
                "harm",
            ):
                wrong += 1
                break
    assert wrong / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert wrong / runs >= 0.02
