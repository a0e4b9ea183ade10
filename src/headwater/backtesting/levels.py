"""The features and scores of each level."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from headwater.definitions.checks import DAY, SECOND
from headwater.definitions.freshness import Freshness, is_freshness
from headwater.definitions.level import Level, as_level, ladder
from headwater.definitions.model import Model, Precomputed
from headwater.errors import UsageError
from headwater.events.read_events import Notes
from headwater.kernel.arrays import F64, I64, Bool
from headwater.kernel.as_of import NEVER, as_of
from headwater.results.estimate import Kind
from headwater.training.feature_frames import feature_frames
from headwater.training.precomputed_rows import left_out, reading, rows_of
from headwater.training.requests import Requests
from headwater.training.resources import Resources

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class LevelRows:
    """One level over all requests: its features, the rows that it answers and those with a
    precomputed prediction: bool (rows) each, and a note. A level that predicts on request has no
    precomputed predictions.
    """

    frame: pl.DataFrame
    answered: Bool
    precomputed: Bool
    note: str = ""


def resolve_levels(levels: Mapping[str, Level | Freshness] | None) -> dict[str, Level]:
    """The levels to compare, in order from stale to fresh; the usual ladder where none are given. A
    bare freshness is a level.
    """
    if levels is None:
        return ladder()
    if not isinstance(levels, Mapping) or not levels:
        raise UsageError(
            "levels is a mapping from names to Levels, such as {'daily': "
            "hw.Level(hw.batch('1d'))}; at least one"
        )
    for name, level in levels.items():
        if not isinstance(level, Level) and not is_freshness(level):
            raise UsageError(
                f"level {name!r} is {level!r}; give a Level or a freshness, such as hw.batch('1d')"
            )
    return {name: as_level(level) for name, level in levels.items()}


def usual_levels(model: Model) -> dict[str, Level]:
    """The usual ladder; of a ranking that samples negatives, the levels that know candidates, since
    nothing trains at the others.
    """
    usual, task = ladder(), model.ranking
    if task is None or task.negatives is None or task.retrieval is None:
        return usual
    views = task.retrieval.views_in_history
    return {
        name: level
        for name, level in usual.items()
        if any(level.freshness(view).reads_events for view in views)
    }


def level_rows(
    model: Model,
    requests: Requests,
    levels: Mapping[str, Level],
    notes: Notes,
    resources: Resources,
) -> dict[str, LevelRows]:
    """The features of every level; those that predict on request share one pass."""
    plain = {name: level for name, level in levels.items() if level.precomputed(model) is None}
    by_level = {}
    if plain:
        reads = any(level.reads_history(model) for level in plain.values())
        # Where no event can count, no file is touched.
        service = (
            model.features
            if reads
            else model.features.over(lambda source: dataclasses.replace(source, history=None))
        )
        frames = feature_frames(service, requests, plain, notes, resources)
        by_level = {
            name: LevelRows(frame, *_all_on_request(len(requests.t)))
            for name, frame in frames.items()
        }
    for name, level in levels.items():
        precomputed = level.precomputed(model)
        if precomputed is not None:
            by_level[name] = _precomputed(model, requests, level, precomputed, notes, resources)
    return {name: by_level[name] for name in levels}


def _precomputed(
    model: Model,
    requests: Requests,
    level: Level,
    precomputed: Precomputed,
    notes: Notes,
    resources: Resources,
) -> LevelRows:
    """What a job saw of the rows that it made a score for; the others have none, or are predicted
    on request.
    """
    rows = rows_of(model, requests, level, notes, resources)
    omitted = left_out(model, precomputed)
    note = (
        (
            f"precomputed without {len(omitted)} of {len(model.features.feature_names)} features: "
            f"{', '.join(omitted[:6])}"
        )
        if omitted
        else ""
    )
    note += ", ..." if len(omitted) > 6 else ""
    if not precomputed.on_request:
        return LevelRows(rows.frame, rows.known, rows.known, note)
    share = f"{int((~rows.known).sum())} requests without a score are predicted on request"
    return LevelRows(
        rows.frame,
        np.ones(len(requests.t), np.bool_),
        rows.known,
        f"{note}; {share}" if note else share,
    )


def _all_on_request(rows: int) -> tuple[Bool, Bool]:
    return np.ones(rows, np.bool_), np.zeros(rows, np.bool_)


def outcomes_known(model: Model, level: Level, requests: Requests) -> I64:
    """When the outcome of each request is known at this level: int64 (rows), microseconds UTC."""
    assert requests.known_at is not None
    soon = level.outcome_known_after(model)
    return requests.known_at if soon is None else requests.t + soon


def runs_a_day(model: Model, level: Level) -> float | None:
    """How often the job of the level's most frequent view runs; None where no view is kept by a
    job.

    >>> from headwater.definitions.freshness import batch
    >>> from headwater.testing.examples import churn
    >>> runs_a_day(churn(), Level(batch("6h")))
    4.0
    """
    schedules = [
        level.freshness(view).schedule for view in model.features.views if view.third_party is None
    ]
    return max(
        (DAY / schedule.every for schedule in schedules if schedule is not None), default=None
    )


def mean_age(model: Model, level: Level, t: I64) -> float | None:
    """The mean of t - K over these requests and the views that read history, in seconds; None where
    none does.

    Without what third parties are asked for with the request.

    Args:
        t: int64 (rows), when the requests ask.
    """
    views, fresh, reads = reading(model, level, t)
    views = [v for v in views if v.third_party is None]
    cutoffs = {
        f.fingerprint: as_of(f, reads)[1] for v in views if (f := fresh.freshness(v)).reads_events
    }
    ages = []
    for view in views:
        K = cutoffs.get(fresh.freshness(view).fingerprint)
        if K is not None and (live := K > NEVER).any():
            ages.append(float((t[live] - K[live]).mean()) / SECOND)
    return float(np.mean(ages)) if ages else None


def kind(level: Level, model: Model) -> Kind:
    """Batch or real-time, by the one-hour rule."""
    return cast("Kind", level.kind(model))


def filled(scores: F64, answered: Bool, default: float | F64) -> F64:
    """Scores with the default (of several classes, one each) where the level has no answer, so that
    all are judged on every request.
    """
    return np.where(answered.reshape(-1, *[1] * (scores.ndim - 1)), scores, default)
