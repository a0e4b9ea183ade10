"""A project over an online store, as an application asks it: features, predictions, rankings, and why a value is what it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, cast

from headwater import clock, settings
from headwater.definitions.model import Model
from headwater.definitions.moments import parse_moment
from headwater.definitions.predicted import How
from headwater.definitions.project import Project
from headwater.definitions.ranking import Ranking
from headwater.engines.asides import STATUSES
from headwater.errors import DataError, HeadwaterError, ModelError, UsageError, nearest
from headwater.online_stores import OnlineStore, opened
from headwater.pipelines.explain import Explanation, explain
from headwater.pipelines.online import OnlineFeatures
from headwater.pipelines.predict import Beside, Predictor, Scorer
from headwater.pipelines.quick import Answers
from headwater.pipelines.rank import Ranker
from headwater.serving.answered import Features, FeatureValue, Prediction, Predictions, Ranked, RankedItem
from headwater.serving.answers import FeatureWriter
from headwater.serving.asked import Reader
from headwater.serving.parties import Asking
from headwater.serving.scorers import Scorers, given, in_folder

Rows = Mapping[str, object] | Sequence[Mapping[str, object]]


class Open(NamedTuple):
    """A feature service at a level, ready to be read: how its rows are read, and how its answers are written."""

    features: OnlineFeatures
    reader: Reader
    writer: FeatureWriter


class Service:
    """A project's feature services and models over an online store; what `headwater serve` answers from, in this process.

    Args:
        project: its models, and the feature services that they read.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        models: the folder in which `headwater train` keeps fitted models, or the models by name; None is `models` in headwater's home.
        levels: of the project's levels, those that have to be ready; any of them may be asked for. None: what each view defines is enough.
        folder: where ingestion keeps its archive, for `explain`; None is headwater's home.
        trust: load models in formats that run code when they are loaded.

    Raises:
        UsageError: a level that the project does not have.
        StoreError: the store cannot be opened.
    """

    def __init__(
        self,
        project: Project,
        store: OnlineStore | str | None = None,
        *,
        models: str | Path | Mapping[str, Scorer] | None = None,
        levels: Sequence[str] = (),
        folder: str | Path | None = None,
        trust: bool = False,
    ) -> None:
        self.project = project
        self._folder = settings.home() if folder is None else Path(folder)
        self._scorers: Scorers = (
            given(models)
            if isinstance(models, Mapping)
            else in_folder(settings.home() / "models" if models is None else Path(models), trust=trust)
        )
        self.services = {model.features.name: model for model in project.models}
        self.levels: tuple[str | None, ...] = (None, *levels)
        for name in levels:
            project.arm(project.models[0].name, name)
        self._stack = ExitStack()
        self.store = self._stack.enter_context(opened(store, readonly=True))
        self._warm: set[tuple[str, str | None]] = set()
        self._loaded: dict[tuple[str, str | None], Scorer] = {}
        self._asking: Asking | None = None
        self._open: dict[tuple[str, str | None], Open] = {}
        self._predictors: dict[tuple[str, str | None], Predictor] = {}
        self._rankers: dict[tuple[str, str | None], Ranker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store, if it was opened here."""
        self._stack.close()

    def features(self, service: str, rows: Rows, *, level: str | None = None, at: datetime | str | None = None) -> Features:
        """The features of one row or several as they are now.

        Args:
            service: the name of a feature service that a model reads.
            rows: keys and request fields; moments as datetimes.
            level: one of the project's levels; None is as each view defines.
            at: the moment of asking, for tests and replays; None is now.

        Raises:
            UsageError: a service or level that there is not, with the nearest that there is.
            DataError: rows that lack a field, or have one of another type.
            StoreError: a view that is not in the store. StaleError: one that is older than promised, and refuses that.
        """
        online, t = self.open(service, level).features, _moment(at)
        columns = _columns(rows)
        said = self._asked(service, columns, t, None)
        found = online.rows(columns if said is None else {**columns, **said.values}, t=t, said=None if said is None else said.statuses)
        return Features(service, level, clock.moment(t), self._told(service, level, found, said, t))

    def predict(
        self, model: str, rows: Rows, *, level: str | None = None, at: datetime | str | None = None, features: bool = False
    ) -> Predictions:
        """The predictions for one row or several; `features` with what each was made of. Else as `features`.

        Raises:
            ModelError: besides, a fitted model that is missing, or reads other features.
        """
        predictor, t = self.predictor(model, level), _moment(at)
        columns = _columns(rows)
        service = predictor.model.features.name
        beside = self._asked(service, columns, t, model)
        found = predictor.many(columns, t=t, beside=beside)
        said: Sequence[dict[str, FeatureValue] | None] = [None] * len(found.predicted)
        if features and found.features is not None:
            said = self._told(service, level, found.features, beside, t)
        made = [Prediction(one.value, one.how, one.age, of) for one, of in zip(found.predicted, said, strict=True)]
        return Predictions(model, found.version, level, clock.moment(t), made, _milliseconds(found.stages))

    def rank(
        self,
        model: str,
        row: Mapping[str, object],
        *,
        candidates: Sequence[object] | None = None,
        k: int = 10,
        level: str | None = None,
        at: datetime | str | None = None,
        features: bool = False,
    ) -> Ranked:
        """The best candidates of one request, the best first.

        Args:
            model: a model whose task is a Ranking.
            row: what all candidates share, such as the user.
            candidates: items, or mappings with the item and fields of its own; None takes those that the model retrieves.
            k: how many of the best.
            level, at, features: as for `predict`.

        Raises:
            UsageError: a model that ranks nothing. DataError, StoreError: as for `predict`.
        """
        ranker, t = self.ranker(model, level), _moment(at)
        service = ranker.predictor.model.features.name
        proposed = ranker.propose(row, candidates, t=t)
        beside = self._asked(service, proposed.columns, t, model) if proposed.height else None
        order = ranker.order(proposed, k, t=t, beside=beside)
        said: Sequence[dict[str, FeatureValue] | None] = [None] * len(order.items)
        if features and order.features is not None:
            said = self._told(service, level, order.features, beside, t)
        items = [RankedItem(item, cast("float", one.value), of) for (item, one), of in zip(order.items, said, strict=True)]
        how: How
        how, age = (order.items[0][1].how, order.items[0][1].age) if order.items else ("on_request", 0.0)
        return Ranked(model, order.version, level, clock.moment(t), how, age, order.candidates, items, _milliseconds(order.stages))

    def explain(self, feature: str, keys: Mapping[str, object], *, at: datetime | str | None = None) -> Explanation:
        """Why a feature has the value that it has; as `hw.explain`."""
        return explain(self.project, feature, keys, store=self.store, folder=self._folder, at=at)

    def unready(self) -> list[str]:
        """What keeps this from answering everything, in sentences; empty where it is ready.

        Ready means: the store can be read, every view is in it at the levels that have to be ready, what reads them is compiled, and every
        model is loaded.
        """
        found = []
        for level in self.levels:
            for name, model in self.services.items():
                found += _failure(lambda name=name, level=level: self._check(name, level))  # type: ignore[misc]
                found += _failure(lambda model=model, level=level: self.scorer(model, level))  # type: ignore[misc]
        return list(dict.fromkeys(found))

    def open(self, service: str, level: str | None) -> Open:
        """A feature service at a level, made once for many reads."""
        known = self._open.get((service, level))
        if known is None:
            if service not in self.services:
                raise UsageError(f"project {self.project.name!r} has no feature service {service!r}; {nearest(service, self.services)}")
            features = OnlineFeatures(self.project.arm(self.services[service].name, level).service, self.store)
            known = Open(features, Reader(features), FeatureWriter(features, level))
            self._open[service, level] = known
        return known

    def predictor(self, model: str, level: str | None) -> Predictor:
        """A model at a level, made once for many predictions."""
        known = self._predictors.get((model, level))
        if known is None:
            of = self.project.model(model)
            known = Predictor(of, self.open(of.features.name, level).features, self.scorer(of, level))
            self._predictors[model, level] = known
        return known

    def ranker(self, model: str, level: str | None) -> Ranker:
        """A ranking model at a level, made once for many requests."""
        known = self._rankers.get((model, level))
        if known is None:
            predictor, task = self.predictor(model, level), self.project.model(model).task
            if not isinstance(task, Ranking):
                raise UsageError(f"model {model!r} puts nothing in order: its task is {task!r}, and no hw.Ranking")
            chosen, service = self.project.arm(model, level).level, task.retrieval
            if service is not None:
                service = service.changed(lambda view: view.at(chosen.freshness(view)))
            known = Ranker(predictor, None if service is None else OnlineFeatures(service, self.store))
            self._rankers[model, level] = known
        return known

    def lane(self) -> Service:
        """The same service for another thread: it shares the store and the loaded models, and has its own readers."""
        made = copy.copy(self)
        made.__dict__ |= {"_stack": ExitStack(), "_open": {}, "_predictors": {}, "_rankers": {}, "_asking": None}
        return made

    def scorer(self, model: Model, level: str | None) -> Scorer:
        """The fitted model that serves a model at a level.

        Raises:
            ModelError: there is none, or it is refused.
        """
        known = self._loaded.get((model.name, level))
        if known is None:
            try:
                known = self._loaded[model.name, level] = self._scorers(model, level)
            except (DataError, UsageError) as error:
                raise ModelError(str(error)) from error
        return known

    def _asked(self, service: str, columns: Mapping[str, Sequence[object]], t: int, model: str | None) -> Beside | None:
        """What third parties say of some rows; None where none is asked."""
        if not self.services[service].features.http_features:
            return None
        if self._asking is None:
            self._asking = Asking(self.project)
            self._stack.callback(self._asking.close)
        return self._asking.ask(service, columns, len(next(iter(columns.values()))), t=t, model=model)

    def _told(self, service: str, level: str | None, found: Answers, beside: Beside | None, t: int) -> list[dict[str, FeatureValue]]:
        """The features of some rows, as they are told."""
        writer = self.open(service, level).writer
        moments = writer.moments(found.moments, beside, t)
        ends = [(moment.stale, (t - moment.K) / 1e6, clock.moment(moment.T), clock.moment(moment.K)) for moment in moments]
        ends.append((False, 0.0, clock.moment(t), clock.moment(t)))
        made = []
        for values, codes in zip(zip(*found.values, strict=True), zip(*found.statuses, strict=True), strict=True):
            row = zip(writer.names, values, codes, writer.of, strict=True)
            made.append({name: FeatureValue(value, STATUSES[code], *ends[of]) for name, value, code, of in row})
        return made

    def _check(self, service: str, level: str | None) -> None:
        online = self.open(service, level).features
        for view in online.views.values():
            heads, _ = view.heads.look()
            view.heads.moment(self.store.get(heads), clock.now_micros())
        if (service, level) not in self._warm:
            online.warm()
            self._warm.add((service, level))


def _moment(at: datetime | str | None) -> int:
    return clock.now_micros() if at is None else parse_moment(at, "at")


def _columns(rows: Rows) -> dict[str, list[object]]:
    """Rows as columns.

    Raises:
        UsageError: there is no row.
    """
    every = [rows] if isinstance(rows, Mapping) else list(rows)
    if not every:
        raise UsageError("no row was given; give one row, or a list of at least one")
    names = dict.fromkeys(name for row in every for name in row)
    return {name: [row[name] for row in every] for name in names if all(name in row for row in every)}


def _milliseconds(stages: Mapping[str, float]) -> dict[str, float]:
    return {name: round(seconds * 1000, 4) for name, seconds in stages.items()}


def _failure(work: Callable[[], object]) -> list[str]:
    try:
        work()
    except HeadwaterError as error:
        return [str(error)]
    return []
