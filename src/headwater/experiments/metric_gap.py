"""The headline metric of served answers and of another level's on the same rows, with the interval
of their difference.
"""

from __future__ import annotations

import math

from headwater.backtesting.delivered_rows import DeliveredRows
from headwater.backtesting.experiment_rows import judged_by
from headwater.backtesting.intervals import evaluate, resample_weights
from headwater.backtesting.row_blocks import given_blocks
from headwater.definitions.evaluations import Evaluation
from headwater.definitions.model import Model
from headwater.kernel.arrays import F64, Bool
from headwater.metrics import Blocks, RowContext
from headwater.results.estimate import Estimate
from headwater.results.level_gap_result import MetricGap

RESAMPLES = 1000
LEAST_BLOCKS = 8


def metric_gap(
    model: Model,
    evaluation: Evaluation | None,
    rows: DeliveredRows,
    other: F64,
    chosen: Bool,
    note: str,
    notes: list[str],
) -> MetricGap | None:
    """The headline metric of both on the same rows, with the interval of their difference; None
    where it cannot be computed.

    Args:
        model: which.
        evaluation: names the metric; None is the task's usual one.
        rows: what was served.
        other: the other level's scores, as `rows.score`.
        chosen: the rows that count, bool (rows).
        note: which these are.
        notes: gets why the metric is missing.
    """
    metric = judged_by(model, evaluation or Evaluation()).headline
    if metric.cut or metric.name == "cost":
        notes.append(
            f"metric {metric.name!r} needs a threshold chosen in training, and a serving log has "
            "none; give Evaluation(headline=)"
        )
        return None
    if not chosen.any():
        notes.append("no outcome of these requests is known yet, so no metric is compared")
        return None
    columns = {
        name: rows.frame[name].to_numpy()[chosen]
        for name in metric.columns
        if name in rows.frame.columns
    }
    if len(columns) < len(metric.columns):
        notes.append(
            f"metric {metric.name!r} reads columns that no request had: "
            f"{', '.join(set(metric.columns) - set(columns))}"
        )
        return None
    blocks, why = Blocks.whole(int(chosen.sum())), "one interval needs 8 days"
    days = given_blocks(rows.t[chosen], "1d", None)
    enough = days.result.count >= LEAST_BLOCKS and not days.result.on
    if enough:
        blocks = resample_weights(days.index, RESAMPLES, successive=days.successive)
    scores = {"served": rows.score[chosen], "other": other[chosen]}
    metrics = evaluate(
        [metric],
        rows.y[chosen],
        scores,
        blocks,
        context=RowContext(None if rows.groups is None else rows.groups[chosen], columns),
    )
    sign = 1.0 if metric.higher_is_better else -1.0
    served, replayed = float(metrics.values[0, 0]), float(metrics.values[1, 0])
    gap = Estimate(sign * (replayed - served), math.nan, math.nan)
    if enough:
        low, high = metrics.spread(1, 0, 0).interval()
        gap = Estimate(
            gap.value,
            *(sorted((sign * low, sign * high)) if math.isfinite(low) else (math.nan, math.nan)),
        )
    return MetricGap(
        metric.name,
        served,
        replayed,
        gap,
        int(chosen.sum()),
        note if enough else f"{note}; no interval: {why}",
    )
