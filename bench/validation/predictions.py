"""Predictions drawn with a known lift, and judged without training: thousands of runs for the
coverage of intervals.

A request has a signal; its outcome follows the signal; each level sees the signal with noise of its
own. Days differ in their share of positives and in how well each level sees, so rows of a day
depend on one another. The truth of a world is its lift over very many days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl
from scipy.signal import lfilter
from scipy.special import expit

import headwater as hw
from bench.validation.scenarios import times
from headwater.backtesting.intervals import evaluate
from headwater.metrics import Blocks, resolve
from headwater.results.estimate import Comparison

METRICS = ("auc", "log_loss")
TRUTH_ROWS = 1_000_000
TRUTH_SEED = 20_240_304  # of no run
RESAMPLES = 1000


@dataclass(frozen=True)
class PredictionsWorld:
    """How days are.

    days, per_day: test days, and requests a day. rate_sd: standard deviation (logits) between days
    of the share of positives. sight_sd: of the difference of the two levels in how well they see.
    correlated: correlation of a day with the one before it. uneven: standard deviation of the
    logarithm of the number of requests a day. weekend: by how much (logits) two days in seven
    differ. stale, fresh: correlation of each level's score with the signal. base: logit of the
    share of positives. signal: of outcomes on it.
    """

    days: int = 28
    per_day: int = 80
    rate_sd: float = 0.4
    sight_sd: float = 0.1
    correlated: float = 0.0
    uneven: float = 0.0
    weekend: float = 0.0
    stale: float = 0.6
    fresh: float = 0.7
    base: float = -1.0
    signal: float = 1.5

    def frame(self, seed: int, days: int | None = None) -> pl.DataFrame:
        """A row a request: id, day, time, label, and the scores `stale`, `fresh`, and `twin`, which
        is as good as `fresh`.
        """
        random, n_days = np.random.default_rng(seed), days or self.days
        rows = random.poisson(
            self.per_day * np.exp(random.normal(-(self.uneven**2) / 2, self.uneven, n_days))
        )
        day = np.repeat(np.arange(n_days), rows)
        n = len(day)
        rate = self._of_days(random, n_days, self.rate_sd) + self.weekend * (
            np.arange(n_days) % 7 >= 5
        )
        signal = random.normal(size=n)
        outcome = random.random(n) < expit(self.base + rate[day] + self.signal * signal)
        asked = times(day * 86_400.0 + random.random(n) * 86_399)
        columns: dict[str, object] = {
            "id": np.arange(n),
            "day": day,
            "time": asked,
            "label": outcome,
        }
        for name, sight in (("stale", self.stale), ("fresh", self.fresh), ("twin", self.fresh)):
            seen = np.clip(sight + self._of_days(random, n_days, self.sight_sd), 0, 0.98)[day]
            score = seen * signal + np.sqrt(1 - seen**2) * random.normal(size=n)
            columns[name] = expit(self.base + self.signal * sight * score)
        return pl.DataFrame(columns)

    def _of_days(self, random: np.random.Generator, days: int, sd: float) -> np.ndarray:
        """float64 (days,): a stationary process of the first order."""
        noise = random.normal(0, sd, days)
        noise[1:] *= np.sqrt(1 - self.correlated**2)
        return np.asarray(lfilter([1.0], [1.0, -self.correlated], noise), np.float64)


WORLDS: Mapping[str, PredictionsWorld] = {
    "days alike": PredictionsWorld(rate_sd=0, sight_sd=0),
    "days differ, 20 days": PredictionsWorld(days=20),
    "days differ, 28 days": PredictionsWorld(),
    "days differ, 60 days": PredictionsWorld(days=60),
    "days differ much": PredictionsWorld(days=30, rate_sd=1.0, sight_sd=0.2),
    "a small lift": PredictionsWorld(days=60, per_day=300, stale=0.68, fresh=0.70, sight_sd=0.02),
    "uneven days": PredictionsWorld(days=40, uneven=0.8),
    "weekends differ": PredictionsWorld(days=56, weekend=1.0),
    "2 % positive": PredictionsWorld(days=28, per_day=300, base=-5.0),
    "days depend on the day before (0.6), 56 days": PredictionsWorld(days=56, correlated=0.6),
    "days depend on the day before (0.6), 140 days": PredictionsWorld(
        days=140, per_day=40, correlated=0.6
    ),
    "days depend on the day before (0.8), 56 days": PredictionsWorld(days=56, correlated=0.8),
    "days depend on the day before (0.8), 140 days": PredictionsWorld(
        days=140, per_day=40, correlated=0.8
    ),
    "days depend strongly (0.6), 56 days": PredictionsWorld(
        days=56, per_day=300, correlated=0.6, sight_sd=0.2
    ),
    "days depend strongly (0.8), 56 days": PredictionsWorld(
        days=56, per_day=300, correlated=0.8, sight_sd=0.2
    ),
    "days depend strongly (0.8), 140 days": PredictionsWorld(
        days=140, per_day=120, correlated=0.8, sight_sd=0.2
    ),
    "2 days": PredictionsWorld(days=2, per_day=600),
    "4 days": PredictionsWorld(days=4, per_day=300),
    "8 days": PredictionsWorld(days=8, per_day=200),
    "12 days": PredictionsWorld(days=12, per_day=150),
    "16 days": PredictionsWorld(days=16, per_day=100),
}


@cache
def true_lifts(name: str) -> Mapping[str, float]:
    """By metric, the lift of `fresh` over `stale` over very many days, so signed that a rise is a
    gain.
    """
    world = WORLDS[name]
    frame = world.frame(TRUTH_SEED, days=TRUTH_ROWS // world.per_day)
    outcome, whole = frame["label"].to_numpy().astype(float), Blocks.whole(frame.height)
    metrics = resolve(METRICS, "binary")
    found = evaluate(
        metrics, outcome, {level: frame[level].to_numpy() for level in ("stale", "fresh")}, whole
    )
    signs = [1 if metric.higher_is_better else -1 for metric in metrics]
    return {
        metric.name: signs[m] * float(found.values[1, m] - found.values[0, m])
        for m, metric in enumerate(metrics)
    }


def judged(frame: pl.DataFrame, levels: tuple[str, str], seed: int) -> Sequence[Comparison]:
    """The verdict on these predictions, as on those of any other program."""
    how = hw.Evaluation(metrics=list(METRICS), resamples=RESAMPLES, seed=seed)
    scores = hw.evaluation.Scores(frame, levels=levels)
    return hw.backtest(
        scores=scores, evaluation=how, resources=hw.Resources(threads=1)
    ).result.comparisons
