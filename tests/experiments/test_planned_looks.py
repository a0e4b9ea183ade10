"""When looks come, and the units that each of them has."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.experiments.planned_looks import planned_looks
from headwater.models.experiment_store import ExperimentChange, StartedExperiment
from tests.experiments.analysis_world import DAY, START, World, micros

BEGIN = micros(START)


def started(**changed: object) -> StartedExperiment:
    return StartedExperiment(
        World(users=2).plan(**changed), (ExperimentChange("started", BEGIN, enrolled=1.0),)
    )


def ramped() -> np.ndarray:
    """First exposures of a ramp: 10 units on the first day, 1,000 on the last of ten."""
    return np.concatenate(
        [
            BEGIN + day * DAY + 1 + np.arange(count)
            for day, count in enumerate([10, 10, 20, 20, 50, 100, 200, 400, 800, 1000])
        ]
    )


@pytest.mark.parametrize("by_units", [True, False])
def test_without_planned_units_error_is_spent_by_time_and_units_are_counted(by_units: bool) -> None:
    first = ramped()
    looks = planned_looks(started(), first, first + DAY, BEGIN + 12 * DAY, by_units=by_units)
    assert looks.information == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert looks.units == [20, 60, 210, 810, 2610]
    assert looks.planned is None


def test_planned_units_are_information() -> None:
    first = ramped()
    looks = planned_looks(
        started(units_needed=1_000), first, first + DAY, BEGIN + 9 * DAY, by_units=True
    )
    assert (looks.information, looks.units, looks.planned) == ([0.2, 0.4], [400, 800], 2_000)
    over = planned_looks(
        started(units_needed=2_000), first, first + DAY, BEGIN + 12 * DAY, by_units=True
    )
    # the planned end spends all that is left
    assert (over.information, over.units) == ([0.2, 0.4, 0.6, 1.0], [800, 1600, 2400, 2610])


def test_looks_without_new_units_are_one() -> None:
    """All units come on the first day: later looks are of the same units, and the newest takes the
    place of those before.
    """
    first = BEGIN + np.arange(500)
    looks = planned_looks(started(), first, first + DAY, BEGIN + 7 * DAY, by_units=False)
    assert (looks.information, looks.units) == ([0.6], [500])
    late = BEGIN + 5 * DAY + np.arange(500)
    looks = planned_looks(started(), late, late + DAY, BEGIN + 8 * DAY, by_units=False)
    assert (looks.number, looks.units) == (1, [500])  # no look before the first unit
    assert (
        planned_looks(started(), first[:0], first[:0], BEGIN + 7 * DAY, by_units=False).number == 0
    )
