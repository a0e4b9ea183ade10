"""The figures of a backtest as frames: what its tables round, in full."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from headwater.pages import recommendation_words, wording
from headwater.results.backtest_result import BacktestResult
from headwater.results.estimate import Comparison

_STEP = {
    **dict.fromkeys(("from", "to", "metric"), pl.String),
    **dict.fromkeys(("gain", "low", "high"), pl.Float64),
    "verdict": pl.String,
}
_VALUE = {
    **dict.fromkeys(("level", "metric"), pl.String),
    **dict.fromkeys(("value", "low", "high"), pl.Float64),
}


def levels(result: BacktestResult) -> pl.DataFrame:
    """A row for each level, from stale to fresh: level, kind, age_seconds, coverage, then of each
    metric its value and its interval.

    The headline is the first metric; `auc_low` and `auc_high` are the ends of the interval of
    `auc`.
    """
    rows = [
        {
            "level": level.name,
            "kind": level.kind_words,
            "age_seconds": level.age_seconds,
            "coverage": level.coverage,
        }
        for level in result.levels
    ]
    frame = pl.DataFrame(
        rows,
        {"level": pl.String, "kind": pl.String, "age_seconds": pl.Float64, "coverage": pl.Float64},
    )
    for metric in recommendation_words.ordered_metrics(result):
        estimates = [level.metrics.get(metric) for level in result.levels]
        for end, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
            values = [
                None if estimate is None else getattr(estimate, end) for estimate in estimates
            ]
            frame = frame.with_columns(
                pl.Series(f"{metric}{suffix}", values, pl.Float64).fill_nan(None)
            )
    return frame


def steps(result: BacktestResult) -> pl.DataFrame:
    """A row for each two levels and metric, judged ones first: from, to, metric, gain, low, high,
    verdict.

    A rise is a gain in every metric. Only judged differences have a verdict.
    """
    judged = wording.judged(result)
    metrics = recommendation_words.ordered_metrics(result)
    others = [
        step
        for metric in metrics
        for step in result.comparisons
        if step.metric == metric and step not in judged
    ]
    return _steps(result, [*judged, *others])


def slices(result: BacktestResult) -> pl.DataFrame:
    """A row for each slice, level and metric: slice, rows, level, metric, value, low, high; without
    rows where there are no slices.
    """
    rows = [
        (part.name, part.rows, level.name, metric, value.value, value.low, value.high)
        for part in result.slices
        for level in part.levels
        for metric, value in level.metrics.items()
    ]
    return pl.DataFrame(
        rows, {"slice": pl.String, "rows": pl.Int64, **_VALUE}, orient="row"
    ).fill_nan(None)


def slice_steps(result: BacktestResult) -> pl.DataFrame:
    """A row for each difference on a slice: slice, then as `steps`."""
    parts = [
        _steps(result, part.comparisons).select(pl.lit(part.name).alias("slice"), *_STEP)
        for part in result.slices
        if part.comparisons
    ]
    return pl.concat(parts) if parts else pl.DataFrame(schema={"slice": pl.String, **_STEP})


def csv_files(result: BacktestResult) -> dict[str, str]:
    """The frames as CSV, by name; those without rows are left out."""
    frames = {
        "levels": levels(result),
        "steps": steps(result),
        "slices": slices(result),
        "slice_steps": slice_steps(result),
    }
    return {name: frame.write_csv() for name, frame in frames.items() if frame.height}


def _steps(result: BacktestResult, comparisons: Sequence[Comparison]) -> pl.DataFrame:
    rows = [
        (s.from_, s.to, s.metric, s.delta, s.low, s.high, wording.verdict_word(result, s))
        for s in comparisons
    ]
    return pl.DataFrame(rows, _STEP, orient="row").fill_nan(None)
