"""Precomputed predictions: the rows that a job scores at a cut. The same for a backtest, for
training and for the job itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from headwater.aggregations.moments import count
from headwater.definitions.feature_service import FeatureService, Member, names_of
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import Freshness, on_request
from headwater.definitions.level import Level
from headwater.definitions.model import (
    Model,
    Precomputed,
    precomputable,
    precomputed_members,
    precomputed_views,
)
from headwater.errors import DataError, UsageError, nearest
from headwater.events.read_events import Notes
from headwater.kernel.arrays import I64, Bool
from headwater.kernel.as_of import as_of
from headwater.training.feature_frames import FeatureFrames, feature_frames
from headwater.training.requests import Requests
from headwater.training.resources import DEFAULT_RESOURCES, Resources


class PrecomputedRows(NamedTuple):
    """The features that a job knows of rows, and which of the rows it has a score for: bool
    (rows).
    """

    frame: pl.DataFrame
    known: Bool


class PrecomputedLists(NamedTuple):
    """What a job puts in order: candidates one list after another, each list's as they were found.

    row: int64 (candidates), the position of the row whose list it is. item: the candidates. frame:
    their features.
    """

    row: I64
    item: pl.Series
    frame: pl.DataFrame


def reading(model: Model, level: Level, t: I64) -> tuple[Sequence[FeatureView], Level, I64]:
    """The views that a level reads, how fresh they are when they are asked for, and when that is:
    int64 (rows).

    Predictions on request ask for all views with the request. Precomputed predictions ask at their
    cut, for the views of their keys. The job publishes its scores `delay` after the cut, and until
    then can wait for features of the same cut to be published: batch features with at most its own
    delay are those of the cut itself, not of the one before.
    """
    precomputed = level.precomputed(model)
    if precomputed is None:
        return model.features.views_in_history, level, t
    views = precomputed_views(model, precomputed)
    T, K = as_of(precomputed.freshness, t)
    fresh = {v: _by_the_cut(level.freshness(v), precomputed.freshness) for v in views}
    return views, Level(fresh, known_after=level.known_after), np.minimum(T, K)


def _by_the_cut(freshness: Freshness, precomputed: Freshness) -> Freshness:
    view, job = freshness.schedule, precomputed.schedule
    if view is None or job is None:
        return freshness
    delay = max(view.delay - job.delay, 0)
    return view.with_fields(delay=delay, wait=min(view.wait, delay))


def keyed_views(model: Model, precomputed: Precomputed) -> Mapping[str, Sequence[FeatureView]]:
    """By key, the views whose events make a key known: views of precomputed keys alone that have
    this key.

    Raises:
        UsageError: a key that none has, or scores that are never made.
    """
    if not precomputed.freshness.reads_events:
        raise UsageError(
            f"model {model.name!r}: precomputed(never()) makes no predictions; give the "
            "batch(...) that makes them"
        )
    views = [
        v
        for v in precomputed_views(model, precomputed)
        if all(v.request_key(key) in precomputed.keys for key in v.keys)
    ]
    by_key = {
        key: [v for v in views if key in map(v.request_key, v.keys)] for key in precomputed.keys
    }
    for key, views_of_key in by_key.items():
        if not views_of_key:
            columns = {
                c
                for v in model.features.views
                for c in map(v.request_key, v.keys)
                if isinstance(c, str)
            }
            raise UsageError(
                f"model {model.name!r}: predictions are precomputed for {list(precomputed.keys)}, "
                f"and no view of these keys alone has the key {key!r}, so the known keys cannot "
                f"be listed; {nearest(key, columns)}"
            )
    return by_key


def precomputed_rows(
    model: Model,
    requests: Requests,
    level: Level,
    notes: Notes,
    resources: Resources = DEFAULT_RESOURCES,
) -> PrecomputedRows:
    """What a job sees of these requests at the cut that each would be answered from; keys without
    an event by then have no score.
    """
    return _with_known(
        model,
        precomputed_members(model, _precomputed_at(model, level)),
        requests,
        level,
        notes,
        resources,
    )


def known_rows(
    model: Model,
    requests: Requests,
    level: Level,
    notes: Notes,
    resources: Resources = DEFAULT_RESOURCES,
) -> Bool:
    """Which of these requests a job has a score for: bool (rows), as `precomputed_rows` says."""
    return _with_known(model, [], requests, level, notes, resources).known


def _with_known(
    model: Model,
    members: Sequence[Member],
    requests: Requests,
    level: Level,
    notes: Notes,
    resources: Resources,
    frames: FeatureFrames = feature_frames,
) -> PrecomputedRows:
    by_key = keyed_views(model, _precomputed_at(model, level))
    views, fresh, cut = reading(model, level, requests.t)
    keyed = {v.name: v for views_of_key in by_key.values() for v in views_of_key}
    seen = {name: f"seen_by_cut_{i}" for i, name in enumerate(keyed)}
    counts = [
        FeatureView(
            seen[v.name],
            source=v.source,
            keys=v.keys,
            features=[count()],
            freshness=fresh.freshness(v),
            request_keys=v.request_keys,
        )
        for v in keyed.values()
    ]
    # The same freshness under the counts' own names: a level speaks of views.
    at = Level(
        {v: fresh.freshness(v) for v in views} | {v: v.freshness for v in counts},
        known_after=level.known_after,
    )
    service = FeatureService("precomputed", [*members, *counts])
    frame = frames(service, Requests(requests.frame, cut), {"": at}, notes, resources)[""]
    known = frame.select(
        pl.all_horizontal(
            pl.any_horizontal(pl.col(f"{seen[v.name]}__count") > 0 for v in views_of_key)
            for views_of_key in by_key.values()
        )
    )
    return PrecomputedRows(
        frame.drop([f"{name}__count" for name in seen.values()]), known.to_series().to_numpy()
    )


def rows_of(
    model: Model,
    requests: Requests,
    level: Level,
    notes: Notes,
    resources: Resources = DEFAULT_RESOURCES,
    frames: FeatureFrames = feature_frames,
) -> PrecomputedRows:
    """The feature rows behind the predictions for requests, at a level with precomputed scores.

    A request with a score: what the job saw. One without: nothing, or, where it is predicted on
    request, all features as of its own time; then the features that a job does not know are null
    where there is a score. frames: computes features.
    """
    members = precomputed_members(model, _precomputed_at(model, level))
    job_rows = _with_known(model, members, requests, level, notes, resources, frames)
    if not _precomputed_at(model, level).on_request:
        return job_rows
    on_request_level = dataclasses.replace(level, predictions=on_request())
    now = frames(model.features.in_training, requests, {"": on_request_level}, notes, resources)[""]
    known = pl.Series(job_rows.known)
    columns = [
        job_rows.frame[name].zip_with(known, now[name])
        if name in job_rows.frame.columns
        else now[name].zip_with(~known, now[name].clear(len(known)))
        for name in now.columns
    ]
    return PrecomputedRows(pl.DataFrame(columns), job_rows.known)


def no_scores(model: Model, precomputed: Precomputed) -> DataError:
    """The error where a job has a score for none of the labels."""
    return DataError(
        f"model {model.name!r}: no event of the keys {list(precomputed.keys)} was known when "
        "scores would have been made for its labels; check the keys of precomputed(), and that "
        "the sources' history begins before the labels"
    )


def precomputed_lists(
    model: Model,
    requests: Requests,
    level: Level,
    notes: Notes,
    resources: Resources = DEFAULT_RESOURCES,
) -> PrecomputedLists:
    """The lists that a job puts in order, one for each request: candidates found as of the cut,
    each once, where it first stands.

    Raises:
        UsageError: no candidates are known by the job's keys alone.
    """
    service, fresh, cut = job_candidates(model, level, requests.t)
    lists = feature_frames(service, Requests(requests.frame, cut), {"": fresh}, notes, resources)[
        ""
    ]
    pairs = in_turn(lists)
    row = pairs["row"].to_numpy()
    assert model.ranking is not None
    pair_requests = Requests(
        requests.frame[row].with_columns(pairs["item"].alias(model.ranking.item)), requests.t[row]
    )
    return PrecomputedLists(
        row, pairs["item"], job_features(model, pair_requests, level, notes, resources)
    )


def job_candidates(model: Model, level: Level, t: I64) -> tuple[FeatureService, Level, I64]:
    """What proposes the candidates of a job, how fresh that is, and when each list is made: int64
    (requests).

    Raises:
        UsageError: no candidates are known by the job's keys alone.
    """
    task, views, (_, fresh, cut) = (
        model.ranking,
        precomputed_views(model, _precomputed_at(model, level)),
        reading(model, level, t),
    )
    assert task is not None
    precomputable_refs = [ref for ref in task.candidates if precomputable(ref, views)]
    if not precomputable_refs:
        raise UsageError(
            f"model {model.name!r}: lists are precomputed, and none of the candidates "
            f"{[ref.name for ref in task.candidates]} is known by the keys of precomputed() "
            "alone; name one that is, or rank on request"
        )
    return FeatureService("candidates", precomputable_refs), fresh, cut


def job_features(
    model: Model,
    pairs: Requests,
    level: Level,
    notes: Notes,
    resources: Resources = DEFAULT_RESOURCES,
) -> pl.DataFrame:
    """The features that a job knows of candidates, each a request with its item, as of the cut that
    answers it.
    """
    _, fresh, cut = reading(model, level, pairs.t)
    members = precomputed_members(model, _precomputed_at(model, level))
    return feature_frames(
        FeatureService("precomputed", members),
        Requests(pairs.frame, cut),
        {"": fresh},
        notes,
        resources,
    )[""]


def in_turn(lists_frame: pl.DataFrame) -> pl.DataFrame:
    """`row` and `item` of each candidate: one source after another, each as its list stands; an
    item that comes twice, the first time.
    """
    lists = [series for series in lists_frame.get_columns() if series.dtype != pl.Null]
    if not lists:
        return pl.DataFrame(schema={"row": pl.Int64, "item": pl.String})
    row = pl.int_range(lists_frame.height, dtype=pl.Int64, eager=True).alias("row")
    parts = [
        pl.DataFrame([row, series.alias("item")])
        .filter(pl.col("item").list.len() > 0)
        .with_columns(
            pl.int_ranges(pl.col("item").list.len()).alias("order"), pl.lit(rank).alias("place")
        )
        .explode("item", "order")
        for rank, series in enumerate(lists)
    ]
    every = (
        pl.concat(parts, how="vertical_relaxed").drop_nulls("item").sort("row", "place", "order")
    )
    return every.unique(["row", "item"], keep="first", maintain_order=True).select("row", "item")


def left_out(model: Model, precomputed: Precomputed) -> list[str]:
    """The names of features that a job does not know."""
    names = {
        name for member in precomputed_members(model, precomputed) for name in names_of(member)
    }
    return [name for name in model.features.feature_names if name not in names]


def _precomputed_at(model: Model, level: Level) -> Precomputed:
    precomputed = level.precomputed(model)
    assert precomputed is not None, "predictions are made on request"
    return precomputed
