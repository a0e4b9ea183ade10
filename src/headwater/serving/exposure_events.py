"""Exposures that outside callers report: of units that headwater has assigned, or another
system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from headwater import clock
from headwater.definitions.checks import parse_timestamp
from headwater.errors import DataError, HeadwaterError, UsageError, nearest
from headwater.experiments.arms_by_unit import INTERLEAVED
from headwater.experiments.assigners import assigner_of
from headwater.experiments.assignment import unit_text
from headwater.journal.exposure_log import ExposureLog
from headwater.journal.exposure_rows import Exposure
from headwater.models.experiment_store import StartedExperiment

EXTERNAL = "external"
"""The source of an exposure whose arm the caller gives."""
REPORTED = "reported"
"""The source of an exposure whose arm is that of the unit, by the experiment's own rule."""
_FIELDS = (
    "unit",
    "arm",
    "at",
    "request_id",
    "cluster",
    "bucket",
    "propensity",
    "override",
    "source",
)


class AddedExposures(NamedTuple):
    """What became of posted exposures: how many were accepted; of others the place and why they
    were refused.
    """

    accepted: int
    refused: list[tuple[int, str]]


def add_exposures(
    log: ExposureLog,
    started: Sequence[StartedExperiment],
    experiment: str,
    rows: Sequence[Mapping[str, object]],
) -> AddedExposures:
    """Write the exposures of some units; accepted ones are on disk when this returns.

    Args:
        log: where they are written.
        started: the experiments that run.
        experiment: the name of one.
        rows: each has its `unit`; `arm`, where another system has assigned it (else it is the
            unit's); and maybe `at` (default now), `request_id`, `cluster`, `bucket`, `propensity`
            (default: the arm's weight), `override` and `source` (the name of that system).

    Raises:
        UsageError: the experiment does not run.
        StoreError: they cannot be written.
    """
    by_name = {running.plan.experiment: running for running in started}
    if experiment not in by_name:
        running = f"; {nearest(experiment, by_name)}" if by_name else ", and none does"
        raise UsageError(
            f"experiment {experiment!r} is not running{running}; start it: headwater experiment "
            f"start {experiment}"
        )
    chosen, accepted, refused = by_name[experiment], list[Exposure](), list[tuple[int, str]]()
    for index, row in enumerate(rows):
        try:
            accepted.append(_exposure(chosen, row))
        except HeadwaterError as error:
            refused.append((index, str(error)))
    if accepted:
        log.add(experiment, chosen.plan.version, accepted)
    return AddedExposures(len(accepted), refused)


def _exposure(started: StartedExperiment, row: Mapping[str, object]) -> Exposure:
    """A posted exposure.

    Raises:
        HeadwaterError: a field is unknown, missing or of another type; the arm is none of the
            experiment; the unit takes no part.
    """
    for name in row:
        if name not in _FIELDS:
            raise DataError(f"an exposure has no field {name!r}; {nearest(name, _FIELDS)}")
    plan, unit = started.plan, unit_text(row.get("unit"))
    cluster = None if row.get("cluster") is None else unit_text(row["cluster"])
    at, bucket, arm = _time(row.get("at")), row.get("bucket"), row.get("arm")
    if bucket is not None and (isinstance(bucket, bool) or not isinstance(bucket, int)):
        raise DataError(f"bucket is {bucket!r}; give an integer")
    weights = {arm.name: arm.weight for arm in plan.arms}
    override, request, source = row.get("override", False), row.get("request_id"), row.get("source")
    if not isinstance(override, bool):
        raise DataError(f"override is {override!r}; give true or false")
    for name, value in (("request_id", request), ("source", source)):
        if value is not None and not isinstance(value, str):
            raise DataError(f"{name} is {value!r}; give a string")
    texts = (
        str(request) if request is not None else None,
        str(source) if source is not None else None,
    )
    if arm is None:
        assigned = assigner_of(started)(unit, cluster, at)
        if assigned is None:
            raise DataError(
                f"unit {unit!r} takes no part in experiment {plan.experiment!r} at that time; it "
                "gets the default"
            )
        return Exposure(
            unit,
            assigned.arm,
            at,
            texts[0],
            assigned.propensity,
            override=override,
            cluster=assigned.cluster,
            bucket=assigned.bucket,
            flag=assigned.flag,
            source=texts[1] or REPORTED,
        )
    if not isinstance(arm, str) or (arm not in weights and arm != INTERLEAVED):
        raise DataError(
            f"experiment {plan.experiment!r} has no arm {arm!r}; {nearest(str(arm), weights)}"
        )
    propensity = row.get("propensity", weights.get(arm, 0.5))
    if (
        isinstance(propensity, bool)
        or not isinstance(propensity, int | float)
        or not 0 < propensity <= 1
    ):
        raise DataError(f"propensity is {propensity!r}; give a probability above 0, up to 1")
    return Exposure(
        unit,
        arm,
        at,
        texts[0],
        float(propensity),
        override=override,
        cluster=cluster,
        bucket=bucket,
        source=texts[1] or EXTERNAL,
    )


def _time(at: object) -> int:
    if at is None:
        return clock.now_micros()
    if not isinstance(at, str | datetime):
        raise UsageError(f"at is {at!r}; give a timestamp, ISO 8601 with a UTC offset")
    return parse_timestamp(at, "at")
