"""Made-up worlds in which it is known which view earns from freshness, and how fast its value decays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from headwater.definitions.aggregation import last, mean
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import batch, on_request
from headwater.definitions.labels import Labels
from headwater.definitions.model import Estimator, Model
from headwater.definitions.request_feature import RequestField
from headwater.definitions.source import Source
from headwater.kernel.arrays import F64
from headwater.testing.scenarios import times

Leak = Literal["own table", "copy", "aftermath"]

_EVERY = 10 * 60  # seconds between two readings of a machine
_MACHINES = 6


@dataclass(frozen=True)
class Planted:
    """A state of each machine, read every ten minutes by a view of its own, that tells outcomes for as long as it lasts.

    name: of the view. half_life: hours after which the correlation of the state with itself has fallen to one half.
    effect: by how much the odds of a bad outcome rise, on the scale of logits, with one standard deviation of the state.
    """

    name: str
    half_life: float
    effect: float


def planted(
    seed: int,
    signals: Sequence[Planted],
    *,
    days: int = 48,
    per_day: int = 150,
    leak: Leak | None = None,
    estimator: Estimator | None = None,
) -> Model:
    """A model of machines whose states, a stationary Gaussian process of the first order each, drive what becomes of requests.

    A reading that is `h` hours old is correlated by 2 ** (-h / half_life) with the state of now: from that follows what a fresher one
    is worth. `leak` adds a view that knows outcomes too early: of the labels' own table; of a copy of its rows that lies elsewhere; or of
    what happens to a request afterwards, dated at the request.

    >>> model = planted(0, [Planted("heat", 2, 1.0), Planted("dust", 1000, 0.5)], days=2)
    >>> [view.name for view in model.features.views]
    ['heat', 'dust']
    """
    random = np.random.default_rng(seed)
    steps, n = days * 86_400 // _EVERY, days * per_day
    request_times = np.sort(random.random(n)) * days * 86_400
    machine, amount = random.integers(0, _MACHINES, n), random.normal(size=n)
    logit = -0.8 + 0.5 * amount + random.normal(0, 0.2, days)[(request_times // 86_400).astype(int)]
    views = []
    for signal in signals:
        states = _states(random, steps, signal.half_life)
        logit = logit + signal.effect * states[(request_times // _EVERY).astype(int), machine]
        views.append(_view(signal.name, states))
    bad = random.random(n) < 1 / (1 + np.exp(-logit))
    known = times(request_times + 1800.0)
    rows = pl.DataFrame({"machine": machine, "amount": amount, "asked": times(request_times), "bad": bad, "known": known})
    if leak is not None:
        rows = rows.with_row_index("request") if leak == "aftermath" else rows
        views.append(_leak(rows, leak, random))
    labels = Labels("outcomes", table=rows, timestamp_field="asked", label="bad", known_at_field="known")
    service = FeatureService("planted_v1", [*views, RequestField("amount", float)])
    return Model("breaks", task="binary", features=service, labels=labels, estimator=estimator)


def worth_of_age(half_life: float, fresh_age: float, stale_age: float) -> float:
    """How much more of the state's variance a fresh reading explains than a stale one: ages and half-life in hours.

    >>> round(worth_of_age(6, 0, 6), 2), round(worth_of_age(1e6, 0, 16), 2)
    (0.75, 0.0)
    """
    return float(2 ** (-2 * fresh_age / half_life) - 2 ** (-2 * stale_age / half_life))


def _states(random: np.random.Generator, steps: int, half_life: float) -> F64:
    """float64 (steps, machines), of mean 0 and variance 1."""
    from scipy.signal import lfilter

    kept = 2.0 ** (-_EVERY / 3600 / half_life)
    noise = random.normal(size=(steps, _MACHINES)) * np.sqrt(1 - kept**2)
    noise[0] = random.normal(size=_MACHINES)
    return np.asarray(lfilter([1.0], [1.0, -kept], noise, axis=0), np.float64)


def _view(name: str, states: F64) -> FeatureView:
    steps = len(states)
    events = pl.DataFrame(
        {
            "machine": np.repeat(np.arange(_MACHINES), steps),
            "at": times(np.tile(np.arange(steps) * float(_EVERY), _MACHINES)),
            "state": states.T.reshape(-1),
        }
    )
    source = Source(f"{name}_readings", history=events, timestamp_field="at", select=["machine", "state"])
    return FeatureView(name, source=source, keys=["machine"], features=[last("state")], windows=["7d"], freshness=batch("1d", delay="4h"))


def _leak(rows: pl.DataFrame, leak: Leak, random: np.random.Generator) -> FeatureView:
    """A view that reads outcomes as if they were known at the request."""
    if leak == "aftermath":
        took = rows["bad"].cast(pl.Float64) * 4 + random.normal(size=rows.height)
        events = rows.select("request", at=pl.col("asked") - pl.duration(minutes=1)).with_columns(took.alias("repair"))
        source = Source("repairs", history=events, timestamp_field="at", select=["request", "repair"])
        return FeatureView("repairs", source=source, keys=["request"], features=[last("repair")], windows=["1d"], freshness=on_request())
    history = rows if leak == "own table" else rows.drop("known").sample(fraction=1.0, shuffle=True, seed=int(random.integers(1 << 30)))
    source = Source("past_outcomes", history=history, timestamp_field="asked", select=["machine", "bad"])
    return FeatureView("past", source=source, keys=["machine"], features=[mean("bad")], windows=["3h"], freshness=batch("1d", delay="4h"))
