"""The share of predictions that came too late, measured from the serving log."""

from __future__ import annotations

import math

import msgspec
import polars as pl

from headwater.definitions.checks import micros
from headwater.definitions.model import Model
from headwater.journal.serving_log_rows import LATENCY, PREDICTION, PREDICTION_HOW, REQUEST
from headwater.results.lift_result import Lift
from headwater.results.measurement import Missing, Number, Reading, measured

_FEWEST = 1_000  # requests: a share of 1 % then has a standard error of 0.3 %


def late_share(model: Model, log: pl.DataFrame | None) -> Reading:
    """The share of requests on request that took longer than the model's latency budget, or were
    answered with its default.

    Precomputed predictions are looked up, and say nothing of what a fresher level takes. An answer
    that gave up in time is a default.

    Args:
        model: with its `latency_budget`.
        log: the model's rows of a serving log; None where there is none.

    >>> import dataclasses
    >>> from headwater.testing.examples import churn
    >>> model = dataclasses.replace(churn(), latency_budget="50ms")
    >>> served = pl.DataFrame(
    ...     {
    ...         REQUEST: [str(n) for n in range(2000)],
    ...         PREDICTION: [0.5] * 2000,
    ...         LATENCY: [40_000] * 1980 + [60_000] * 20,
    ...     }
    ... )
    >>> late_share(
    ...     model,
    ...     served.with_columns(
    ...         pl.Series(PREDICTION_HOW, ["default"] * 20 + ["on_request"] * 1980)
    ...     ),
    ... ).value
    0.02
    """
    if model.latency_budget is None:
        return Missing(f"model {model.name!r} has no latency_budget, so no answer is late")
    if log is None or not {PREDICTION_HOW, LATENCY, PREDICTION} <= set(log.columns):
        return Missing("no serving log of predictions")
    budget = micros(model.latency_budget, "latency_budget")
    late = (pl.col(LATENCY) > budget) | (pl.col(PREDICTION_HOW) == "default")
    answered = log.filter(
        pl.col(PREDICTION).is_not_null()
        & (pl.col(PREDICTION_HOW) != "precomputed")
        & pl.col(LATENCY).is_not_null()
    )
    requests = answered.group_by(REQUEST).agg(late.any().alias("late"))["late"]
    if len(requests) < _FEWEST:
        return Missing(
            f"the serving log has {len(requests):,} predictions on request, and a share needs "
            f"{_FEWEST:,}"
        )
    source = (
        f"slower than {model.latency_budget} or answered with the default, of {len(requests):,} "
        "requests in the serving log"
    )
    return measured(float(requests.sum()) / len(requests), "share", source)


def with_measured_late(lift: Lift | Missing, late: Reading) -> Lift | Missing:
    """The lift with the measured share in the worth of a decision, where none was given (0)."""
    if (
        isinstance(lift, Missing)
        or not isinstance(late, Number)
        or not 0 <= late.value < 1
        or math.isnan(late.value)
    ):
        return lift
    value = lift.backtest.value
    if value is None or value.late:
        return lift
    changed = msgspec.structs.replace(value, late=late.value)
    return Lift(msgspec.structs.replace(lift.backtest, value=changed), lift.earned)
