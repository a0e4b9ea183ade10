"""Worlds of lift by freshness: 20 views, 10,000 requests a day, the paired AUC of the served level
and of it without each view's freshness.

A request has a signal for each view. A score is the sum of the known part and of the signals;
without a view's freshness its signal is left out. The outcome follows the signals, so the daily
difference of AUC has the noise of 10,000 real requests. How much the signals of a day matter is an
autoregression over days. In a decay, one view's signal stops to matter:

| world | after the decay |
|---|---|
| the model stays | the served model goes on reading the signal, so it loses by it |
| the model is trained again | the day after, the served model no longer reads it: its lift is 0 |
| years | nothing decays, and each view's mean lift is exactly break-even: every alarm is false |
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from headwater.experiments.lift_sequence import (
    FEWEST,
    decayed,
    lift_windows,
    share_of_error,
    shared_dependence,
)

VIEWS, REQUESTS = 20, 10_000
BEFORE, WITHIN, YEAR = 42, 14, 365
# each view alone and among others, and four levels, as `level_series` counts them
SERIES = 2 * VIEWS + 4
_STRENGTH, _EFFECT = 0.3, 0.3
_MATURED = 1  # days until a day's outcomes are known


@dataclass(frozen=True)
class World:
    """rho: between days, of how much the signals matter. refitted: whether the model is trained
    after the decay. years: nothing decays.
    """

    rho: float
    refitted: bool = False
    years: bool = False


WORLDS: dict[str, World] = {
    "decay, the model stays, days independent": World(0.0),
    "decay, the model stays, days correlated by 0.5": World(0.5),
    "decay, trained again, days independent": World(0.0, refitted=True),
    "decay, trained again, days correlated by 0.5": World(0.5, refitted=True),
    "a year at break-even, days independent": World(0.0, years=True),
    "a year at break-even, days correlated by 0.5": World(0.5, years=True),
}


def run(name: str, seed: int, *, days: int = YEAR) -> dict[str, object]:
    """One world: days until the decay was reported (None: not within two weeks) and false alarms of
    other views; of a year, its alarms.
    """
    world, rng = WORLDS[name], np.random.default_rng((seed, sorted(WORLDS).index(name)))
    lift, noise = usual(world.rho)
    count = days if world.years else BEFORE + WITHIN
    daily = np.array(list(_days(rng, world, count)))
    even = lift if world.years else lift / 2  # the decay is of twice break-even
    error = share_of_error(0.05, SERIES)
    alarms: dict[int, int] = {}
    for today in range(FEWEST, count + 1):
        numbers, rows = np.arange(today), np.full(today, float(REQUESTS))
        dependence = shared_dependence([(numbers, one) for one in daily[:today].T])
        for view in range(VIEWS):
            if (
                view not in alarms
                and decayed(
                    lift_windows(numbers, daily[:today, view], rows, error, dependence), even
                )
                is not None
            ):
                alarms[view] = today
    false = sum(view != 0 or world.years or today <= BEFORE for view, today in alarms.items())
    found = alarms.get(0)
    reported = (
        None if world.years or found is None or found <= BEFORE else found - BEFORE + _MATURED
    )
    in_time = reported is not None and reported <= WITHIN
    return {
        "reported": reported,
        "in_time": in_time,
        "false": false,
        "break_even": even,
        "noise": noise,
    }


@cache
def usual(rho: float) -> tuple[float, float]:
    """The mean lift of a view, and the standard deviation of a day's, over 200 days of all
    views.
    """
    daily = np.array(list(_days(np.random.default_rng(1), World(rho, years=True), 200)))
    return float(daily.mean()), float(daily.std(axis=0).mean())


def _days(rng: np.random.Generator, world: World, count: int) -> Any:
    state = rng.normal()
    for day in range(count):
        state = world.rho * state + np.sqrt(1 - world.rho**2) * rng.normal()
        live = np.full(VIEWS, 1 + _EFFECT * state)
        read = np.ones(VIEWS)
        if not world.years and day >= BEFORE:
            live[0] = 0.0
            read[0] = 0.0 if world.refitted and day > BEFORE else 1.0
        yield _lifts(rng, live, read)


def _lifts(
    rng: np.random.Generator, live: np.ndarray[Any, Any], read: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """The lift of each view on one day."""
    known, signals = rng.normal(size=REQUESTS), rng.normal(size=(REQUESTS, VIEWS))
    chance = 1 / (1 + np.exp(1.6 - known - signals @ (_STRENGTH * live)))
    y = rng.random(REQUESTS) < chance
    score = known + signals @ (_STRENGTH * read)
    served = _auc(y, score)
    return np.array(
        [
            served - _auc(y, score - _STRENGTH * read[view] * signals[:, view])
            for view in range(VIEWS)
        ]
    )


def _auc(y: np.ndarray[Any, Any], score: np.ndarray[Any, Any]) -> float:
    """Of scores without ties."""
    rank = np.empty(len(score))
    rank[np.argsort(score)] = np.arange(1, len(score) + 1)
    positives = int(y.sum())
    return float(
        (rank[y].sum() - positives * (positives + 1) / 2) / (positives * (len(y) - positives))
    )
