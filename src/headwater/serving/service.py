"""`hw.operations.Service`: features, predictions, rankings, outcomes and explanations of a project
over an online store.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from headwater import settings
from headwater.definitions.level import ModelVariant
from headwater.definitions.model import Model
from headwater.definitions.project import Project
from headwater.journal.outcome_journal import Added, Outcomes
from headwater.models.experiment_store import ExperimentStore
from headwater.models.running_services import LoadedVersion
from headwater.monitoring.explain import Explanation, explain
from headwater.monitoring.explain_warmup import compile_explanation
from headwater.online.predictor import Scorer, ThirdPartyValues
from headwater.serving import answers, arm_answers, python_encoder
from headwater.serving.arm_answers import Wish
from headwater.serving.arm_choice import RunningExperiment
from headwater.serving.endpoints import Endpoints, converted
from headwater.serving.exposure_events import AddedExposures, add_exposures
from headwater.serving.exposures import log_exposures
from headwater.serving.http.response_schema import Features, Predictions, Ranked
from headwater.serving.http.row_decoder import ParsedRequest
from headwater.serving.loaded_models import Key
from headwater.serving.model_loader import in_folder, in_memory
from headwater.serving.plain_rows import Rows, parsed, request_time
from headwater.serving.running_experiments import RunningExperiments
from headwater.serving.served_project import ServedProject
from headwater.serving.serving_result import ServingResult
from headwater.serving.third_party.third_party_clients import BlockingThirdPartyClients
from headwater.stores import OnlineStore, UnansweredError
from headwater.stores.keyspace import opened_for
from headwater.training.train import Trained


class Service:
    """A project's feature services and models over an online store, in this process; `headwater
    serve` uses it.

    Threads may share one: each has its own readers, while the store and the loaded models are
    shared. A fitted model is then called by several threads and has to be thread-safe, as LightGBM,
    scikit-learn and ONNX are.

    Args:
        project: its models, and the feature services that they read.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE). A server
            opened by its URL has the timeout `read_timeout` of the URL (200ms).
        models: the folder of fitted models of `headwater train`, or results of `hw.train`, by
            model; None is `models` in headwater's home.
        levels: the project's levels that must be ready besides each view's own freshness; requests
            may use any level.
        data_dir: the folder of ingestion's archive, for `explain`; None is headwater's home.
        allow_pickle: load models in formats that run code when they are loaded.
        experiments: what was started; None is what the registry `models` has. While an experiment
            runs, requests of its arms' models get the arm of their unit, and exposures are logged
            in `data_dir`.

    Raises:
        UsageError: an unknown level; a running experiment was started with other definitions.
        StoreError: the store cannot be opened.
    """

    def __init__(
        self,
        project: Project,
        store: OnlineStore | str | None = None,
        *,
        models: str | Path | Mapping[str, Scorer | Trained] | None = None,
        levels: Sequence[str] = (),
        data_dir: str | Path | None = None,
        allow_pickle: bool = False,
        experiments: ExperimentStore | None = None,
    ) -> None:
        self.project = project
        self.data_dir = settings.home() if data_dir is None else Path(data_dir)
        registered = settings.home() / "models" if models is None else models
        scorers = (
            in_memory(registered)
            if isinstance(registered, Mapping)
            else in_folder(Path(registered), allow_pickle=allow_pickle)
        )
        self.models_folder = None if isinstance(registered, Mapping) else Path(registered)
        self.services = {model.features.name: model for model in project.models}
        self.levels: tuple[str | None, ...] = (None, *levels)
        for name in levels:
            project.variant(project.models[0].name, name)
        started = None if self.models_folder is None else ExperimentStore(self.models_folder)
        self.experiments = RunningExperiments(
            project, started if experiments is None else experiments, self.data_dir, self._prepare
        )
        self._stack = ExitStack()
        self.store = self._stack.enter_context(
            opened_for(project.name, store, readonly=True, for_requests=True)
        )
        self._served = ServedProject(project, self.store, scorers)
        self._explained: list[bool] = []  # shared by the lanes
        self._lock = threading.Lock()
        self._outcomes: dict[str, Outcomes] = {}
        self._third_party_clients: BlockingThirdPartyClients | None = None
        self._stack.callback(self.experiments.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store, if it was opened here, and files."""
        self._stack.close()
        for posted in self._outcomes.values():
            posted.close()

    @property
    def endpoints(self) -> Endpoints:
        """Readers, predictors and encoders of requests."""
        return self._served.endpoints

    def features(
        self,
        service: str,
        rows: Rows,
        *,
        level: str | None = None,
        at: datetime | str | None = None,
    ) -> Features:
        """The current features of one row or several.

        Args:
            service: the name of a feature service of a model.
            rows: keys and request fields; timestamps as datetimes.
            level: one of the project's levels; None is each view's own freshness.
            at: the request time, for tests and replays; None is now.

        Raises:
            UsageError: an unknown service or level; the message has the nearest known one.
            DataError: a missing or unknown field, or one of another type; rows with different
                fields.
            StoreError: a view that is not in the online store. StaleError: one older than its
                freshness, with on_stale="refuse".
        """
        endpoint, t = self.endpoints.features(service, level), request_time(at)
        request = parsed(endpoint.rows.schema, rows, t)
        result = answers.features(
            endpoint,
            level,
            t,
            request,
            self._fetch_third_party(service, request.as_columns(), t, None),
        )
        return python_encoder.features(endpoint.encoder.shape, result)

    def predict(
        self,
        model: str,
        rows: Rows,
        *,
        level: str | None = None,
        at: datetime | str | None = None,
        features: bool = False,
        arm: str | None = None,
    ) -> Predictions:
        """The predictions for one row or several. features: return the features of each. Other
        arguments and errors as `features`.

        While an experiment of the model runs, each row gets the arm of its unit, unless `level` is
        given. arm: one by name, for tests; it is logged, and not analysed.

        Raises:
            ModelError: a fitted model that is missing, or has other features.
        """
        t, experiments, endpoints = request_time(at), self._running(model), self.endpoints
        if experiments or arm is not None:
            wish = Wish(model, level, arm, t, self.experiments.room)
            request = parsed(endpoints.rows_of_arms(model, experiments)[0].schema, rows, t)
            request = arm_answers.with_arms(endpoints, experiments, wish, request)
        else:
            request = parsed(endpoints.model(model, level).rows.schema, rows, t)
        endpoint = endpoints.model(
            *((model, level) if request.arms is None else request.arms.groups[0].key)
        )
        third_party = self._fetch_third_party(
            endpoint.predictor.model.features.name, request.as_columns(), t, model
        )
        if request.arms is None:
            result = answers.predictions(endpoint, level, t, request, third_party)
        else:
            result = arm_answers.predictions(endpoints, model, t, request, third_party)
            self._expose(result)
        return python_encoder.predictions(endpoint.encoder.shape, result, with_features=features)

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
        arm: str | None = None,
    ) -> Ranked:
        """The best candidates of one request, the best first.

        Args:
            model: a model whose task is a Ranking.
            row: what all candidates share, such as the user.
            candidates: items, or mappings with the item and its own fields; None uses those that
                the model retrieves.
            k: number of candidates to return.
            level, at, features, arm: as for `predict`.

        Raises:
            UsageError: not a ranking model. DataError, StoreError: as for `predict`.
        """
        t, experiments, endpoints = request_time(at), self._running(model), self.endpoints
        if experiments or arm is not None:
            shared, items = endpoints.candidates_of_arms(model, experiments)
            wish = Wish(model, level, arm, t, self.experiments.room)
            given_items = None if candidates is None else converted(items.schema, candidates)
            request = arm_answers.proposed(
                endpoints,
                experiments,
                wish,
                shared.schema.dated(shared.schema.from_row(row), t),
                given_items,
            )
        else:
            endpoint = endpoints.ranking(model, level)
            proposed, service = (
                endpoint.propose(row, candidates, t),
                endpoint.ranker.predictor.model.features.name,
            )
            request = ParsedRequest(None, proposed.columns, proposed.height, service, proposed)
        endpoint = endpoints.ranking(
            *((model, level) if request.arms is None else request.arms.groups[0].key)
        )
        service = endpoint.ranker.predictor.model.features.name
        third_party = (
            self._fetch_third_party(service, request.columns, t, model) if request.height else None
        )
        if request.arms is None:
            result = answers.ranking(endpoint, level, t, request, k, third_party)
        else:
            result = arm_answers.ranking(endpoints, t, request, k, third_party)
            self._expose(result)
        return python_encoder.ranked(endpoint.encoder.shape, result, with_features=features)

    def outcomes(self, labels: str, rows: Sequence[Mapping[str, object]]) -> Added:
        """Add outcomes of requests; accepted ones are on disk when this returns.

        Args:
            labels: the name of a model's labels.
            rows: each has its request (`request_id`, or the labels' keys, and `timestamp`), its
                `outcome`, and when that was known (`known_at`; default now).

        Raises:
            UsageError: unknown labels, or labels derived from events.
            StoreError: the folder cannot be written.
        """
        with self._lock:
            posted = self._outcomes.get(labels)
            if posted is None:
                posted = self._outcomes[labels] = Outcomes.of(self.data_dir, self.project, labels)
        return posted.add(rows)

    def exposures(self, experiment: str, rows: Sequence[Mapping[str, object]]) -> AddedExposures:
        """Add exposures of units to arms, that this service has not answered; accepted ones are on
        disk when this returns.

        Args:
            experiment: the name of a running experiment.
            rows: as for `exposure_events.add_exposures`: each has its `unit`, and its `arm` if
                another system has assigned it.

        Raises:
            UsageError: the experiment does not run.
            StoreError: the folder cannot be written.
        """
        self.experiments.look()
        return add_exposures(self.experiments.log, self.experiments.started, experiment, rows)

    def explain(
        self, feature: str, keys: Mapping[str, object], *, at: datetime | str | None = None
    ) -> Explanation:
        """Explain a feature value; as `hw.operations.explain`."""
        return explain(self.project, feature, keys, store=self.store, data_dir=self.data_dir, at=at)

    def unready(self) -> list[str]:
        """Reasons why the service is not ready, in sentences; empty when it is.

        Ready means: the store can be read, it has every view at the required levels, readers are
        compiled, and every model is loaded.
        """
        reasons = self._served.unready(self.levels)
        try:
            self._compile_explain()
        except UnansweredError as error:
            reasons.append(str(error))
        return list(dict.fromkeys(reasons))

    def _compile_explain(self) -> None:
        """Compile what `explain` recomputes values with, once; a view that cannot be explained says
        so when it is asked for.
        """
        if not self._explained:
            self._explained.append(True)
            for view in self.project.all_views:
                compile_explanation(view.root, self.store)

    def lane(self) -> Service:
        """A copy of the service for another thread: it shares the store and loaded models, and has
        its own readers.
        """
        service = copy.copy(self)
        service.__dict__ |= {"_stack": ExitStack(), "_third_party_clients": None}
        return service

    def scorer(self, model: Model, level: str | None) -> Scorer:
        """The fitted model of a model at a level.

        Raises:
            ModelError: it is missing or incompatible.
        """
        return self._served.scorer(self.endpoints.variant(model.name, level))

    def load(self, model: str, level: str | None) -> None:
        """Load the fitted model of a level, if its requests need one.

        Raises:
            UsageError: an unknown model or level, or one for backtests only.
            ModelError: as for `scorer`.
        """
        self._served.load(model, level)

    def is_loaded(self, model: str, level: str | None) -> bool:
        """Whether the fitted model of a level is loaded, or not needed; during an experiment, so
        are those of its arms.
        """
        return (model, level) in self._served.fitted

    def _prepare(self, model: str, level: str | None) -> ModelVariant:
        """Load and check a model at a level, for an arm."""
        return self._served.prepare(model, level)

    def _running(self, model: str) -> Sequence[RunningExperiment]:
        """The experiments of a model, in process, where no event loop polls for them."""
        self.experiments.look()
        return self.experiments.by_model.get(model, ())

    def _expose(self, result: ServingResult) -> None:
        """Log the exposures of a result that is about to be returned."""
        if result.arms:
            log_exposures(
                self.experiments.log,
                f"{self.experiments.log.worker}-{self.experiments.log.logged}",
                result,
            )

    def _fetch_third_party(
        self, service: str, columns: Mapping[str, Sequence[object]], t: int, model: str | None
    ) -> ThirdPartyValues | None:
        """Third-party values of rows; None where the service has no third-party features."""
        if not self.services[service].features.http_features:
            return None
        with self._lock:
            if self._third_party_clients is None:
                self._third_party_clients = BlockingThirdPartyClients(self.project)
                self._stack.callback(self._third_party_clients.close)
        return self._third_party_clients.ask(
            service, columns, len(next(iter(columns.values()))), t=t, model=model
        )

    def refresh(self) -> None:
        """Load the model versions that have become current, and take over what was started and
        stopped.

        After a failure, which `refused` lists, the previous version stays in use.
        """
        self._served.loads.refresh()
        self.experiments.refresh()

    @property
    def refused(self) -> Mapping[Key, str]:
        """Why a promoted version could not be loaded, by model and level."""
        return self._served.loads.refused

    def loaded(self) -> list[LoadedVersion]:
        """The versions of models that requests are answered with, and why a promoted one is not."""
        return self._served.loads.state()
