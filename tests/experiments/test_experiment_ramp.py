"""Ramps: what raises, holds and stops an experiment, by exposures and outcomes as they are
logged.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater import clock
from headwater.experiments.assignment import Assignment
from headwater.experiments.experiment_planning import ExperimentPlaces
from headwater.experiments.experiment_ramp import RampLook, ramp, ramp_step
from headwater.journal.exposure_log import ExposureLog
from headwater.journal.exposure_rows import Exposure
from headwater.models.experiment_store import (
    ExperimentStore,
    FrozenArm,
    FrozenPlan,
    StartedExperiment,
)
from tests.experiments.frozen_plans import frozen_plan

DAY, HOUR = 86_400_000_000, 3_600_000_000
BEGIN = 1_772_323_200_000_000  # 1 March 2026
STAGES = (0.1, 0.5, 1.0)


def _plan(**more: object) -> FrozenPlan:
    arms = (
        FrozenArm("daily", "spend", "fresher-daily", 0.5),
        FrozenArm("hourly", "spend", "as defined", 0.5),
    )
    own = {
        "experiment": "fresher",
        "arms": arms,
        "metrics": ("orders",),
        "guardrails": ("refunds",),
        "start": BEGIN,
        "enrolled": STAGES,
    }
    return frozen_plan(**{**own, "units_needed": 1000, **more})


@pytest.fixture
def started(tmp_path: Path) -> StartedExperiment:
    return ExperimentStore(tmp_path / "models").start(_plan(), BEGIN, "ann")


@pytest.mark.parametrize(
    ("hours", "look", "action", "words"),
    [
        (-1, RampLook(), "hold", "begins at"),
        (23, RampLook(), "hold", "the stage lasts until 2026-03-02T00:00:00"),
        (24, RampLook(), "raise", "hold"),
        (24, RampLook(unseen=["hourly"]), "hold", "no unit was exposed to arm 'hourly'"),
        (24, RampLook(held=["cluster count: 3"]), "hold", "cluster count"),
        (1, RampLook(harmed=["refunds +9%"]), "stop", "guardrail beyond its margin: refunds"),
        (1, RampLook(broken=["sample ratio: 9 to 1"]), "stop", "health check broken: sample ratio"),
        (24, RampLook(harmed=["refunds"], broken=["bots"]), "stop", "guardrail"),
        (14 * 24, RampLook(), "done", "ended as planned"),
    ],
)
def test_the_decision(
    started: StartedExperiment, hours: int, look: RampLook, action: str, words: str
) -> None:
    step = ramp_step(started, look, BEGIN + hours * HOUR)
    assert step.action == action
    assert words in step.reason


def requests() -> pl.DataFrame:
    at = [clock.timestamp(BEGIN) - timedelta(days=1, minutes=n) for n in range(50)]
    return pl.DataFrame(
        {
            "user": [f"u{n % 10}" for n in range(50)],
            "asked": at,
            "spent": [float(n % 7 + 1) for n in range(50)],
        }
    )


def project(table: pl.DataFrame, events: pl.DataFrame | None = None) -> hw.Project:
    """The project of `_plan`: orders decide, refunds guard."""
    visits = hw.Source(
        "visits", history=table.select("user", "spent", at="asked"), timestamp_field="at"
    )
    user = hw.FeatureView(
        "user",
        source=visits,
        keys=["user"],
        features=[hw.mean("spent")],
        windows=["7d"],
        freshness=hw.batch("1h"),
    )
    labels = hw.Labels(
        "spending", table=table, timestamp_field="asked", label="spent", known_after="1h"
    )
    model = hw.Model(
        "spend",
        features=hw.FeatureService("svc", [user]),
        labels=labels,
        task="regression",
        outcomes="independent",
    )
    if events is None:
        return hw.Project("shop", [model])
    sold = hw.Source("sold", history=events, timestamp_field="at")
    metric = {
        kind: hw.outcome(sold, hw.sum(kind), keys=["user"], within="6h")
        for kind in ("orders", "refunds")
    }
    experiment = hw.Experiment(
        "fresher",
        [hw.experiments.Arm("daily", model, hw.batch("1d")), hw.experiments.Arm("hourly", model)],
        unit="user",
        metrics=[hw.experiments.ExperimentMetric("orders", value=metric["orders"])],
        guardrails=[
            hw.experiments.ExperimentMetric(
                "refunds", value=metric["refunds"], higher_is_better=False, margin=0.1
            )
        ],
        plan=hw.experiments.ExperimentPlan(enrolled=STAGES),
    )
    return hw.Project("shop", [model], experiments=[experiment])


@pytest.mark.parametrize(
    ("refunds", "lost", "action"), [(1.0, 0.0, "raise"), (2.0, 0.0, "stop"), (1.0, 0.5, "stop")]
)
def test_it_stops_by_itself_where_harm_or_a_fault_is_planted(
    started: StartedExperiment, tmp_path: Path, refunds: float, lost: float, action: str
) -> None:
    """Refunds of the hourly arm times `refunds`, or exposures of it `lost`: the first look after a
    day decides.
    """
    random = np.random.default_rng(4)
    plain = Assignment(started.plan.salt, {"daily": 0.5, "hourly": 0.5})
    rows, exposures = [], []
    for n in range(3000):
        unit = f"u{n}"
        arm = plain.arm(unit)
        assert arm is not None
        at = BEGIN + int(random.integers(0, 12 * HOUR))
        if arm == "hourly" and random.random() < lost:
            continue
        exposures.append(Exposure(unit, arm, at, f"r{n}", 0.5, 10.0, 60.0))
        rate = 0.5 * (refunds if arm == "hourly" else 1.0)
        rows.append(
            (
                unit,
                clock.timestamp(at + HOUR),
                float(random.poisson(2)),
                float(random.poisson(rate)),
            )
        )
    with ExposureLog(tmp_path) as log:
        log.put("fresher", 1, exposures)
    events = pl.DataFrame(
        rows,
        schema={
            "user": pl.String,
            "at": pl.Datetime("us", "UTC"),
            "orders": pl.Float64,
            "refunds": pl.Float64,
        },
        orient="row",
    )
    places = ExperimentPlaces(models=tmp_path / "models", data_dir=tmp_path)
    step = ramp(project(requests(), events), "fresher", places=places, at=BEGIN + DAY)
    assert step.action == action, step.reason
    after = ExperimentStore(tmp_path / "models").one("fresher")
    assert (after.stopped_at is not None) == (action == "stop")
    if action == "stop":
        assert ("refunds" if refunds > 1 else "sample ratio") in step.reason
        again = ramp(project(requests(), events), "fresher", places=places, at=BEGIN + 2 * DAY)
        assert again.action == "done"
