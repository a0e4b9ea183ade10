"""A probe is a small A/B test with a budget."""

import pytest

import headwater as hw
from headwater.errors import DefinitionError
from headwater.testing.examples import churn

GIVEN = {"unit": "user", "share": 0.02, "loss_budget": 50}


def test_a_probe_is_an_experiment_of_two_arms():
    known = hw.experiments.probe("nightly", churn(), hw.batch("1d"), **GIVEN)
    assert (known.name, known.unit, known.control.name) == ("probe_nightly", "user", "served")
    assert [arm.weight for arm in known.arms] == [0.98, 0.02]
    assert isinstance(known.kind, hw.experiments.ABTest)
    assert (
        known.fingerprint
        != hw.experiments.probe(
            "nightly", churn(), hw.batch("1d"), **{**GIVEN, "loss_budget": 51}
        ).fingerprint
    )


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"share": 0.5}, "or run an A/B test"),
        ({"share": 0}, "give a share"),
        ({"loss_budget": 0}, "loss_budget is 0"),
        ({"loss_budget": True}, "loss_budget is True"),
        ({"unit": "usr"}, "did you mean 'user'"),
        (
            {"metrics": [hw.experiments.ExperimentMetric("rate", base="requests")]},
            "leave its base out",
        ),
        ({"shar": 0.1}, "did you mean 'share'"),
    ],
)
def test_bad_probes_are_refused(changed, match):
    with pytest.raises((DefinitionError, TypeError), match=match):
        hw.experiments.probe("nightly", churn(), hw.batch("1d"), **{**GIVEN, **changed})


def test_its_name_is_what_training_leaves_out():
    known = hw.experiments.probe("nightly", churn(), hw.batch("1d"), **GIVEN)
    with pytest.raises(DefinitionError, match="is named probe_"):
        hw.Experiment("other", known.arms, unit="user", kind=hw.experiments.Probe(loss_budget=1))
