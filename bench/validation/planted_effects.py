"""Simulated worlds in which it is known which view earns from freshness, and how fast its value
decays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from bench.validation.scenarios import times
from headwater.aggregations.first_last import last
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import batch
from headwater.definitions.labels import Labels
from headwater.definitions.model import Estimator, Model
from headwater.definitions.request_feature import RequestField
from headwater.definitions.source import Source
from headwater.kernel.arrays import F64

_EVERY = 10 * 60  # seconds between two readings of a machine
_MACHINES = 6
_DAY = 86_400


@dataclass(frozen=True)
class Planted:
    """A state of each machine, read every ten minutes by a view of its own, that predicts outcomes
    for as long as it lasts.

    name: of the view. half_life: hours after which the correlation of the state with itself has
    fallen to one half.
    effect: by how much the odds of a bad outcome rise, on the scale of logits, with one standard
    deviation of the state.
    """

    name: str
    half_life: float
    effect: float


@dataclass(frozen=True)
class Shape:
    """What else the world does.

    days, per_day: its length, and requests a day. season: by how much (logits) outcomes follow the
    hour and the day of the week.
    drift: the effects grow from 1 - drift to 1 + drift times their size over the period. lifetime:
    days after which a machine is replaced by a new one, without readings; 0 for never. day_effect:
    standard deviation (logits) of what a day's requests share.
    """

    days: int = 48
    per_day: int = 150
    season: float = 0.0
    drift: float = 0.0
    lifetime: float = 0.0
    day_effect: float = 0.2


def planted(
    seed: int,
    signals: Sequence[Planted],
    *,
    shape: Shape | None = None,
    estimator: Estimator | None = None,
) -> Model:
    """A model of machines whose states, a stationary Gaussian process of the first order each,
    drive the outcomes of requests.

    A reading that is `h` hours old is correlated by 2 ** (-h / half_life) with the current state:
    from that follows what a fresher one is worth.

    >>> model = planted(
    ...     0, [Planted("heat", 2, 1.0), Planted("dust", 1000, 0.5)], shape=Shape(days=2)
    ... )
    >>> [view.name for view in model.features.views]
    ['heat', 'dust']
    """
    shape, random = shape or Shape(), np.random.default_rng(seed)
    steps, n = shape.days * _DAY // _EVERY, shape.days * shape.per_day
    seconds = np.sort(random.random(n)) * shape.days * _DAY
    slot, amount = random.integers(0, _MACHINES, n), random.normal(size=n)
    logit = (
        -0.8
        + 0.5 * amount
        + random.normal(0, shape.day_effect, shape.days)[(seconds // _DAY).astype(int)]
    )
    logit += shape.season * (np.sin(2 * np.pi * seconds / _DAY) + ((seconds // _DAY) % 7 >= 5))
    strength = 1 + shape.drift * (2 * seconds / (shape.days * _DAY) - 1)
    views = []
    for signal in signals:
        states = _states(random, steps, signal.half_life)
        logit += strength * signal.effect * states[(seconds // _EVERY).astype(int), slot]
        views.append(_view(signal.name, states, shape))
    bad = random.random(n) < 1 / (1 + np.exp(-logit))
    rows = pl.DataFrame(
        {
            "machine": _machines(slot, seconds, shape),
            "amount": amount,
            "hour": (seconds % _DAY) / 3600,
            "asked": times(seconds),
            "bad": bad,
            "known": times(seconds + 1800.0),
        }
    )
    labels = Labels(
        "outcomes", table=rows, timestamp_field="asked", label="bad", known_at_field="known"
    )
    fields = [
        RequestField("amount", float),
        *([RequestField("hour", float)] if shape.season else []),
    ]
    service = FeatureService("planted_v1", [*views, *fields])
    return Model("breaks", task="binary", features=service, labels=labels, estimator=estimator)


def worth_of_age(half_life: float, fresh_age: float, stale_age: float) -> float:
    """How much more of the state's variance a fresh reading explains than a stale one: ages and
    half-life in hours.

    >>> round(worth_of_age(6, 0, 6), 2), round(worth_of_age(1e6, 0, 16), 2)
    (0.75, 0.0)
    """
    return float(2 ** (-2 * fresh_age / half_life) - 2 ** (-2 * stale_age / half_life))


def _machines(slot: np.ndarray, seconds: F64, shape: Shape) -> np.ndarray:
    """int64 (rows): the machine that stands in a slot at a time."""
    if not shape.lifetime:
        return slot.astype(np.int64)
    staggered = seconds + slot * shape.lifetime * _DAY / _MACHINES
    return (slot + _MACHINES * (staggered // (shape.lifetime * _DAY))).astype(np.int64)


def _states(random: np.random.Generator, steps: int, half_life: float) -> F64:
    """float64 (steps, machines), of mean 0 and variance 1."""
    from scipy.signal import lfilter

    persistence = 2.0 ** (-_EVERY / 3600 / half_life)
    noise = random.normal(size=(steps, _MACHINES)) * np.sqrt(1 - persistence**2)
    noise[0] = random.normal(size=_MACHINES)
    return np.asarray(lfilter([1.0], [1.0, -persistence], noise, axis=0), np.float64)


def _view(name: str, states: F64, shape: Shape) -> FeatureView:
    steps = len(states)
    slot, seconds = (
        np.repeat(np.arange(_MACHINES), steps),
        np.tile(np.arange(steps) * float(_EVERY), _MACHINES),
    )
    events = pl.DataFrame(
        {
            "machine": _machines(slot, seconds, shape),
            "at": times(seconds),
            "state": states.T.reshape(-1),
        }
    )
    source = Source(
        f"{name}_readings", history=events, timestamp_field="at", select=["machine", "state"]
    )
    return FeatureView(
        name,
        source=source,
        keys=["machine"],
        features=[last("state")],
        windows=["7d"],
        freshness=batch("1d", delay="4h"),
    )
