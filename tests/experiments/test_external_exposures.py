"""Exposures of other systems: rows like GrowthBook's and Statsig's become ours; what cannot be is
refused before anything is written.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from headwater.errors import DataError
from headwater.experiments.exposed_units import exposed_units
from headwater.experiments.external_exposures import ExternalColumns, log_external_exposures
from headwater.experiments.health import unit_checks
from headwater.journal.exposure_log import read_exposures
from headwater.models.experiment_store import ExperimentStore, FrozenArm, StartedExperiment
from tests.experiments.frozen_plans import frozen_plan

START = datetime(2026, 3, 1, tzinfo=UTC)
GROWTHBOOK = ExternalColumns(
    "user_id", "variation_id", "timestamp", arms={"0": "daily", "1": "streaming"}
)


def started(folder: Path, **changes: Any) -> StartedExperiment:
    begins = int(START.timestamp() * 1e6)
    arms = tuple(FrozenArm(name, "churn", "as defined", 0.5) for name in ("daily", "streaming"))
    return ExperimentStore(folder / "models").start(
        frozen_plan(**{"version": 2, "arms": arms, "start": begins, **changes}), begins, "test"
    )


def growthbook(units: int = 400) -> pl.DataFrame:
    """As a warehouse query of GrowthBook gives them: times without a zone are UTC."""
    return pl.DataFrame(
        {
            "user_id": [f"u{number}" for number in range(units)],
            "timestamp": [
                (START + timedelta(minutes=number)).replace(tzinfo=None) for number in range(units)
            ],
            "experiment_id": ["exp-7"] * units,
            "variation_id": [str(number % 2) for number in range(units)],
        }
    )


def test_rows_of_growthbook(tmp_path):
    frame = growthbook()
    assert (
        log_external_exposures(
            frame, started(tmp_path), GROWTHBOOK, source="growthbook", data_dir=tmp_path
        )
        == 400
    )
    logged = read_exposures(tmp_path, "checkout", 2)
    assert logged["unit"].to_list() == frame["user_id"].to_list()
    assert logged["at"].dt.replace_time_zone(None).to_list() == frame["timestamp"].to_list()
    assert logged.select("arm", "propensity", "source", "model").unique().sort("arm").rows() == [
        ("daily", 0.5, "growthbook", None),
        ("streaming", 0.5, "growthbook", None),
    ]
    units = exposed_units(logged)
    assert units.counts(["daily", "streaming"]) == [200, 200]
    assert not any(check.blocks for check in unit_checks(units, {"daily": 0.5, "streaming": 0.5}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"variation_id": pl.lit("2")},
            "row 0 of the exposures: '2' is not an arm of experiment 'checkout'",
        ),
        ({"variation_id": pl.lit(None, pl.String)}, "None is not an arm"),
        ({"user_id": pl.lit(None, pl.String)}, "units are strings that are not empty"),
        ({"user_id": pl.lit(1.5)}, "units are strings that are not empty"),
        ({"timestamp": pl.lit(1_772_323_200_000)}, "pl.from_epoch"),
        ({"timestamp": pl.lit("yesterday")}, "yesterday"),
        ({"timestamp": pl.lit(None, pl.Datetime("us"))}, "the time is None"),
    ],
)
def test_rows_that_cannot_be_are_refused_and_nothing_is_written(tmp_path, change, words):
    with pytest.raises(DataError, match=words):
        log_external_exposures(
            growthbook(3).with_columns(**change),
            started(tmp_path),
            GROWTHBOOK,
            source="g",
            data_dir=tmp_path,
        )
    assert read_exposures(tmp_path, "checkout").is_empty()
