"""Exposures of an experiment that another system assigns, such as GrowthBook or Statsig: its rows
become rows of the exposure log.

Headwater then analyses them as its own: first exposure of each unit, matured units, the same health
checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import clock, settings
from headwater.definitions.checks import parse_timestamp
from headwater.errors import DataError, UsageError, nearest
from headwater.experiments.assignment import unit_text
from headwater.journal.exposure_log import ExposureLog
from headwater.journal.exposure_rows import Exposure
from headwater.models.experiment_store import StartedExperiment

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class ExternalColumns:
    """Where another system's table has what.

    Args:
        unit: the column of the unit.
        arm: that of the arm.
        at: that of the time of the exposure: timestamps (without a zone: UTC), or strings of ISO
            8601 with an offset.
        arms: by its own names of arms, those of the experiment; left out where they are the same.
        request: the column of the request's id; repeated ones count once.
        cluster: that of the region or cluster, for experiments that assign by one.
        bucket: that of the number of the bucket of time, for switchbacks.
        propensity: that of the probability of the arm; the arm's weight where it is left out.
    """

    unit: str
    arm: str
    at: str
    _: KW_ONLY
    arms: Mapping[object, str] = field(default_factory=dict)
    request: str | None = None
    cluster: str | None = None
    bucket: str | None = None
    propensity: str | None = None


def log_external_exposures(
    frame: pl.DataFrame,
    started: StartedExperiment,
    columns: ExternalColumns,
    *,
    source: str,
    data_dir: str | Path | None = None,
) -> int:
    """Write another system's exposures of an experiment to the exposure log.

    Args:
        frame: its rows of this experiment alone, any order. Write each row once: rows without a
            request's id are counted again.
        started: the experiment; `headwater experiment start` freezes the plan although another
            system assigns.
        columns: where the table has what.
        source: the system's name, such as "growthbook".
        data_dir: where the log is; None is headwater's home.

    Returns:
        The number of rows. They are on disk.

    Raises:
        UsageError: a column that the table has not, a source without a name, or that of headwater
            itself.
        DataError: a unit, arm, time or propensity that is null or cannot be; nothing is written
            then.
        StoreError: the log cannot be written.
    """
    if not source or source in ("served", "reported"):
        raise UsageError(
            f"source is {source!r}; give the name of the system that has assigned, such as "
            "'growthbook'"
        )
    exposures = list(_exposures(frame, started, columns, source))
    plan = started.plan
    folder = settings.home() if data_dir is None else Path(data_dir)
    with ExposureLog(folder) as log:
        log.add(plan.experiment, plan.version, exposures)
    return len(exposures)


def _exposures(
    frame: pl.DataFrame, started: StartedExperiment, columns: ExternalColumns, source: str
) -> Iterator[Exposure]:
    plan = started.plan
    weights = {arm.name: arm.weight for arm in plan.arms}
    named = {"unit": columns.unit, "arm": columns.arm, "at": columns.at}
    named |= {
        role: name
        for role in ("request", "cluster", "bucket", "propensity")
        if (name := getattr(columns, role)) is not None
    }
    for role, name in named.items():
        if name not in frame.columns:
            raise UsageError(
                f"the exposures have no column {name!r} ({role}); {nearest(name, frame.columns)}"
            )
    missing = next((role for role in plan.columns if "cluster" not in named), None)
    if missing is not None:
        raise UsageError(
            f"experiment {plan.experiment!r} assigns by {missing}; name its column: "
            "ExternalColumns(cluster=)"
        )
    wrong = [name for name in columns.arms.values() if name not in weights]
    if wrong:
        raise UsageError(
            f"experiment {plan.experiment!r} has no arm {wrong[0]!r}; {nearest(wrong[0], weights)}"
        )
    for row, values in enumerate(frame.select(list(named.values())).iter_rows()):
        fields = dict(zip(named, values, strict=True))
        yield _exposure(fields, row, weights, columns, plan.experiment, source)


def _exposure(
    fields: Mapping[str, object],
    row: int,
    weights: Mapping[str, float],
    columns: ExternalColumns,
    experiment: str,
    source: str,
) -> Exposure:
    subject = f"row {row} of the exposures"
    arm = "" if fields["arm"] is None else columns.arms.get(fields["arm"], str(fields["arm"]))
    if arm not in weights:
        names = columns.arms or weights
        raise DataError(
            f"{subject}: {fields['arm']!r} is not an arm of experiment {experiment!r}; "
            f"{nearest(str(fields['arm']), [str(name) for name in names])}"
        )
    try:
        unit = unit_text(fields["unit"])
        cluster = None if fields.get("cluster") is None else unit_text(fields["cluster"])
    except UsageError as error:
        raise DataError(f"{subject}: {error}") from error
    propensity = fields.get("propensity", weights[arm])
    if (
        isinstance(propensity, bool)
        or not isinstance(propensity, int | float)
        or not 0 < propensity <= 1
    ):
        raise DataError(
            f"{subject}: the propensity is {propensity!r}; give a probability above 0, up to 1"
        )
    bucket, request = fields.get("bucket"), fields.get("request")
    return Exposure(
        unit,
        arm,
        _time(fields["at"], subject),
        None if request is None else str(request),
        float(propensity),
        cluster=cluster,
        bucket=bucket if isinstance(bucket, int) else None,
        source=source,
    )


def _time(at: object, subject: str) -> int:
    if isinstance(at, datetime):
        return clock.micros(at if at.tzinfo is not None else at.replace(tzinfo=UTC))
    if isinstance(at, str):
        try:
            return parse_timestamp(at, "at")
        except UsageError as error:
            raise DataError(f"{subject}: {error}") from error
    raise DataError(
        f"{subject}: the time is {at!r}; give timestamps, such as pl.from_epoch(pl.col('ts'), 'ms')"
    )
