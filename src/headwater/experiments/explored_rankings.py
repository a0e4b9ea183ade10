"""What a ranking at another level would have earned, from the lists in random order that `Ranking(explore=)` served and logged.

In such a list each place has each of n candidates with the probability 1 / n. The other level orders the same candidates; a place counts n
times where both have the same item there, and not at all elsewhere. A click must depend on the item and its place alone, not on the items
around it. Source: Li, Chu, Langford, Wang (2011), "Unbiased offline evaluation of contextual-bandit-based news article recommendation
algorithms"; errors are clustered by list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from headwater import clock, settings
from headwater.backtesting.delivered_rows import DeliveredRows, ServedAs, delivered_rows
from headwater.backtesting.experiment_rows import trained_model
from headwater.definitions.model import Model
from headwater.definitions.model_variant import AS_DEFINED
from headwater.definitions.project import Project
from headwater.definitions.timestamps import parse_timestamp
from headwater.errors import DataError, UsageError
from headwater.events.read_events import Notes
from headwater.experiments.answers_of_level import Places
from headwater.experiments.level_answers import placed_at, request_columns
from headwater.experiments.off_policy import Estimator, LoggedActions, PolicyValue, policy_value
from headwater.experiments.replay_day import ReplayOptions
from headwater.kernel.arrays import F64, I64, Bool
from headwater.logs.serving_log_rows import AT, CANDIDATES, EXPLORED, REQUEST, ROW
from headwater.models.registry import ModelRegistry
from headwater.training.feature_frames import feature_frames
from headwater.training.requests import Requests


@dataclass(frozen=True)
class ExploredValue:
    """What a level's order would have earned for each place of a list.

    Attributes:
        other: the estimate for the level, with its effective number of rows.
        served: mean reward of a place in lists that were in the served order, and its standard error, NaN where there are none.
        served_se: likewise.
        lists: in random order, that were used. places: of them.
    """

    other: PolicyValue
    served: float
    served_se: float
    lists: int
    places: int

    @property
    def lift(self) -> float:
        """The relative gain over the served order; NaN where that earned nothing."""
        return self.other.value / self.served - 1 if self.served > 0 else math.nan


def order_value(
    reward: F64, same: Bool, candidates: I64, list_of: I64, estimator: Estimator = "snips", place: I64 | None = None
) -> PolicyValue:
    """The mean reward of a place by another order, from lists in random order.

    Args:
        reward: of each shown item, float64 (places).
        same: whether the other order has the same item at this place, bool (places).
        candidates: how many the list had, int64 (places).
        list_of: the list of each place, int64 (places).
        estimator: "ips", "snips", or "dr" with the mean reward of each place as its model.
        place: of each item in its list, int64 (places); for "dr".

    Raises:
        DataError: no place, or too few effective ones.
    """
    probability = 1 / candidates
    logged = np.stack([probability, 1 - probability], axis=1)
    rows = LoggedActions(np.where(same, 0, 1), reward, logged, np.tile([1.0, 0.0], (len(reward), 1)))
    predicted = None
    if estimator == "dr":
        means = np.zeros(len(reward)) if place is None else _means(reward, place)
        predicted = np.stack([means, means], axis=1)
    found = policy_value(rows, estimator, predicted)
    weight = np.where(same, candidates, 0).astype(np.float64)
    if estimator == "snips":
        terms, scale = weight * (reward - found.value), weight.sum()
    else:
        base = np.zeros(len(reward)) if predicted is None else predicted[:, 0]
        terms, scale = base + weight * (reward - base) - found.value, float(len(reward))
    return PolicyValue(found.value, _clustered(terms, list_of) / scale, found.effective, found.uncovered)


def explored_value(
    project: Project, level: str | None, *, model: str | None = None, estimator: Estimator = "snips", options: ReplayOptions | None = None
) -> ExploredValue:
    """What a ranking would have earned at another level, from the lists in random order in the serving log.

    Args:
        project: which has the model and the level.
        level: the name of one of the project's levels; None is as the views define.
        model: its name; None is the only one.
        estimator: "ips", "snips" or "dr".
        options: folders, and by when outcomes count.

    Raises:
        UsageError: not a ranking, or an unknown level.
        DataError: no list in random order was logged, candidates have fields of their own, no model of the level was trained, or too few
            rows are effective.
    """
    how = options or ReplayOptions()
    variant = project.variant(project.model(model).name, level)
    if variant.model.ranking is None:
        raise UsageError(f"model {variant.model.name!r} is not a ranking: its task is {variant.model.task!r}; replay a day instead")
    now = clock.now_micros() if how.at is None else parse_timestamp(how.at, "at")
    home = settings.home() if how.data_dir is None else Path(how.data_dir)
    places = Places(home, ModelRegistry(how.models), project.name, how.store, how.allow_pickle)
    with how.resources.shown() as used:
        rows = delivered_rows(ServedAs(variant.model, AS_DEFINED, None, now), home, used)
        if EXPLORED not in rows.frame.columns or not rows.frame[EXPLORED].any():
            raise DataError(
                f"model {variant.model.name!r}: no list in random order was logged; serve it with hw.Ranking(explore=0.02), or compare levels with "
                "hw.Interleaving()"
            )
        reward, final = _rewards(variant.model, rows, now)
        explored = rows.frame[EXPLORED].fill_null(value=False).to_numpy() & final
        table, at = placed_at(variant.model, variant.level)
        over = places.over_archive(trained_model(table))
        scorer = places.registry.open(variant.model, variant.name, allow_pickle=how.allow_pickle)
        shown = rows.frame.with_columns(pl.Series("__reward", reward)).filter(pl.Series(explored))
        pairs = _pairs(over, shown)
        requests = Requests(request_columns(over, pairs), pairs[AT].dt.epoch("us").to_numpy())
        features = feature_frames(over.features, requests, {"": at}, Notes(), used)[""]
        pairs = pairs.with_columns(pl.Series("__score", scorer.score(features.select(scorer.fitted.encoding.columns))))
    item = variant.model.ranking.item
    by_score = (-pl.col("__score")).rank("ordinal").over(REQUEST).cast(pl.Int64) - 1
    ordered = pairs.with_columns(by_score.alias("__place"), pl.len().over(REQUEST).cast(pl.Int64).alias("__n"))
    joined = shown.select(REQUEST, ROW, item, "__reward").join(
        ordered.select(REQUEST, item, "__place", "__n"), on=[REQUEST, item], how="left", maintain_order="left"
    )
    place = joined[ROW].cast(pl.Int64).to_numpy()
    list_of = joined[REQUEST].rank("dense").cast(pl.Int64).to_numpy()
    same = (joined["__place"] == joined[ROW]).fill_null(value=False).to_numpy()
    value = order_value(joined["__reward"].to_numpy(), same, joined["__n"].to_numpy(), list_of, estimator, place)
    own = final & ~explored
    served, error = math.nan, math.nan
    if own.any():
        lists = rows.frame[REQUEST].filter(pl.Series(own)).rank("dense").cast(pl.Int64).to_numpy()
        served = float(reward[own].mean())
        error = _clustered(reward[own] - served, lists) / int(own.sum())
    return ExploredValue(value, served, error, len(np.unique(list_of)), joined.height)


def _rewards(model: Model, rows: DeliveredRows, now: int) -> tuple[F64, Bool]:
    """The outcome of each shown item, 0 where none came in time; and whether it is final."""
    longest = model.labels.maturity
    if longest is None:
        raise DataError(f"labels {model.labels.name!r} do not say how long an outcome may take; give known_after=")
    return np.where(rows.known, rows.y, 0.0), rows.known | (rows.t + longest <= now)


def _pairs(model: Model, shown: pl.DataFrame) -> pl.DataFrame:
    """Each candidate of each list, with the columns that the list shares."""
    assert model.ranking is not None
    item = model.ranking.item
    columns = [name for name in request_columns(model, shown).columns if name != item and name]
    for name in columns:
        if shown.group_by(REQUEST).agg(pl.col(name).n_unique())[name].max() != 1:
            raise DataError(
                f"model {model.name!r}: {name!r} is a field of each candidate, and those of candidates that were not shown are not logged; make it "
                "a feature of the item"
            )
    first = shown.filter(pl.col(CANDIDATES).is_not_null()).unique(REQUEST, keep="first", maintain_order=True)
    return first.select(REQUEST, AT, *columns, pl.col(CANDIDATES).alias(item)).explode(item)


def _means(reward: F64, place: I64) -> F64:
    """The mean reward of each place, of each row."""
    sums, counts = np.bincount(place, reward), np.bincount(place)
    return np.asarray((sums / np.maximum(counts, 1))[place], np.float64)


def _clustered(terms: F64, of: I64) -> float:
    """The standard error of a sum of terms that depend within clusters."""
    return float(np.sqrt((np.bincount(of, terms) ** 2).sum()))
