"""The units of a look with final outcomes and the values of one metric: every kind of experiment
estimates a lift from them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from headwater.experiments.metric_rows import AnalysedUnits, MetricRows, UnitValues
from headwater.journal.exposure_rows import ARM

VALUE, BASE, BEFORE, COLD = "value", "base", "before", "cold"


@dataclass(frozen=True)
class LookRows:
    """A metric's rows at a look.

    Args:
        frame: as `AnalysedUnits.frame`, of final units with an outcome, with value, base, before
            (float64) and cold (bool).
        ratio: whether the metric has a denominator of its own.
        covariate: whether `before` says anything.
        quantile: of a metric that compares a quantile over units; None for means and ratios.
    """

    frame: pl.DataFrame
    ratio: bool
    covariate: bool
    quantile: float | None = None

    def of_arms(self, *arms: str) -> pl.DataFrame:
        """The rows of some arms."""
        return self.frame.filter(pl.col(ARM).is_in(arms))

    def where(self, condition: pl.Expr) -> LookRows:
        """A part of the units."""
        return LookRows(self.frame.filter(condition), self.ratio, self.covariate, self.quantile)


def look_rows(units: AnalysedUnits, rows: MetricRows, values: UnitValues) -> LookRows:
    """The rows of a metric as of the time that its values are of."""
    before = np.zeros(len(rows.cold)) if rows.before is None else rows.before
    frame = units.frame.with_columns(
        pl.Series(VALUE, values.value, pl.Float64),
        pl.Series(BASE, values.base, pl.Float64),
        pl.Series(BEFORE, before, pl.Float64),
        pl.Series(COLD, rows.cold, pl.Boolean),
    )
    return LookRows(
        frame.filter(pl.Series(values.known, dtype=pl.Boolean)),
        rows.ratio,
        rows.before is not None,
        rows.metric.quantile,
    )
