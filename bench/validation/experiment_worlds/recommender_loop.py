"""A recommender that trains on the clicks it causes: what it never shows has no clicks, so its own
log argues for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.validation.experiment_worlds.world import ArmTotals
from headwater.experiments.relative_lift import RelativeLift
from headwater.kernel.arrays import F64

_ITEMS, _SLOTS, _USERS = 50, 5, 100
_EXPLORED = 0.1
_DECAY = 0.5 ** (1 / 3)  # of fast counters an hour: a half-life of 3 hours
_PRIOR_CLICKS, _PRIOR_SHOWN = 2.0, 40.0


@dataclass(frozen=True)
class RecommenderLoop:
    """Clicks per impression.

    Args:
        markets: of one experiment.
        steps: hours.
        burn_in: hours left out.
        split_logs: whether each arm trains on its own clicks only.
    """

    markets: int = 20
    steps: int = 168
    burn_in: int = 48
    split_logs: bool = False
    name: str = "recommender loop"
    steps_a_day: int = 24

    def simulate(self, share: F64, random: np.random.Generator) -> ArmTotals:
        """See `World`."""
        return self._hours(share, random)[0]

    def _hours(self, share: F64, random: np.random.Generator) -> tuple[ArmTotals, F64]:
        """The totals, and by market the clicks on the real-time ranker's and on the batch ranker's
        list (hit-rate backtest).
        """
        markets, steps = share.shape
        base = random.beta(2, 40, (markets, _ITEMS))
        age = np.full((markets, _ITEMS), 99.0)
        daily = np.zeros((2, 2, markets, _ITEMS))  # log, clicks or impressions
        fast = np.zeros((2, 2, markets, _ITEMS))
        snapshot = np.full((markets, _ITEMS), 0.05)
        totals = np.zeros((4, markets, steps))
        on_lists = np.zeros((2, markets))
        for hour in range(steps):
            age = np.where(random.random((markets, _ITEMS)) < 0.008, 0.0, age + 1)
            rate = np.minimum(base + 0.25 * np.exp(-age / 12), 0.6)
            if hour % 24 == 0:
                snapshot = (daily[0, 0] + _PRIOR_CLICKS) / (daily[0, 1] + _PRIOR_SHOWN)
                daily *= 0.3
            fresh = (fast[1, 0] + _PRIOR_CLICKS) / (fast[1, 1] + _PRIOR_SHOWN)
            ties = 1e-6 * random.random((2, markets, _ITEMS))
            lists = [_top(snapshot + ties[0]), _top(fresh + ties[1])]
            hour_clicks, hour_shown = [], []
            for arm, share_of_arm in ((0, 1 - share[:, hour]), (1, share[:, hour])):
                expected = (_USERS * share_of_arm * _SLOTS * _EXPLORED / _ITEMS)[:, None] + (
                    _USERS * share_of_arm * (1 - _EXPLORED)
                )[:, None] * lists[arm]
                shown = random.poisson(expected)
                hour_shown.append(shown)
                hour_clicks.append(random.binomial(shown, rate))
                totals[2 * arm, :, hour] = hour_clicks[arm].sum(axis=1)
                totals[2 * arm + 1, :, hour] = shown.sum(axis=1)
            clicks = hour_clicks[0] + hour_clicks[1]
            on_lists += np.stack(
                [(clicks * _top(fresh)).sum(axis=1), (clicks * lists[0]).sum(axis=1)]
            )
            fast *= _DECAY
            for log in (0, 1):
                seen: Any = (
                    (hour_clicks[log], hour_shown[log])
                    if self.split_logs
                    else (sum(hour_clicks), sum(hour_shown))
                )
                for kind in (0, 1):
                    daily[log, kind] += seen[kind]
                    fast[log, kind] += seen[kind]
        return ArmTotals(*totals), on_lists

    def backtest(self, random: np.random.Generator) -> RelativeLift:
        """The hit rate: clicks of the batch ranker's log that fall on the list that real time would
        have shown, over those on its own.
        """
        # before an experiment both rankers learn from the one log there is
        shared = replace(self, split_logs=False)
        _, on_lists = shared._hours(np.zeros((self.markets, self.steps)), random)  # noqa: SLF001
        fresh, shown = on_lists
        logs = np.log(fresh / shown)
        ratio = math.log(float(fresh.sum() / shown.sum()))
        return RelativeLift(
            float(shown.mean()),
            float(fresh.mean()),
            ratio,
            float(logs.std(ddof=1) / math.sqrt(len(logs))),
            len(logs) - 1,
        )


def _top(scores: F64) -> F64:
    """1 for the items of the list that the scores give, else 0."""
    listed = np.zeros(scores.shape)
    np.put_along_axis(listed, np.argpartition(-scores, _SLOTS - 1, axis=1)[:, :_SLOTS], 1.0, axis=1)
    return listed
