"""Experiments: refusals when they are written, and what a project checks across them."""

from __future__ import annotations

from dataclasses import replace

import pytest

import headwater as hw
from headwater.definitions.experiment import Arm, Experiment, ExperimentPlan
from headwater.errors import DefinitionError, UsageError
from headwater.testing.examples import churn

MODEL = churn()
ARMS = [Arm("daily", MODEL, hw.batch("1d")), Arm("streaming", MODEL, hw.streaming("2s"))]


def _experiment(**options: object) -> Experiment:
    return Experiment(**({"name": "fresher", "arms": ARMS, "unit": "user"} | options))


def test_arms_share_alike_and_a_bare_freshness_is_a_level() -> None:
    experiment = _experiment()
    assert [arm.weight for arm in experiment.arms] == [0.5, 0.5]
    assert experiment.control.level == hw.Level(hw.batch("1d"))
    assert experiment.salt == "fresher/1"
    assert _experiment(version=2).fingerprint != experiment.fingerprint
    assert _experiment() == experiment


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"arms": ARMS[:1]}, "at least two"),
        ({"arms": [ARMS[0], ARMS[0]]}, "two arms are named 'daily'"),
        ({"arms": [replace(ARMS[0], weight=0.5), replace(ARMS[1], weight=0.6)]}, "sum to 1.1"),
        (
            {"arms": [ARMS[0], Arm("other", replace(MODEL, name="other", task="regression"))]},
            "binary, regression",
        ),
        ({"unit": "usr"}, "does not carry; did you mean 'user'"),
        ({"kind": hw.experiments.Switchback("city")}, "region is 'city'"),
        ({"kind": hw.experiments.ClusterTest("market", burn_in="28d")}, "cluster is 'market'"),
    ],
)
def test_what_cannot_be_is_refused(options: dict, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        _experiment(**options)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: hw.experiments.Switchback("user", length="6h", washout="3h"), "never observed"),
        (lambda: hw.experiments.Switchback("user", length="7h", washout="7h"), "must be shorter"),
        (
            lambda: hw.experiments.Switchback(
                "user", length="8h", washout="5h", random_bounds=True
            ),
            "as short as 4h",
        ),
        (lambda: replace(MODEL, outcomes="sometimes"), "'independent', 'censored' or 'caused'"),
    ],
)
def test_parts_that_cannot_be_are_refused(build: object, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        build()


def test_a_start_has_a_time_zone() -> None:
    assert ExperimentPlan(start="2026-11-01T00:00+01:00").start == "2026-10-31T23:00:00+00:00"
    with pytest.raises(UsageError, match="no time zone"):
        ExperimentPlan(start="2026-11-01")


def test_a_project_checks_models_names_and_layers() -> None:
    def project(*experiments: object) -> hw.Project:
        return hw.Project("p", [MODEL], experiments=experiments)

    half = _experiment(layer="checkout", span=(0.0, 0.5))
    rest = _experiment(name="other", layer="checkout", span=(0.5, 1.0))
    assert [e.name for e in project(half, rest).experiments] == ["fresher", "other"]
    with pytest.raises(DefinitionError, match="share a part of layer 'checkout'"):
        project(half, replace(rest, span=(0.4, 1.0)))
    with pytest.raises(DefinitionError, match="one layer, each with a span"):
        project(_experiment(), _experiment(name="other"))
    with pytest.raises(DefinitionError, match="not among its models"):
        project(_experiment(arms=[Arm("a", replace(MODEL, name="b")), ARMS[1]]))
    with pytest.raises(DefinitionError, match="experiments holds 'fresher'"):
        project("fresher")


def test_undeclared_parts_leave_old_fingerprints_alone() -> None:
    assert replace(MODEL, outcomes="independent").fingerprint != MODEL.fingerprint
    assert (
        hw.Project("p", [MODEL], experiments=[]).fingerprint == hw.Project("p", [MODEL]).fingerprint
    )


def test_an_arm_answers_at_the_level_of_that_name_or_at_one_of_its_own() -> None:
    project = hw.Project(
        "p", models=[MODEL], levels={"nightly": hw.batch("1d")}, experiments=[_experiment()]
    )
    experiment = project.experiments[0]
    assert [project.arm_variant(experiment, arm).name for arm in experiment.arms] == [
        "nightly",
        "fresher-streaming",
    ]
    assert [variant.name for variant in project.variants] == [
        "as defined",
        "nightly",
        "fresher-streaming",
    ]
