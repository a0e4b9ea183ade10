"""What a ranking at another level would have earned, from the lists in random order that
`Ranking(explore=)` served and logged.

In such a list each place has each of n candidates with the probability 1 / n. The other level
orders the same candidates; a place counts n times where both have the same item there, and not at
all elsewhere. A click must depend on the item and its place alone, not on the items around it.
Source: Li, Chu, Langford, Wang (2011), "Unbiased offline evaluation of contextual-bandit-based news
article recommendation algorithms"; errors are clustered by list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from headwater import clock, settings
from headwater.backtesting.delivered_rows import DeliveredRows
from headwater.backtesting.experiment_rows import trained_model
from headwater.definitions.checks import parse_timestamp
from headwater.definitions.level import ModelVariant
from headwater.definitions.model import Model
from headwater.definitions.project import Project
from headwater.errors import DataError, UsageError
from headwater.events.read_events import Notes
from headwater.experiments.answers_of_level import Places
from headwater.experiments.level_answers import placed_at, request_columns
from headwater.experiments.off_policy import Estimator, LoggedActions, PolicyValue, policy_value
from headwater.experiments.relative_lift import RelativeLift
from headwater.experiments.replayed_day import ReplayOptions
from headwater.experiments.served_requests import Period, served_requests
from headwater.journal.serving_log_rows import AT, CANDIDATES, EXPLORED, LEVEL, REQUEST, ROW
from headwater.kernel.arrays import F64, I64, Bool
from headwater.models.registry import ModelRegistry
from headwater.training.feature_frames import feature_frames
from headwater.training.requests import Requests
from headwater.training.resources import Resources

_REWARD, _SCORE, _PLACE, _COUNT = "__reward", "__score", "__place", "__candidates"


@dataclass(frozen=True)
class ExploredValue:
    """What a level's order would have earned for each place of a list.

    Attributes:
        other: the estimate for the level, with its effective number of rows.
        served: mean reward of a place in lists that were in the served order, and its standard
            error, NaN where there are none.
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


@dataclass(frozen=True)
class ExploredLists:
    """The places of lists in random order whose outcomes are final.

    Attributes:
        model: whose lists.
        shown: a row for each place: request, row, item, reward.
        candidates: a row for each candidate of each list, with the columns that the list shares.
    """

    model: Model
    shown: pl.DataFrame
    candidates: pl.DataFrame

    @property
    def reward(self) -> F64:
        """What followed at each place, float64 (places)."""
        return self.shown[_REWARD].to_numpy()

    @property
    def list_of(self) -> I64:
        """The list of each place, int64 (places)."""
        return self.shown[REQUEST].rank("dense").cast(pl.Int64).to_numpy()

    @property
    def count(self) -> int:
        """Of lists."""
        return self.shown[REQUEST].n_unique()

    def in_order(
        self,
        variant: ModelVariant,
        places: Places,
        resources: Resources,
        fitted: tuple[str, int] | None = None,
    ) -> OrderedPlaces:
        """Which places another level's order would fill with the same item.

        Args:
            variant: the model at the level.
            places: of data and models.
            resources: what computing may use.
            fitted: the level and number of the version that scores; None is the current one of the
                level.

        Raises:
            DataError: no model of the level, or features that cannot be computed.
        """
        table, at = placed_at(variant.model, variant.level)
        over = places.over_archive(trained_model(table))
        trained, number = (variant.name, None) if fitted is None else fitted
        scorer = places.registry.open(
            variant.model, trained, version=number, allow_pickle=places.allow_pickle
        )
        pairs = self.candidates
        requests = Requests(request_columns(over, pairs), pairs[AT].dt.epoch("us").to_numpy())
        features = feature_frames(over.features, requests, {"": at}, Notes(), resources)[""]
        by_score = (-pl.col(_SCORE)).rank("ordinal").over(REQUEST).cast(pl.Int64) - 1
        ordered = pairs.with_columns(
            pl.Series(_SCORE, scorer.score(features.select(scorer.fitted.encoding.columns)))
        )
        ordered = ordered.with_columns(
            by_score.alias(_PLACE), pl.len().over(REQUEST).cast(pl.Int64).alias(_COUNT)
        )
        assert self.model.ranking is not None
        item = self.model.ranking.item
        joined = self.shown.join(
            ordered.select(REQUEST, item, _PLACE, _COUNT),
            on=[REQUEST, item],
            how="left",
            maintain_order="left",
        )
        same = (joined[_PLACE] == joined[ROW]).fill_null(value=False).to_numpy()
        return OrderedPlaces(
            self.reward,
            same,
            joined[_COUNT].to_numpy(),
            self.list_of,
            joined[ROW].cast(pl.Int64).to_numpy(),
        )


@dataclass(frozen=True)
class OrderedPlaces:
    """Places of lists in random order, next to another order of the same candidates.

    Args:
        reward: of each shown item, float64 (places).
        same: whether the other order has the same item at this place, bool (places).
        candidates: how many the list had, int64 (places).
        list_of: the list of each place, int64 (places).
        place: of each item in its list, int64 (places); for "dr".
    """

    reward: F64
    same: Bool
    candidates: I64
    list_of: I64
    place: I64 | None = None

    @property
    def overlap(self) -> float:
        """The share of places at which the other order has the item that was shown."""
        return float(self.same.mean())

    @property
    def effective(self) -> float:
        """The number of equally weighted places that would be as sure: (sum w)^2 / sum w^2; 0 where
        none is the same.
        """
        weight = self.candidates[self.same].astype(np.float64)
        return float(weight.sum() ** 2 / (weight**2).sum()) if len(weight) else 0.0

    def value(self, estimator: Estimator = "snips") -> PolicyValue:
        """The mean reward of a place by the other order.

        Args:
            estimator: "ips", "snips", or "dr" with the mean reward of each place as its model.

        Raises:
            DataError: no place, or too few effective ones.
        """
        return self._estimated(estimator)[0]

    def _estimated(self, estimator: Estimator) -> tuple[PolicyValue, F64]:
        """The value, and how much each place moves it: float64 (places), summing to 0."""
        probability = 1 / self.candidates
        logged = np.stack([probability, 1 - probability], axis=1)
        rows = LoggedActions(
            np.where(self.same, 0, 1),
            self.reward,
            logged,
            np.tile([1.0, 0.0], (len(self.reward), 1)),
        )
        base = np.zeros(len(self.reward))
        if estimator == "dr" and self.place is not None:
            base = _means(self.reward, self.place)
        plain = policy_value(
            rows, estimator, np.stack([base, base], axis=1) if estimator == "dr" else None
        )
        weight = np.where(self.same, self.candidates, 0).astype(np.float64)
        if estimator == "snips":
            moves = weight * (self.reward - plain.value) / weight.sum()
        else:
            moves = (base + weight * (self.reward - base) - plain.value) / len(self.reward)
        return PolicyValue(
            plain.value, _clustered(moves, self.list_of), plain.effective, plain.uncovered
        ), moves

    def lift_over(self, control: OrderedPlaces, estimator: Estimator = "snips") -> RelativeLift:
        """The relative lift over a third order on the same places, with the error of their
        difference.

        Raises:
            DataError: too few effective places of either, or a mean reward that is not positive.
        """
        (value, moves), (base, base_moves) = (
            self._estimated(estimator),
            control._estimated(estimator),
        )
        if not (value.value > 0 and base.value > 0):
            raise DataError(
                f"a place would have earned {base.value:.3g} by the control's order and "
                f"{value.value:.3g} by the arm's; a relative lift needs both above 0"
            )
        se = _clustered(moves / value.value - base_moves / base.value, self.list_of)
        return RelativeLift(base.value, value.value, math.log(value.value / base.value), se)


def explored_lists(model: Model, rows: DeliveredRows, now: int) -> ExploredLists:
    """The lists in random order among served rows.

    Raises:
        DataError: none was logged, or candidates have fields of their own.
    """
    if EXPLORED not in rows.frame.columns or not rows.frame[EXPLORED].any():
        raise DataError(
            f"model {model.name!r}: no list in random order was logged; serve it with "
            "hw.Ranking(explore=0.02), or compare levels with hw.experiments.Interleaving()"
        )
    reward, final = _rewards(model, rows, now)
    explored = rows.frame[EXPLORED].fill_null(value=False).to_numpy() & final
    if not explored.any():
        raise DataError(
            f"model {model.name!r}: no list in random order has final outcomes yet; wait until "
            "the labels' outcomes are known"
        )
    shown = rows.frame.with_columns(pl.Series(_REWARD, reward)).filter(pl.Series(explored))
    assert model.ranking is not None
    return ExploredLists(
        model, shown.select(REQUEST, ROW, model.ranking.item, _REWARD), _pairs(model, shown)
    )


def explored_value(
    project: Project,
    level: str | None,
    *,
    model: str | None = None,
    estimator: Estimator = "snips",
    options: ReplayOptions | None = None,
) -> ExploredValue:
    """What a ranking would have earned at another level, from the lists in random order in the
    serving log.

    Args:
        project: which has the model and the level.
        level: the name of one of the project's levels; None is as the views define.
        model: its name; None is the only one.
        estimator: "ips", "snips" or "dr".
        options: folders, and by when outcomes count.

    Raises:
        UsageError: not a ranking, or an unknown level.
        DataError: no list in random order was logged, candidates have fields of their own, no model
            of the level was trained, or too few rows are effective.
    """
    options = options or ReplayOptions()
    variant = project.variant(project.model(model).name, level)
    if variant.model.ranking is None:
        raise UsageError(
            f"model {variant.model.name!r} is not a ranking: its task is {variant.model.task!r}; "
            "replay a day instead"
        )
    now = clock.now_micros() if options.at is None else parse_timestamp(options.at, "at")
    home = settings.home() if options.data_dir is None else Path(options.data_dir)
    places = Places(
        home, ModelRegistry(options.models), project.name, options.store, options.allow_pickle
    )
    with options.resources.shown() as used:
        rows = served_requests(variant.model, Period(0, now, now), home, places.registry, used)
        lists = explored_lists(variant.model, rows, now)
        value = lists.in_order(variant, places, used).value(estimator)
    reward, final = _rewards(variant.model, rows, now)
    chosen = (
        final
        & ~rows.frame[EXPLORED].fill_null(value=False).to_numpy()
        & rows.frame[LEVEL].is_null().to_numpy()
    )
    served, error = math.nan, math.nan
    if chosen.any():
        list_of = (
            rows.frame[REQUEST].filter(pl.Series(chosen)).rank("dense").cast(pl.Int64).to_numpy()
        )
        served = float(reward[chosen].mean())
        error = _clustered(reward[chosen] - served, list_of) / int(chosen.sum())
    return ExploredValue(value, served, error, lists.count, lists.shown.height)


def _rewards(model: Model, rows: DeliveredRows, now: int) -> tuple[F64, Bool]:
    """The outcome of each shown item, 0 where none came in time; and whether it is final."""
    longest = model.labels.maturity
    if longest is None:
        raise DataError(
            f"labels {model.labels.name!r} do not say how long an outcome may take; give "
            "known_after="
        )
    return np.where(rows.known, rows.y, 0.0), rows.known | (rows.t + longest <= now)


def _pairs(model: Model, shown: pl.DataFrame) -> pl.DataFrame:
    """Each candidate of each list, with the columns that the list shares."""
    assert model.ranking is not None
    item = model.ranking.item
    columns = [name for name in request_columns(model, shown).columns if name != item and name]
    for name in columns:
        if shown.group_by(REQUEST).agg(pl.col(name).n_unique())[name].max() != 1:
            raise DataError(
                f"model {model.name!r}: {name!r} is a field of each candidate, and those of "
                "candidates that were not shown are not logged; make it a feature of the item"
            )
    first = shown.filter(pl.col(CANDIDATES).is_not_null()).unique(
        REQUEST, keep="first", maintain_order=True
    )
    return first.select(REQUEST, AT, *columns, pl.col(CANDIDATES).alias(item)).explode(item)


def _means(reward: F64, place: I64) -> F64:
    """The mean reward of each place, of each row."""
    sums, counts = np.bincount(place, reward), np.bincount(place)
    return np.asarray((sums / np.maximum(counts, 1))[place], np.float64)


def _clustered(terms: F64, clusters: I64) -> float:
    """The standard error of a sum of terms that depend within clusters."""
    return float(np.sqrt((np.bincount(clusters, terms) ** 2).sum()))
