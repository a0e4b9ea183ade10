"""Exposures of answered requests, as they are logged."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from headwater.definitions.level import AS_DEFINED
from headwater.experiments.arms_by_unit import INTERLEAVED
from headwater.journal.exposure_log import ExposureLog
from headwater.journal.exposure_rows import SERVED, Exposure
from headwater.online.feature_vectors import FeatureVector
from headwater.online.predictor import Predicted
from headwater.online.read_versions import FALLBACK
from headwater.serving.arm_answers import team_of
from headwater.serving.arm_choice import RowArm
from headwater.serving.serving_result import ServingResult

_new = tuple.__new__  # without the arguments' names, which take most of the time


def log_exposures(log: ExposureLog, request: str, result: ServingResult) -> None:
    """Log the exposures of a request: one for each row with an arm, and one for a list."""
    order, arms = result.order, result.arms
    if order is not None:
        arm = arms[0]
        if arm is None:
            return
        mixed = arm.assigned.arm == INTERLEAVED
        items = [item for item, _ in order.items]
        fell_back = any(
            _fallbacks(ranking) for ranking in ([part.result for part in result.parts] or [result])
        )
        exposure = _exposure(
            request, result, arm, Predicted([], order.how, order.age), fell_back=fell_back
        )
        if mixed:
            exposure = exposure._replace(
                items=[item if isinstance(item, str | int) else str(item) for item in items],
                teams=team_of(result),
            )
        _put(log, arm, [exposure])
        return
    if len(arms) == 1:
        if arms[0] is not None:
            _put(
                log,
                arms[0],
                [
                    _exposure(
                        request,
                        result,
                        arms[0],
                        result.predicted[0],
                        fell_back=bool(_fallbacks(result)),
                    )
                ],
            )
        return
    every: dict[tuple[str, int], tuple[RowArm, list[Exposure]]] = {}
    for rows, answered in [(answered.rows, answered.result) for answered in result.parts] or [
        (range(len(arms)), result)
    ]:
        late = _fallbacks(answered)
        for n, (row, predicted) in enumerate(zip(rows, answered.predicted, strict=True)):
            arm = arms[row]
            if arm is not None:
                plan = arm.experiment.plan
                exposure = _exposure(request, answered, arm, predicted, fell_back=n in late)
                every.setdefault((plan.experiment, plan.version), (arm, []))[1].append(exposure)
    for arm, exposures in every.values():
        _put(log, arm, exposures)


def _put(log: ExposureLog, arm: RowArm, exposures: Sequence[Exposure]) -> None:
    plan = arm.experiment.plan
    arm.experiment.counts["exposed"] += len(exposures)
    log.put(plan.experiment, plan.version, exposures)


def _fallbacks(result: ServingResult) -> Collection[int]:
    """The rows of a result with a stale view, or a feature whose value is a fallback, as of a third
    party that did not answer in time.
    """
    features = result.features
    if features is None:
        return ()
    for version in features.read_versions:
        if version.stale:
            return range(result.rows)
    if isinstance(features, FeatureVector):
        return (0,) if FALLBACK in features.statuses else ()
    rows = {
        n
        for codes in features.statuses
        if FALLBACK in codes
        for n, code in enumerate(codes)
        if code == FALLBACK
    }
    return rows if result.rows_read is None else {result.rows_read[n] for n in rows}


def _exposure(
    request: str, result: ServingResult, arm: RowArm, predicted: Predicted, *, fell_back: bool
) -> Exposure:
    experiment, unit, (name, propensity, cluster, bucket, flag), override = arm
    value, origin, age = predicted
    promised = experiment.promised.get(name)
    if promised is None:  # of an interleaved list
        promised = max(experiment.promised.values())
    if origin == "default":
        fallback = True
    elif origin == "precomputed":
        fallback = age > promised
    else:
        fallback = fell_back
    score = value if type(value) is float else float(value) if isinstance(value, int) else None
    fields = (
        unit,
        name,
        result.t,
        request,
        propensity,
        age,
        promised,
        fallback,
        override,
        cluster,
        bucket,
        result.name,
        result.level or AS_DEFINED,
        result.version,
        score,
        flag,
        SERVED,
        None,
        None,
    )
    return _new(Exposure, fields)
