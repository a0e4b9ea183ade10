"""A project over an online store, as an application asks it: features, predictions, rankings, and why a value is what it is."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from headwater import clock, settings
from headwater.definitions.arm import AS_DEFINED, Arm
from headwater.definitions.model import Model
from headwater.definitions.project import Project
from headwater.definitions.served_views import backtest_only, fingerprint
from headwater.definitions.timestamps import parse_moment
from headwater.errors import HeadwaterError, UsageError, nearest
from headwater.logs.outcome_journal import Added, Outcomes
from headwater.monitoring.explain import Explanation, explain
from headwater.online.feature_reader import OnlineFeatures
from headwater.online.precomputed import MadeAhead
from headwater.online.predictor import Beside, Predictor, Scorer, read_many
from headwater.online.ranker import Ranker
from headwater.online_stores import OnlineStore
from headwater.online_stores.ownership import opened_for
from headwater.online_stores.redis.commands import UnansweredError
from headwater.serving.endpoints import Open, Rows, Side, columns_of, propose, told
from headwater.serving.http.request_schema import Reader, key_types, moments_of
from headwater.serving.http.response_encoder import FeatureWriter
from headwater.serving.http.response_schema import Features, FeatureValue, Prediction, Predictions, Ranked, RankedItem
from headwater.serving.loaded_models import Key, Loads
from headwater.serving.model_loader import given, in_folder
from headwater.serving.third_party.third_party_clients import Asking
from headwater.state.prediction_codec import read_scores
from headwater.training.train import Trained


class _Mine(threading.local):
    """What one thread has made for its requests: how features are read, and models, keep what they read last, and are not shared."""

    def __init__(self) -> None:
        self.open: dict[Key, Open] = {}
        self.sides: dict[Key, Side] = {}
        self.rankers: dict[Key, Ranker] = {}


class Service:
    """A project's feature services and models over an online store; what `headwater serve` answers from, in this process.

    Threads may share one: each has readers of its own, while the store and the loaded models are shared. A fitted model is then called by
    several threads and has to allow it, as LightGBM, scikit-learn and ONNX do.

    Args:
        project: its models, and the feature services that they read.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE). One that is opened here by the URL of a server
            gives up what is not answered within the URL's `read_timeout` (200ms).
        models: the folder in which `headwater train` keeps fitted models, or what `hw.train` gave, by model; None is `models` in
            headwater's home.
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
        models: str | Path | Mapping[str, Scorer | Trained] | None = None,
        levels: Sequence[str] = (),
        folder: str | Path | None = None,
        trust: bool = False,
    ) -> None:
        self.project = project
        self._folder = settings.home() if folder is None else Path(folder)
        found = (
            given(models)
            if isinstance(models, Mapping)
            else in_folder(settings.home() / "models" if models is None else Path(models), trust=trust)
        )
        self._loads, self._fit = Loads(found), set[Key]()
        self.services = {model.features.name: model for model in project.models}
        self.levels: tuple[str | None, ...] = (None, *levels)
        for name in levels:
            project.arm(project.models[0].name, name)
        self._stack = ExitStack()
        self.store = self._stack.enter_context(opened_for(project.name, store, readonly=True, for_requests=True))
        self._warm: set[Key] = set()
        self._lock = threading.Lock()
        self._outcomes: dict[str, Outcomes] = {}
        self._asking: Asking | None = None
        self._mine = _Mine()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store, if it was opened here, and of files."""
        self._stack.close()
        for posted in self._outcomes.values():
            posted.close()

    def features(self, service: str, rows: Rows, *, level: str | None = None, at: datetime | str | None = None) -> Features:
        """The features of one row or several as they are now.

        Args:
            service: the name of a feature service that a model reads.
            rows: keys and request fields; moments as datetimes.
            level: one of the project's levels; None is as each view defines.
            at: the moment of asking, for tests and replays; None is now.

        Raises:
            UsageError: a service or level that there is not, with the nearest that there is.
            DataError: rows that lack a field, or have one that nothing reads or of another type; all rows have the same fields.
            StoreError: a view that is not in the store. StaleError: one that is older than promised, and refuses that.
        """
        (online, reader, writer), t = self.open(service, level), _moment(at)
        columns = columns_of(reader, rows)
        said = self._asked(service, columns, t, None)
        found = read_many(online, columns, t, said)
        return Features(service, level, clock.moment(t), told(writer, found, said, t))

    def predict(
        self, model: str, rows: Rows, *, level: str | None = None, at: datetime | str | None = None, features: bool = False
    ) -> Predictions:
        """The predictions for one row or several; `features` with what each was made of. Else as `features`.

        Raises:
            ModelError: besides, a fitted model that is missing, or reads other features.
        """
        side, t = self.side(model, level), _moment(at)
        columns = columns_of(side.reader, rows)
        beside = self._asked(side.predictor.model.features.name, columns, t, model)
        found = side.predictor.many(columns, t=t, beside=beside)
        said: list[dict[str, FeatureValue] | None] = [None] * len(found.predicted)
        if features and found.features is not None:
            own = beside if beside is None or found.rows is None else beside.take(found.rows)
            places = range(len(said)) if found.rows is None else found.rows
            for n, one in zip(places, told(side.writer, found.features, own, t), strict=True):
                said[n] = one
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
        proposed = propose(ranker, self.side(model, level).reader, row, candidates, t)
        beside = self._asked(service, proposed.columns, t, model) if proposed.height else None
        order = ranker.order(proposed, k, t=t, beside=beside)
        said: Sequence[dict[str, FeatureValue] | None] = [None] * len(order.items)
        if features and order.features is not None:
            said = told(self.side(model, level).writer, order.features, beside, t)
        items = [RankedItem(item, cast("float", one.value), of) for (item, one), of in zip(order.items, said, strict=True)]
        return Ranked(
            model, order.version, level, clock.moment(t), order.how, order.age, order.candidates, items, _milliseconds(order.stages)
        )

    def outcomes(self, labels: str, rows: Sequence[Mapping[str, object]]) -> Added:
        """Take in what came of requests; when this returns, what was accepted is on disk.

        Args:
            labels: the name of a model's labels.
            rows: each says which request it is of (`request_id`, or the labels' keys, and `timestamp`), its `outcome`, and when that was
                known (`known_at`), where that is not now.

        Raises:
            UsageError: labels that there are not, or whose outcomes are made of events.
            StoreError: the folder cannot be written.
        """
        with self._lock:
            posted = self._outcomes.get(labels)
            if posted is None:
                posted = self._outcomes[labels] = Outcomes.of(self._folder, self.project, labels)
        return posted.add(rows)

    def explain(self, feature: str, keys: Mapping[str, object], *, at: datetime | str | None = None) -> Explanation:
        """Why a feature has the value that it has; as `hw.explain`."""
        return explain(self.project, feature, keys, store=self.store, folder=self._folder, at=at)

    def unready(self) -> list[str]:
        """What keeps this from answering everything, in sentences; empty where it is ready.

        Ready means: the store can be read, every view is in it at the levels that have to be ready, what reads them is compiled, and every
        model is loaded.
        """
        found = list[str]()
        try:
            for level in self.levels:
                for model in self.project.models:
                    found += _failures(
                        partial(self._check, model, level), partial(self._fitted, model, level), partial(self.side, model.name, level)
                    )
                    if model.ranking is not None:
                        found += _failures(partial(self.ranker, model.name, level))
        except UnansweredError as error:  # the rest would wait for it too
            found.append(str(error))
        return list(dict.fromkeys(found))

    def open(self, service: str, level: str | None) -> Open:
        """A feature service at a level, made once for many reads.

        Raises:
            UsageError: a service or level that there is not, or that is for backtests alone.
            StoreError: a view that is not in the store.
        """
        known = self._mine.open.get((service, level))
        if known is None:
            features = self._features(service, level)
            known = self._mine.open[service, level] = Open(features, Reader.of(features), FeatureWriter(features, level))
        return known

    def side(self, model: str, level: str | None) -> Side:
        """A model at a level, made once for many predictions.

        Raises:
            UsageError: a model or level that there is not, or that is for backtests alone.
            ModelError: a fitted model that is missing, or does not fit.
            StoreError: a view that is needed and is not in the store.
        """
        known = self._mine.sides.get((model, level))
        if known is None:
            known = self._mine.sides[model, level] = self._side(model, level)
        return known

    def _side(self, model: str, level: str | None) -> Side:
        arm = self._arm(model, level)
        scoring, service = arm.scoring, arm.model.features.name
        if scoring is None:
            opened = self.open(service, level)
            return Side(self._predictor(arm, opened.features, None), None, opened.reader, opened.writer)
        made = MadeAhead(arm, self.store)
        if scoring.on_request:
            opened = self.open(service, level)
            features, writer, known = opened.features, opened.writer, arm.model.features.needed_by()
            dtypes = key_types(features)
        else:
            features, known = self._features(service, level), {}
            held = read_scores(self.store, fingerprint(arm, self.store.namespace))
            writer, dtypes = FeatureWriter(features, level), {} if held is None else held.dtypes
        known = {**known, **{key: ["what was made ahead"] for key in scoring.keys}}
        return Side(self._predictor(arm, features, made), made, Reader(model, known, scoring.keys, dtypes, moments_of(features)), writer)

    def _predictor(self, arm: Arm, features: OnlineFeatures, ahead: MadeAhead | None) -> Predictor:
        needed = ahead is None or ahead.scoring.on_request
        level = None if arm.name == AS_DEFINED else arm.name
        return Predictor(arm.model, features, self.scorer(arm.model, level) if needed else None, ahead)

    def _features(self, service: str, level: str | None) -> OnlineFeatures:
        if service not in self.services:
            raise UsageError(f"project {self.project.name!r} has no feature service {service!r}; {nearest(service, self.services)}")
        return OnlineFeatures(self._arm(self.services[service].name, level).service, self.store)

    def _arm(self, model: str, level: str | None) -> Arm:
        arm = self.project.arm(model, level)
        why = backtest_only(arm)
        if why is not None:
            raise UsageError(f"model {model!r} at level {arm.name!r} cannot be served: {why}")
        return arm

    def ranker(self, model: str, level: str | None) -> Ranker:
        """A ranking model at a level, made once for many requests."""
        known = self._mine.rankers.get((model, level))
        if known is None:
            side, arm = self.side(model, level), self._arm(model, level)
            if arm.model.ranking is None:
                raise UsageError(f"model {model!r} puts nothing in order: its task is {arm.model.task!r}, and no hw.Ranking")
            retrieval = arm.level.retrieval(arm.model)
            known = Ranker(side.predictor, None if retrieval is None else OnlineFeatures(retrieval, self.store), side.ahead)
            self._mine.rankers[model, level] = known
        return known

    def lane(self) -> Service:
        """The same service for another thread: it shares the store and the loaded models, and has its own readers."""
        made = copy.copy(self)
        made.__dict__ |= {"_stack": ExitStack(), "_mine": _Mine(), "_asking": None}
        return made

    def scorer(self, model: Model, level: str | None) -> Scorer:
        """The fitted model that serves a model at a level.

        Raises:
            ModelError: there is none, or it is refused.
        """
        return self._loads.scorer(self._arm(model.name, level), (model.name, level))

    def load(self, model: str, level: str | None) -> None:
        """Load the fitted model of a level, where requests need one.

        Raises:
            UsageError: a model or level that there is not, or that is for backtests alone.
            ModelError: as for `scorer`.
        """
        self._fitted(self.project.model(model), level)

    def is_loaded(self, model: str, level: str | None) -> bool:
        """Whether requests at a level need no load of a fitted model."""
        return (model, level) in self._fit

    def _asked(self, service: str, columns: Mapping[str, Sequence[object]], t: int, model: str | None) -> Beside | None:
        """What third parties say of some rows; None where none is asked."""
        if not self.services[service].features.http_features:
            return None
        with self._lock:
            if self._asking is None:
                self._asking = Asking(self.project)
                self._stack.callback(self._asking.close)
        return self._asking.ask(service, columns, len(next(iter(columns.values()))), t=t, model=model)

    def refresh(self) -> None:
        """Take up the versions of models that have become current; `refused` says of which this failed, and why: the one before goes on."""
        self._loads.refresh()

    @property
    def refused(self) -> Mapping[Key, str]:
        """Why a version that was promoted is not served, by model and level."""
        return self._loads.refused

    def _fitted(self, model: Model, level: str | None) -> None:
        """Load the fitted model, where something is predicted on request."""
        scoring = self._arm(model.name, level).scoring
        if scoring is None or scoring.on_request:
            self.scorer(model, level)
        self._fit.add((model.name, level))

    def _check(self, model: Model, level: str | None) -> None:
        """Look whether what requests of a model read is there.

        Raises:
            HeadwaterError: it is not.
        """
        arm, service = self._arm(model.name, level), model.features.name
        if arm.scoring is not None:
            MadeAhead(arm, self.store).one(dict.fromkeys(arm.scoring.keys))
        if arm.scoring is not None and not arm.scoring.on_request:
            return
        online = self.open(service, level).features
        for view in online.views.values():
            heads, _ = view.heads.look()
            view.heads.moment(self.store.get(heads), clock.now_micros())
        if (service, level) not in self._warm:
            online.warm()
            self._warm.add((service, level))


def _moment(at: datetime | str | None) -> int:
    return clock.now_micros() if at is None else parse_moment(at, "at")


def _milliseconds(stages: Mapping[str, float]) -> dict[str, float]:
    return {name: round(seconds * 1000, 4) for name, seconds in stages.items()}


def _failures(*works: Callable[[], object]) -> list[str]:
    """What these fail with, in sentences; but a store that does not answer at all."""
    found = []
    for work in works:
        try:
            work()
        except UnansweredError:
            raise
        except HeadwaterError as error:
            found.append(str(error))
    return found
