"""`hw.Service`: features, predictions, rankings, outcomes and explanations of a project over an online store."""

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
from headwater.definitions.timestamps import parse_timestamp
from headwater.errors import HeadwaterError, UsageError, nearest
from headwater.logs.outcome_journal import Added, Outcomes
from headwater.monitoring.explain import Explanation, explain
from headwater.online.feature_reader import OnlineFeatures
from headwater.online.precomputed import MadeAhead
from headwater.online.predictor import Predictor, Scorer, ThirdPartyValues, read_many
from headwater.online.ranker import Ranker
from headwater.online_stores import OnlineStore
from headwater.online_stores.ownership import opened_for
from headwater.online_stores.redis.commands import UnansweredError
from headwater.serving.endpoints import FeatureEndpoint, ModelVariant, Rows, columns_of, feature_values, propose
from headwater.serving.http.request_schema import Reader, key_types, moments_of
from headwater.serving.http.response_encoder import ResponseEncoder
from headwater.serving.http.response_schema import Features, FeatureValue, Prediction, Predictions, Ranked, RankedItem
from headwater.serving.loaded_models import Key, LoadedModels
from headwater.serving.model_loader import in_folder, in_memory
from headwater.serving.third_party.third_party_clients import BlockingThirdPartyClients
from headwater.state.prediction_codec import read_scores
from headwater.training.train import Trained


class _ThreadState(threading.local):
    """State of one thread: readers and predictors cache their last read, and are not shared between threads."""

    def __init__(self) -> None:
        self.open: dict[Key, FeatureEndpoint] = {}
        self.variants: dict[Key, ModelVariant] = {}
        self.rankers: dict[Key, Ranker] = {}


class Service:
    """A project's feature services and models over an online store, in this process; `headwater serve` uses it.

    Threads may share one: each has its own readers, while the store and the loaded models are shared. A fitted model is then called by
    several threads and has to be thread-safe, as LightGBM, scikit-learn and ONNX are.

    Args:
        project: its models, and the feature services that they read.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE). A server opened by its URL has the timeout
            `read_timeout` of the URL (200ms).
        models: the folder of fitted models of `headwater train`, or results of `hw.train`, by model; None is `models` in headwater's home.
        levels: the project's levels that must be ready besides each view's own freshness; requests may use any level.
        folder: the folder of ingestion's archive, for `explain`; None is headwater's home.
        trust: load models in formats that run code when they are loaded.

    Raises:
        UsageError: an unknown level.
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
        kept = settings.home() / "models" if models is None else models
        scorers = in_memory(kept) if isinstance(kept, Mapping) else in_folder(Path(kept), trust=trust)
        self._loads, self._fit = LoadedModels(scorers), set[Key]()
        self.services = {model.features.name: model for model in project.models}
        self.levels: tuple[str | None, ...] = (None, *levels)
        for name in levels:
            project.arm(project.models[0].name, name)
        self._stack = ExitStack()
        self.store = self._stack.enter_context(opened_for(project.name, store, readonly=True, for_requests=True))
        self._warm: set[Key] = set()
        self._lock = threading.Lock()
        self._outcomes: dict[str, Outcomes] = {}
        self._asking: BlockingThirdPartyClients | None = None
        self._state = _ThreadState()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the store, if it was opened here, and files."""
        self._stack.close()
        for posted in self._outcomes.values():
            posted.close()

    def features(self, service: str, rows: Rows, *, level: str | None = None, at: datetime | str | None = None) -> Features:
        """The current features of one row or several.

        Args:
            service: the name of a feature service of a model.
            rows: keys and request fields; timestamps as datetimes.
            level: one of the project's levels; None is each view's own freshness.
            at: the request time, for tests and replays; None is now.

        Raises:
            UsageError: an unknown service or level; the message has the nearest known one.
            DataError: a missing or unknown field, or one of another type; rows with different fields.
            StoreError: a view that is not in the online store. StaleError: one older than its freshness, with on_stale="refuse".
        """
        (online, reader, writer), t = self.open(service, level), _read_version(at)
        columns = columns_of(reader, rows)
        third_party = self._asked(service, columns, t, None)
        answers = read_many(online, columns, t, third_party)
        return Features(service, level, clock.moment(t), feature_values(writer, answers, third_party, t))

    def predict(
        self, model: str, rows: Rows, *, level: str | None = None, at: datetime | str | None = None, features: bool = False
    ) -> Predictions:
        """The predictions for one row or several. features: return the features of each. Other arguments and errors as `features`.

        Raises:
            ModelError: a fitted model that is missing, or has other features.
        """
        variant, t = self.variant(model, level), _read_version(at)
        columns = columns_of(variant.reader, rows)
        third_party = self._asked(variant.predictor.model.features.name, columns, t, model)
        predictions = variant.predictor.many(columns, t=t, third_party=third_party)
        features_by_row: list[dict[str, FeatureValue] | None] = [None] * len(predictions.predicted)
        if features and predictions.features is not None:
            own = third_party if third_party is None or predictions.rows is None else third_party.take(predictions.rows)
            indices = range(len(features_by_row)) if predictions.rows is None else predictions.rows
            for n, values in zip(indices, feature_values(variant.writer, predictions.features, own, t), strict=True):
                features_by_row[n] = values
        pairs = zip(predictions.predicted, features_by_row, strict=True)
        results = [Prediction(score.value, score.how, score.age, values) for score, values in pairs]
        return Predictions(model, predictions.version, level, clock.moment(t), results, _milliseconds(predictions.stages))

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
            candidates: items, or mappings with the item and its own fields; None uses those that the model retrieves.
            k: number of candidates to return.
            level, at, features: as for `predict`.

        Raises:
            UsageError: not a ranking model. DataError, StoreError: as for `predict`.
        """
        ranker, t = self.ranker(model, level), _read_version(at)
        service = ranker.predictor.model.features.name
        proposed = propose(ranker, self.variant(model, level).reader, row, candidates, t)
        third_party = self._asked(service, proposed.columns, t, model) if proposed.height else None
        order = ranker.order(proposed, k, t=t, third_party=third_party)
        features_by_item: Sequence[dict[str, FeatureValue] | None] = [None] * len(order.items)
        if features and order.features is not None:
            features_by_item = feature_values(self.variant(model, level).writer, order.features, third_party, t)
        items = [
            RankedItem(item, cast("float", predicted.value), of)
            for (item, predicted), of in zip(order.items, features_by_item, strict=True)
        ]
        return Ranked(
            model, order.version, level, clock.moment(t), order.how, order.age, order.candidates, items, _milliseconds(order.stages)
        )

    def outcomes(self, labels: str, rows: Sequence[Mapping[str, object]]) -> Added:
        """Add outcomes of requests; accepted ones are on disk when this returns.

        Args:
            labels: the name of a model's labels.
            rows: each has its request (`request_id`, or the labels' keys, and `timestamp`), its `outcome`, and when that was known
                (`known_at`; default now).

        Raises:
            UsageError: unknown labels, or labels derived from events.
            StoreError: the folder cannot be written.
        """
        with self._lock:
            posted = self._outcomes.get(labels)
            if posted is None:
                posted = self._outcomes[labels] = Outcomes.of(self._folder, self.project, labels)
        return posted.add(rows)

    def explain(self, feature: str, keys: Mapping[str, object], *, at: datetime | str | None = None) -> Explanation:
        """Explain a feature value; as `hw.explain`."""
        return explain(self.project, feature, keys, store=self.store, folder=self._folder, at=at)

    def unready(self) -> list[str]:
        """Reasons why the service is not ready, in sentences; empty when it is.

        Ready means: the store can be read, it has every view at the required levels, readers are compiled, and every model is loaded.
        """
        reasons = list[str]()
        try:
            for level in self.levels:
                for model in self.project.models:
                    reasons += _failures(
                        partial(self._check, model, level), partial(self._fitted, model, level), partial(self.variant, model.name, level)
                    )
                    if model.ranking is not None:
                        reasons += _failures(partial(self.ranker, model.name, level))
        except UnansweredError as error:  # further checks would time out too
            reasons.append(str(error))
        return list(dict.fromkeys(reasons))

    def open(self, service: str, level: str | None) -> FeatureEndpoint:
        """A feature service at a level, cached for this thread.

        Raises:
            UsageError: an unknown service or level, or one for backtests only.
            StoreError: a view that is not in the online store.
        """
        known = self._state.open.get((service, level))
        if known is None:
            features = self._features(service, level)
            known = self._state.open[service, level] = FeatureEndpoint(features, Reader.of(features), ResponseEncoder(features, level))
        return known

    def variant(self, model: str, level: str | None) -> ModelVariant:
        """A model at a level, cached for this thread.

        Raises:
            UsageError: an unknown model or level, or one for backtests only.
            ModelError: a fitted model that is missing or incompatible.
            StoreError: a required view that is not in the online store.
        """
        known = self._state.variants.get((model, level))
        if known is None:
            known = self._state.variants[model, level] = self._variant(model, level)
        return known

    def _variant(self, model: str, level: str | None) -> ModelVariant:
        arm = self._arm(model, level)
        scoring, service = arm.scoring, arm.model.features.name
        if scoring is None:
            opened = self.open(service, level)
            return ModelVariant(self._predictor(arm, opened.features, None), None, opened.reader, opened.writer)
        precomputed = MadeAhead(arm, self.store)
        if scoring.on_request:
            opened = self.open(service, level)
            features, writer, known = opened.features, opened.writer, arm.model.features.needed_by()
            dtypes = key_types(features)
        else:
            features, known = self._features(service, level), {}
            held = read_scores(self.store, fingerprint(arm, self.store.namespace))
            writer, dtypes = ResponseEncoder(features, level), {} if held is None else held.dtypes
        known = {**known, **{key: ["the precomputed prediction"] for key in scoring.keys}}
        return ModelVariant(
            self._predictor(arm, features, precomputed),
            precomputed,
            Reader(model, known, scoring.keys, dtypes, moments_of(features)),
            writer,
        )

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
        """A ranking model at a level, cached for this thread."""
        known = self._state.rankers.get((model, level))
        if known is None:
            variant, arm = self.variant(model, level), self._arm(model, level)
            if arm.model.ranking is None:
                raise UsageError(f"model {model!r} is not a ranking model: its task is {arm.model.task!r}; allowed: hw.Ranking")
            retrieval = arm.level.retrieval(arm.model)
            known = Ranker(variant.predictor, None if retrieval is None else OnlineFeatures(retrieval, self.store), variant.ahead)
            self._state.rankers[model, level] = known
        return known

    def lane(self) -> Service:
        """A copy of the service for another thread: it shares the store and loaded models, and has its own readers."""
        service = copy.copy(self)
        service.__dict__ |= {"_stack": ExitStack(), "_state": _ThreadState(), "_asking": None}
        return service

    def scorer(self, model: Model, level: str | None) -> Scorer:
        """The fitted model of a model at a level.

        Raises:
            ModelError: it is missing or incompatible.
        """
        return self._loads.scorer(self._arm(model.name, level), (model.name, level))

    def load(self, model: str, level: str | None) -> None:
        """Load the fitted model of a level, if its requests need one.

        Raises:
            UsageError: an unknown model or level, or one for backtests only.
            ModelError: as for `scorer`.
        """
        self._fitted(self.project.model(model), level)

    def is_loaded(self, model: str, level: str | None) -> bool:
        """Whether the fitted model of a level is loaded, or not needed."""
        return (model, level) in self._fit

    def _asked(self, service: str, columns: Mapping[str, Sequence[object]], t: int, model: str | None) -> ThirdPartyValues | None:
        """Third-party values of rows; None where the service has no third-party features."""
        if not self.services[service].features.http_features:
            return None
        with self._lock:
            if self._asking is None:
                self._asking = BlockingThirdPartyClients(self.project)
                self._stack.callback(self._asking.close)
        return self._asking.ask(service, columns, len(next(iter(columns.values()))), t=t, model=model)

    def refresh(self) -> None:
        """Load the model versions that have become current; after a failure, which `refused` lists, the previous version stays in use."""
        self._loads.refresh()

    @property
    def refused(self) -> Mapping[Key, str]:
        """Why a promoted version could not be loaded, by model and level."""
        return self._loads.refused

    def _fitted(self, model: Model, level: str | None) -> None:
        """Load the fitted model, if the model predicts on request."""
        scoring = self._arm(model.name, level).scoring
        if scoring is None or scoring.on_request:
            self.scorer(model, level)
        self._fit.add((model.name, level))

    def _check(self, model: Model, level: str | None) -> None:
        """Check that the data of a model's requests is in the store.

        Raises:
            HeadwaterError: it is missing or unreadable.
        """
        arm, service = self._arm(model.name, level), model.features.name
        if arm.scoring is not None:
            MadeAhead(arm, self.store).one(dict.fromkeys(arm.scoring.keys))
        if arm.scoring is not None and not arm.scoring.on_request:
            return
        online = self.open(service, level).features
        for view in online.views.values():
            version_keys, _ = view.version_reader.look()
            view.version_reader.read_version(self.store.get(version_keys), clock.now_micros())
        if (service, level) not in self._warm:
            online.warm()
            self._warm.add((service, level))


def _read_version(at: datetime | str | None) -> int:
    return clock.now_micros() if at is None else parse_timestamp(at, "at")


def _milliseconds(stages: Mapping[str, float]) -> dict[str, float]:
    return {name: round(seconds * 1000, 4) for name, seconds in stages.items()}


def _failures(*works: Callable[[], object]) -> list[str]:
    """Error messages of functions; an unresponsive store is raised."""
    messages = []
    for work in works:
        try:
            work()
        except UnansweredError:
            raise
        except HeadwaterError as error:
            messages.append(str(error))
    return messages
