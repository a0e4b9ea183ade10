"""One full run: a model that is fitted in milliseconds, at the usual levels, on one world."""

from __future__ import annotations

from collections.abc import Mapping

from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import headwater as hw
from headwater.results.estimate import Comparison

DAILY, HOURLY, INSTANT = hw.batch("1d", delay="4h"), hw.batch("1h", delay="15m"), hw.on_request()
LADDER: Mapping[str, hw.Level] = {
    "daily": hw.Level(DAILY),
    "hourly": hw.Level(HOURLY),
    "instant": hw.Level(INSTANT),
}
ENDS: Mapping[str, hw.Level] = {name: LADDER[name] for name in ("daily", "instant")}
START_DAY = 4  # of March 2024, when every world begins
RESAMPLES = 500


def logistic() -> Pipeline:
    """A model that is fitted in milliseconds, and right for most of these worlds."""
    return make_pipeline(
        SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression()
    )


def split_after(days: int) -> str:
    """The timestamp `days` after a world begins.

    >>> split_after(24)
    '2024-03-28T00:00Z'
    """
    month, day = (3, START_DAY + days) if START_DAY + days <= 31 else (4, START_DAY + days - 31)
    return f"2024-{month:02}-{day:02}T00:00Z"


def backtest(
    model: hw.Model,
    seed: int,
    train_days: int = 24,
    levels: Mapping[str, hw.Level] = LADDER,
    refits: int | hw.evaluation.Refits = 0,
) -> hw.evaluation.Backtest:
    """Judge the model after `train_days`, by AUC alone; with `refits=Refits()` each level is
    trained as often as by default.
    """
    return hw.backtest(
        model,
        levels=levels,
        evaluation=hw.Evaluation(split=split_after(train_days), metrics=["auc"], resamples=RESAMPLES, seed=seed, cold_start=0, refits=refits),
        resources=hw.Resources(threads=1),
    )  # fmt: skip


def compared(backtested: hw.evaluation.Backtest, from_: str, to: str) -> Comparison:
    """The comparison of two levels."""
    return next(
        c for c in backtested.result.comparisons if (c.from_, c.to, c.metric) == (from_, to, "auc")
    )


def headline(backtested: hw.evaluation.Backtest) -> float:
    """AUC of the freshest level."""
    return backtested.result.levels[-1].metrics["auc"].value
