"""What a level would have answered to requests that were served: features as of each request,
scored by the level's model.

| what fails | from then on |
|---|---|
| a view | no new value; `on_stale=` holds once its values are older than promised |
| a source | the same, of every view of it |
| a third party | its fallback values |

Third-party features that do not fail are those that were logged with the request; where none were,
those of its history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from headwater import clock
from headwater.backtesting.experiment_rows import trained_model
from headwater.backtesting.levels import LevelRows, level_rows
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.errors import UsageError, nearest
from headwater.events.columns import status_name
from headwater.events.read_events import Notes
from headwater.journal.serving_log_rows import AT, PREFIX
from headwater.kernel.arrays import F64, I64, Bool
from headwater.kernel.as_of import NEVER, as_of
from headwater.models.serving_model import ServedModel
from headwater.online.request_features import POLARS, request_feature, request_field
from headwater.training.feature_frames import feature_frames
from headwater.training.precomputed_rows import reading
from headwater.training.requests import Requests
from headwater.training.resources import Resources

PRESENT = "present"


@dataclass(frozen=True)
class Failures:
    """What fails, by name, and since when: microseconds.

    views: of a model's, those of failing sources, and those whose keys they fill, included.
    parties: third parties.
    """

    views: frozenset[str] = frozenset()
    parties: frozenset[str] = frozenset()
    since: int = 0

    @staticmethod
    def from_names(model: Model, names: Sequence[str], since: int) -> Failures:
        """Of names of views, sources and third parties.

        Raises:
            UsageError: the model reads nothing of that name.
        """
        service = model.features
        own_views = {
            view.name: view for view in service.views_in_history if view.third_party is None
        }
        parties = {http.name for http in service.http_features}
        sources = {source.name for source in service.sources} - {
            f"{name}_answers" for name in parties
        }
        views: set[str] = set()
        for name in names:
            if name not in {*own_views, *parties, *sources}:
                raise UsageError(
                    f"model {model.name!r} reads no view, source or third party {name!r}; "
                    f"{nearest(name, [*own_views, *parties, *sources])}"
                )
            views |= {
                view.name
                for view in own_views.values()
                if name in (view.name, view.root.name) or name in _sources(view)
            }
        while True:
            more = {
                view.name
                for view in own_views.values()
                if any(
                    isinstance(filled, FeatureRef) and filled.view.name in views
                    for filled in view.request_keys.values()
                )
            }
            if more <= views:
                return Failures(frozenset(views), frozenset(parties & set(names)), since)
            views |= more


@dataclass(frozen=True)
class LevelAnswers:
    """The answers of a level to n requests.

    Attributes:
        score: float64 (n) or (n, classes); NaN without an answer.
        origin: "on_request", "precomputed", "default", or "none" without an answer, (n).
        age: float64 (n), seconds since the oldest view that was read was known; 0 where no view
            reads history.
        faults: values by what was the matter with them, such as "ip__score: fallback".
        left_out: rows of sources that were not used, by reason.
        seconds: that computing and scoring took.
    """

    score: F64
    origin: pl.Series
    age: F64
    faults: Counter[str]
    left_out: Counter[str]
    seconds: float


def level_answers(
    model: Model,
    level: Level,
    served: pl.DataFrame,
    scorer: ServedModel,
    resources: Resources,
    failures: Failures | None = None,
) -> LevelAnswers:
    """What a level would have answered.

    Args:
        model: over the sources that its features are computed of, such as the archive
            (`with_archive`).
        level: how fresh.
        served: rows of the serving log.
        scorer: the level's model.
        resources: what computing may use.
        failures: what fails; None is nothing.

    Raises:
        DataError: a source cannot be read, a column of the request was not logged, or the model
            cannot score.
    """
    begin = clock.stopwatch()
    answered = _Answered(trained_model(model), level, served, failures or Failures(), resources)
    score, origins = answered.scored(scorer)
    return LevelAnswers(
        score,
        origins,
        answered.age,
        +answered.faults,
        answered.notes.left_out,
        clock.stopwatch() - begin,
    )


def request_columns(model: Model, served: pl.DataFrame) -> pl.DataFrame:
    """The columns of the requests as they were sent."""
    sent_names = {name: f"{PREFIX}given_{name}" for name in model.features.needed_by()}
    columns = [
        served[sent if sent in served.columns else name].alias(name)
        for name, sent in sent_names.items()
        if {sent, name} & set(served.columns)
    ]
    return (
        pl.DataFrame(columns)
        if columns
        else pl.DataFrame({"": pl.repeat(0, served.height, eager=True)})
    )


class _Answered:
    """The features of requests at a level, with failures, and what came of them."""

    def __init__(
        self,
        model: Model,
        level: Level,
        served: pl.DataFrame,
        failures: Failures,
        resources: Resources,
    ) -> None:
        self.model, self.level, self.served, self.failures, self.resources = (
            model,
            level,
            served,
            failures,
            resources,
        )
        self.requests = Requests(
            request_columns(model, served), served[AT].dt.epoch("us").to_numpy()
        )
        self.notes, self.faults = Notes(), Counter[str]()
        self.precomputed = level.precomputed(model)
        self.refused: Bool = np.zeros(served.height, np.bool_)

    @cached_property
    def frozen(self) -> I64:
        """When each request would ask, if nothing had come since the failure: int64 (rows)."""
        return np.minimum(self.requests.t, self.failures.since)

    @cached_property
    def age(self) -> F64:
        """Seconds since the oldest view that each request reads was known, float64 (rows)."""
        age = np.zeros(len(self.requests.t))
        for failing in (False, True):
            views, fresh, reads = reading(
                self.model, self.level, self.frozen if failing else self.requests.t
            )
            for view in views:
                if (
                    view.third_party is None
                    and (view.name in self.failures.views) == failing
                    and fresh.freshness(view).reads_events
                ):
                    K = as_of(fresh.freshness(view), reads)[1]
                    age = np.where(K > NEVER, np.maximum(age, (self.requests.t - K) / 1e6), age)
        return age

    def scored(self, scorer: ServedModel) -> tuple[F64, pl.Series]:
        """The score of each row, and how it came about."""
        rows = self._rows()
        frame = self._with_failures(rows.frame) if self.failures.views else rows.frame
        frame = self._with_parties(frame)
        self._count(frame)
        names = list(scorer.fitted.encoding.columns)
        default = self.model.default
        height = self.served.height
        answered = rows.answered & ~self.refused
        at = np.flatnonzero(answered)
        scored = (
            scorer.score(frame[at].select(names))
            if len(at)
            else np.empty((0, *self._classes(scorer)))
        )
        score = np.full((height, *scored.shape[1:]), np.nan if default is None else default)
        score[at] = scored
        words = np.where(rows.precomputed, "precomputed", "on_request")
        words = np.where(answered, words, "none" if default is None else "default")
        return score, pl.Series(words.tolist(), dtype=pl.String)

    def _classes(self, scorer: ServedModel) -> tuple[int, ...]:
        return (len(scorer.fitted.classes),) if self.model.task_type.classes else ()

    def _rows(self) -> LevelRows:
        """The features as if nothing failed."""
        if self.precomputed is None:
            every = feature_frames(
                self.model.features,
                self.requests,
                {"": self.level},
                self.notes,
                self.resources,
                statuses=True,
            )[""]
            height = self.served.height
            return LevelRows(every, np.ones(height, np.bool_), np.zeros(height, np.bool_))
        return level_rows(self.model, self.requests, {"": self.level}, self.notes, self.resources)[
            ""
        ]

    def _with_failures(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The features with those of failing views as they were when these failed."""
        service = self.model.features
        names = self.failures.views & {view.name for view in service.views_in_history}
        refs = [ref for ref in _inputs(service) if ref.view.name in names]
        before = Requests(self.requests.frame, self.frozen)
        inputs = FeatureService("failing", refs) if refs else None
        if inputs is None:
            return frame
        old = feature_frames(
            inputs, before, {"": self.level}, self.notes, self.resources, statuses=True
        )[""]
        late = {name: self._stale(name) for name in names}
        for ref in refs:
            view, stale = ref.view, late[ref.view.name]
            if view.on_stale == "refuse":
                self.refused |= stale
            values, statuses = old[ref.name], old[status_name(ref.name)].cast(pl.String)
            if view.on_stale != "previous":
                values = values.to_frame().select(
                    pl.when(pl.Series(stale)).then(None).otherwise(pl.col(ref.name)).alias(ref.name)
                )[ref.name]
                statuses = pl.Series(
                    statuses.name,
                    np.where(stale, "fallback", statuses.to_numpy()).tolist(),
                    pl.String,
                )
            elif stale.any():
                self.faults[f"{view.name}: older than promised"] += int(stale.sum())
            old = old.with_columns(values.alias(ref.name), statuses.alias(status_name(ref.name)))
        return self._replaced(frame, {name: old[name] for name in old.columns})

    def _stale(self, name: str) -> Bool:
        """Whether the failing view is older than it promises, bool (rows): a request would have
        read something newer.
        """
        view = next(v for v in self.model.features.views_in_history if v.name == name)
        freshness = self.level.freshness(view)
        if not freshness.reads_events:
            return np.zeros(len(self.requests.t), np.bool_)
        return np.asarray(
            as_of(freshness, self.requests.t)[1] > as_of(freshness, self.frozen)[1], np.bool_
        )

    def _with_parties(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The features with what third parties answered as it was logged, or their fallback values
        where they fail.
        """
        values: dict[str, pl.Series] = {}
        for http in self.model.features.http_features:
            for column, (_, dtype) in http.columns.items():
                name = f"{http.name}__{column}"
                if http.name in self.failures.parties:
                    values[name] = pl.Series(
                        name, [http.fallback.get(column)] * self.served.height, POLARS[dtype]
                    )
                    values[status_name(name)] = pl.Series(
                        status_name(name), ["fallback"] * self.served.height
                    )
                elif name in self.served.columns and status_name(name) in self.served.columns:
                    values[name] = self.served[name].cast(POLARS[dtype], strict=False)
                    values[status_name(name)] = self.served[status_name(name)].cast(pl.String)
        return self._replaced(frame, values) if values else frame

    def _replaced(self, frame: pl.DataFrame, values: Mapping[str, pl.Series]) -> pl.DataFrame:
        """The features with some of them replaced, and request features that are computed of these
        computed again.
        """
        service = self.model.features
        columns = {name: frame[name] for name in frame.columns}
        columns |= {name: series for name, series in values.items() if name in columns}
        again = [
            f
            for f in service.request_features
            if f.name in columns and any(ref.name in values for ref in f.inputs.values())
        ]
        lacking = [
            ref
            for f in again
            for ref in f.inputs.values()
            if ref.name not in values and ref.name not in columns
        ]
        more: dict[str, pl.Series] = {}
        if lacking:
            inputs = FeatureService("inputs", list({ref.name: ref for ref in lacking}.values()))
            computed = feature_frames(
                inputs, self.requests, {"": self.level}, self.notes, self.resources
            )[""]
            more = {name: computed[name] for name in computed.columns}
        for feature in again:
            inputs_of = {
                p: values.get(ref.name, more.get(ref.name, columns.get(ref.name)))
                for p, ref in feature.inputs.items()
            }
            filled = {p: series for p, series in inputs_of.items() if series is not None}
            columns[feature.name] = request_feature(feature, self._fields(), filled)
        return pl.DataFrame([series.alias(name) for name, series in columns.items()])

    def _fields(self) -> pl.DataFrame:
        fields = {
            field.name: request_field(field, self.requests.frame)
            for field in self.model.features.request_fields
        }
        return self.requests.frame.with_columns(
            series.alias(name) for name, series in fields.items()
        )

    def _count(self, frame: pl.DataFrame) -> None:
        """Count the values that are not present."""
        for name in self.model.features.feature_names:
            if status_name(name) in frame.columns:
                for status, rows in (
                    frame[status_name(name)].cast(pl.String).value_counts().iter_rows()
                ):
                    if status != PRESENT and status is not None:
                        self.faults[f"{name}: {status}"] += rows


def _sources(view: FeatureView) -> set[str]:
    service = FeatureService("of", [view])
    return {source.name for source in service.sources}


def _inputs(service: FeatureService) -> list[FeatureRef]:
    """Every feature of a view that is read, for itself or to compute another."""
    refs = {ref.name: ref for ref in service.refs}
    refs |= {
        ref.name: ref for feature in service.request_features for ref in feature.inputs.values()
    }
    return list(refs.values())


def placed_at(model: Model, level: Level) -> tuple[Model, Level]:
    """The model with its views as fresh as the level says, and a level that changes nothing but how
    predictions are made.

    Raises:
        UsageError: the level is for backtests only.
    """
    return replace(model, features=level.service(model)), Level(predictions=level.predictions)
