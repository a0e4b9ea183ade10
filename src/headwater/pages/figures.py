"""Pictures of results: what is drawn of a backtest, an experiment, a delivery and a comparison of
levels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from headwater.pages import axis, pictures, recommendation_words, wording
from headwater.pages.pictures import Curve, Limit, Mark, Row, Rows, Series
from headwater.results.age_curve_result import AgeCurve
from headwater.results.backtest_result import BacktestResult
from headwater.results.estimate import Comparison, Estimate
from headwater.results.experiment_result import AxisEstimate, ExperimentResult, MetricLift
from headwater.results.promise_result import DeliveryResult


def lift_curve(result: BacktestResult) -> Curve | None:
    """The headline metric over feature age, fresher to the right, named by level; None if no level
    reads history.
    """
    places, base = wording.places(result, result.headline), axis.reference(result)
    marks = _levels(result, named=True)
    value = base.metrics[result.headline] if base else None
    limits = (
        [Limit(value, f"{base.name} {wording.number(value.value, places)}")]
        if base and value and math.isfinite(value.value)
        else []
    )
    joined = axis.is_curve(axis.points(result))
    return _by_age([result], [Series("", marks, 2, joined)], limits) if marks else None


def lift_curves(results: Mapping[str, BacktestResult]) -> Curve:
    """The lift curves of several backtests by their names."""
    series = [
        Series(name, _levels(result, named=False), 2 + n, axis.is_curve(axis.points(result)))
        for n, (name, result) in enumerate(results.items())
    ]
    return _by_age(list(results.values()), series, [])


def _by_age(
    results: Sequence[BacktestResult], series: Sequence[Series], limits: Sequence[Limit]
) -> Curve:
    points = [point for result in results for point in axis.points(result)]
    ages = [point.at for point in points]
    marks = axis.marks(ages, 6)
    if any(point.level.age_seconds == 0 for point in points):
        marks = [*marks, (min(ages), "0 s")]
    return Curve(
        axis.title(results[0]),
        f"mean age of features, log scale, fresher {wording.ARROW}",
        series,
        [(-math.log10(age), text) for age, text in marks],
        limits,
        room=0.11,
    )


def _levels(result: BacktestResult, *, named: bool) -> list[Mark]:
    places = wording.places(result, result.headline)
    return [
        Mark(
            -math.log10(point.at),
            point.estimate,
            f"{point.level.name} ({point.level.kind}): {point.level.describes} "
            f"{wording.estimate(point.estimate, places)}",
            f"{point.level.name} {wording.number(point.estimate.value, places)}" if named else "",
            "dot" if point.level.kind == "real-time" else "hollow",
        )
        for point in axis.points(result)
    ]


def lift_by_age(curves: Sequence[AgeCurve], label: str) -> Curve:
    """The lift of each view over its age, with a band; older to the right."""
    series = [
        Series(
            curve.view,
            [
                Mark(
                    math.log10(1 + point.age_seconds),
                    point.lift,
                    f"{curve.view}, {wording.duration(point.age_seconds)}: {point.lift.value:+.4f}",
                )
                for point in curve.points
            ],
            1 + n % 5,
            band=True,
        )
        for n, curve in enumerate(curves)
    ]
    ages = [point.age_seconds for point in curves[0].points]
    ticks = [(math.log10(1 + age), wording.duration(age)) for age in ages]
    return Curve(f"lift in {label}", "age of the view's features", series, ticks)


def slice_gains(result: BacktestResult, step: Comparison) -> Rows:
    """One step's gain on all rows and on every slice; gains below the smallest worth having are
    shaded.
    """
    gains = [("all rows", step)]
    for slice_result in result.slices:
        alike = wording.like(slice_result.comparisons, step)
        gains += [(slice_result.name, gain) for gain in alike]
    least = recommendation_words.least_gain(result, step)
    return Rows(
        f"gain in {wording.metric_label(step.metric)}, {step.from_} {wording.ARROW} {step.to}",
        [
            Row(
                name,
                wording.verdict_word(result, gain),
                Estimate(gain.delta, gain.low, gain.high),
                f"{name}: {wording.judged_gain(result, gain)}",
                "dot" if n else "chosen",
            )
            for n, (name, gain) in enumerate(gains)
        ],
        [Limit(Estimate(0.0, -least, least))] if least else [],
    )


def calibration(result: BacktestResult) -> Curve | None:
    """Observed rate over predicted score for each level, against the diagonal; None where no level
    kept its curve.
    """
    series = [
        Series(
            level.name,
            [
                Mark(x, _point(y), f"{level.name}: scored {x:.2f}, observed {y:.2f}")
                for x, y in zip(level.curves.predicted, level.curves.observed, strict=True)
                if math.isfinite(x) and math.isfinite(y)
            ],
            n,
        )
        for n, level in enumerate(result.levels)
        if level.curves is not None
    ]
    return Curve("observed rate", "predicted score", series, (), square=True) if series else None


def methods(result: ExperimentResult) -> Rows:
    """The gain of each arm by each method, in percent, with the break-even and the gap between
    backtest and experiment.
    """
    shown = [estimate for estimate in result.axis if math.isfinite(estimate.lift.value)]
    rows = [
        Row(
            estimate.method,
            _measured(result, estimate),
            _percent(estimate.lift),
            f"{estimate.method}, {estimate.arm}, {estimate.metric}: "
            f"{100 * estimate.lift.value:+.2f} %",
            "chosen" if estimate.decides else "dot",
        )
        for estimate in shown
    ]
    even = 100 * (result.break_even or 0.0)
    limits = [Limit(_point(even), f"break-even {even:+.1f} %")] if even else []
    return Rows("gain over the control, %", rows, limits, _gap(shown))


def _gap(
    shown: Sequence[AxisEstimate],
) -> tuple[tuple[int, int], tuple[float, float], str] | None:
    """Between the backtest and the experiment, of the first arm that has both."""
    for number, estimate in enumerate(shown):
        for last, other in enumerate(shown):
            if estimate.method == "backtest" and other.decides and other.arm == estimate.arm:
                low, high = sorted([100 * estimate.lift.value, 100 * other.lift.value])
                return (number, last), (low, high), "what the backtest could not see"
    return None


def _measured(result: ExperimentResult, estimate: AxisEstimate) -> str:
    names = [estimate.arm] if len(result.arms) > 2 else []
    if not estimate.decides and estimate.method == "backtest":
        names.append(f"in {wording.metric_label(estimate.metric)}")
    return ", ".join(names) or estimate.metric


def lift_over_time(metrics: Sequence[MetricLift]) -> Curve:
    """The lift by the outcomes that were final each day, with bands that hold on all days
    together.
    """
    series, ticks = [], []
    for number, metric in enumerate(metrics):
        places, dates = pictures.days([point.at for point in metric.over_time])
        marks = [
            Mark(
                at,
                _percent(point.lift),
                f"{metric.arm}, {point.at[:10]}: {100 * point.lift.value:+.2f} %, "
                f"{point.units:,} units",
            )
            for at, point in zip(places, metric.over_time, strict=True)
        ]
        series.append(Series(metric.arm, marks, 1 + number, band=True))
        ticks += dates
    title = f"change of {metrics[0].metric}, %"
    return Curve(title, "outcomes final by", series, ticks, [Limit(_point(0.0))])


def delivered(result: DeliveryResult, label: str) -> Curve:
    """The judged weeks with intervals, single weeks, and the promised interval as a band."""
    single = [week for week in result.weeks if math.isfinite(week.value)]
    alone, ticks = pictures.days([week.week for week in single])
    judged, _ = pictures.days([week.week for week in result.judged])
    series = [
        Series(
            "the week alone",
            [
                Mark(at, _point(week.value), f"week of {week.week} alone: {week.value:.4f}")
                for at, week in zip(alone, single, strict=True)
            ],
            1,
            joined=False,
        ),
        Series(
            "delivered, judged weeks",
            [
                Mark(
                    at,
                    week.delivered,
                    f"week of {week.week}: {week.state}, {week.delivered.value:.4f}",
                    shape="cross" if week.state == "missed" else "dot",
                )
                for at, week in zip(judged, result.judged, strict=True)
            ],
            2,
            joined=False,
        ),
    ]
    return Curve(label, "week of", series, ticks, [Limit(result.promise.promised)])


def levels_by_day(
    names: Iterable[str], days: Mapping[str, Mapping[str, float]], label: str
) -> Curve:
    """A value of each level by day (ISO 8601)."""
    places, ticks = pictures.days(list(days))
    series = [
        Series(
            name,
            [
                Mark(at, _point(values[name]), f"{name}, {day}: {values[name]:.4f}")
                for at, (day, values) in zip(places, days.items(), strict=True)
                if name in values
            ],
            number,
        )
        for number, name in enumerate(names)
    ]
    return Curve(label, "day", series, ticks)


def by_day(
    title: str,
    days: Sequence[date],
    lines: Mapping[str, Sequence[float | None]],
    *,
    band: tuple[Sequence[float | None], Sequence[float | None]] | None = None,
    limit: tuple[float, str] | None = None,
    zero: bool = True,
) -> Curve | None:
    """Values by day; None where no day has one.

    Args:
        title: of the values, with their unit.
        days: ascending.
        lines: by name, a value for each day; None leaves a gap.
        band: the ends of an area around the first line.
        limit: a value that is drawn across, and its name; left out far above all values.
        zero: whether the scale begins at 0.
    """
    present = [value for values in lines.values() for value in values if value is not None]
    if not present:
        return None
    places, ticks = pictures.days([day.isoformat() for day in days])
    nothing: Sequence[float | None] = [None] * len(days)
    series = []
    for n, (name, values) in enumerate(lines.items()):
        lows, highs = band if band is not None and not n else (nothing, nothing)
        marks = [
            Mark(
                at,
                Estimate(_number(value), _number(low), _number(high)),
                "" if value is None else f"{day}: {name} {value:.4g}",
            )
            for at, day, value, low, high in zip(places, days, values, lows, highs, strict=True)
        ]
        series.append(Series(name, marks, (2, 1, 0, 3)[n % 4], band=band is not None and not n))
    near = limit is not None and limit[0] <= 4 * max(present)
    limits = [Limit(_point(limit[0]), limit[1])] if limit is not None and near else []
    return Curve(title, "", series, ticks, limits, zero=zero)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _percent(estimate: Estimate) -> Estimate:
    return Estimate(100 * estimate.value, 100 * estimate.low, 100 * estimate.high)


def _point(value: float) -> Estimate:
    return Estimate(value, math.nan, math.nan)
