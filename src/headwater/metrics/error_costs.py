"""The cost of errors: money per 1,000 requests at the threshold with the lowest cost.

The threshold is chosen on training rows that were held out when the model was
fitted (see `cheapest_threshold`), so that the cost on the test rows is what it
would have been.

Source: Elkan, "The foundations of cost-sensitive learning", 2001.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headwater.definitions.definition import is_expr
from headwater.errors import DataError, UsageError, nearest
from headwater.metrics.metric import Column, Floats, Ints, Metric, ScoredRows, ratio

if TYPE_CHECKING:
    import polars as pl

NAME = "cost"
KINDS = ("false_positive", "false_negative", "true_positive", "true_negative")


@dataclass(frozen=True)
class Costs:
    """What each kind of answer costs, as float64 (rows) in the labels' order; `describes` in
    words.
    """

    values: Mapping[str, Floats]
    describes: Mapping[str, str]

    def per_row(self, y: Floats, rows: Ints) -> tuple[Floats, Floats]:
        """What each of these rows costs if it is flagged, and if not: float64 (rows) each; `y` and
        `rows`, int64, are (rows).
        """
        selected = {kind: value[rows] for kind, value in self.values.items()}
        flagged = np.where(y > 0, selected["true_positive"], selected["false_positive"])
        return flagged, np.where(y > 0, selected["false_negative"], selected["true_negative"])

    def columns(self, y: Floats) -> dict[str, Column]:
        """The costs as columns for the metric."""
        flagged, passed = self.per_row(y, np.arange(len(y)))
        return {_FLAGGED: flagged, _PASSED: passed}


_FLAGGED, _PASSED = "cost if flagged", "cost if not"


def read_costs(costs: Mapping[str, float | str | pl.Expr], frame: pl.DataFrame) -> Costs:
    """The costs of a user, a number or a value a row each; kinds that are not named cost nothing.

    Raises:
        UsageError: an unknown kind, or a cost that is neither a number, a column nor an expression.
        DataError: a cost that is missing or infinite in some row.
    """
    check_costs(costs)
    import polars as pl

    values, descriptions = {kind: np.zeros(frame.height) for kind in KINDS}, {}
    for kind, cost in costs.items():
        if isinstance(cost, int | float):
            values[kind], descriptions[kind] = np.full(frame.height, float(cost)), f"{cost:g}"
            continue
        expression = pl.col(cost) if isinstance(cost, str) else cost
        for column in expression.meta.root_names():
            if column not in frame.columns:
                raise UsageError(
                    f"costs: {kind} names {column!r}, which the labels do not have; "
                    f"{nearest(column, frame.columns)}"
                )
        column_values = (
            frame.select(expression.cast(pl.Float64).alias("cost"))["cost"]
            .fill_null(math.nan)
            .to_numpy()
        )
        if bad := int((~np.isfinite(column_values)).sum()):
            raise DataError(
                f"costs: {kind} is missing or infinite in {bad} of {frame.height} rows; fill it "
                "in the labels' select"
            )
        values[kind], descriptions[kind] = column_values, str(cost)
    return Costs(values, descriptions)


def check_costs(costs: object) -> None:
    """Refuse what are no costs, before anything is computed."""
    if not isinstance(costs, Mapping) or not costs:
        raise UsageError(
            f"costs is {costs!r}; give a mapping such as {{'false_positive': 5, 'false_negative': "
            "'amount'}"
        )
    for kind, cost in costs.items():
        if kind not in KINDS:
            raise UsageError(f"costs names {kind!r}; {nearest(str(kind), KINDS)}")
        if not is_expr(cost) and (
            isinstance(cost, bool) or not isinstance(cost, int | float | str)
        ):
            raise UsageError(
                f"costs: {kind} is {cost!r}; give a number, a column of the labels, or a polars "
                "expression over them"
            )
        if isinstance(cost, int | float) and not math.isfinite(cost):
            raise UsageError(f"costs: {kind} is {cost!r}; give a finite number")


def cheapest_threshold(score: Floats, flagged: Floats, passed: Floats) -> float:
    """The score from which flagging costs least in all: float64 (rows) each, of rows that the model
    did not learn from.

    `flagged` and `passed` are what each row costs if it is flagged and if not. Infinity where
    flagging none costs least; of equally good thresholds the highest.

    >>> cheapest_threshold(np.array([0.9, 0.4, 0.1]), np.array([0.0, 5, 5]), np.array([50.0, 0, 0]))
    0.9
    """
    if not len(score):
        return math.inf
    order = np.argsort(-score, kind="stable")
    ranked, saved = score[order], np.cumsum((passed - flagged)[order])
    saved[:-1][ranked[1:] == ranked[:-1]] = -math.inf  # a threshold cannot part rows of equal score
    best = int(np.argmax(saved))
    return float(ranked[best]) if saved[best] > 0 else math.inf


def cost_metric() -> Metric:
    """Money per 1,000 requests: the lower the better; a change of 0.5 % of the first level's is
    worth having.
    """
    return Metric(
        NAME,
        "binary",
        _cost,
        higher_is_better=False,
        relative=True,
        columns=(_FLAGGED, _PASSED),
        cut="cheapest",
        span=(-math.inf, math.inf),
    )


def _cost(rows: ScoredRows) -> Floats:
    if rows.cheapest is None:
        raise UsageError(f"the cost needs a threshold, and level {rows.level!r} has none")
    flagged, passed = (
        rows.context.columns[name].astype(np.float64) for name in (_FLAGGED, _PASSED)
    )
    paid = np.where(rows.score >= rows.cheapest, flagged, passed)
    return 1000 * ratio(rows.total(paid), rows.total(np.ones(len(paid))))
