"""What the requests of a project are answered with: endpoints, and the fitted models that they
score with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from headwater import clock
from headwater.definitions.level import AS_DEFINED, ModelVariant
from headwater.definitions.project import Project
from headwater.errors import HeadwaterError
from headwater.online.precomputed import PrecomputedReader
from headwater.online.predictor import Scorer
from headwater.serving.endpoints import Endpoints
from headwater.serving.http.row_decoder import ParsedRequest
from headwater.serving.loaded_models import Key, LoadedModels
from headwater.serving.model_loader import Scorers
from headwater.stores import OnlineStore, UnansweredError


class ServedProject:
    """Endpoints, and the fitted models that they score with. Threads share one.

    Args:
        project, store: as for `hw.operations.Service`.
        scorers: where fitted models are found.

    Attributes:
        warm: whose readers are compiled: feature services, or candidates of models, at a level.
        fitted: the models at levels that are loaded, or need none.
    """

    def __init__(self, project: Project, store: OnlineStore, scorers: Scorers) -> None:
        self._project, self._store = project, store
        self.loads = LoadedModels(scorers)
        self.endpoints = Endpoints(project, store, self.scorer)
        self.warm, self.fitted = set[Key](), set[Key]()

    def scorer(self, variant: ModelVariant) -> Scorer:
        """The fitted model of a variant.

        Raises:
            ModelError: it is missing or incompatible.
        """
        return self.loads.scorer(
            variant, (variant.model.name, None if variant.name == AS_DEFINED else variant.name)
        )

    def load(self, model: str, level: str | None) -> None:
        """Load the fitted model of a level, if its requests need one.

        Raises:
            UsageError: an unknown model or level, or one for backtests only.
            ModelError: as for `scorer`.
        """
        variant = self.endpoints.variant(model, level)
        if variant.precomputed is None or variant.precomputed.on_request:
            self.scorer(variant)
        self.fitted.add((model, level))

    def prepare(self, model: str, level: str | None) -> ModelVariant:
        """Load and check a model at a level.

        Raises:
            HeadwaterError: it cannot be served.
        """
        variant = self.endpoints.variant(model, level)
        self._check(model, level)
        self.load(model, level)
        if variant.model.ranking is not None:
            self._check_ranking(model, level)
        return variant

    def unready(self, levels: Sequence[str | None]) -> list[str]:
        """Reasons why requests cannot be answered, in sentences; empty when they can.

        levels: of each model.
        """
        reasons = list[str]()
        try:
            for level in levels:
                for model in self._project.models:
                    reasons += _failures(
                        partial(self._check, model.name, level),
                        partial(self.load, model.name, level),
                        partial(self.endpoints.model, model.name, level),
                    )
                    if model.ranking is not None:
                        reasons += _failures(partial(self._check_ranking, model.name, level))
        except UnansweredError as error:  # further checks would time out too
            reasons.append(str(error))
        return list(dict.fromkeys(reasons))

    def _check(self, model: str, level: str | None) -> None:
        """Check that the data of a model's requests is in the store.

        Raises:
            HeadwaterError: it is missing or unreadable.
        """
        variant = self.endpoints.variant(model, level)
        service = variant.model.features.name
        if variant.precomputed is not None:
            PrecomputedReader(variant, self._store).one(dict.fromkeys(variant.precomputed.keys))
        if variant.precomputed is not None and not variant.precomputed.on_request:
            return
        online = self.endpoints.opened(variant, level).features
        for view in online.views.values():
            version_keys, _ = view.version_reader.look()
            view.version_reader.read_version(self._store.get(version_keys), clock.now_micros())
        if (service, level) not in self.warm:
            online.warm()
            self.warm.add((service, level))

    def _check_ranking(self, model: str, level: str | None) -> None:
        """Check that candidates can be read.

        Raises:
            HeadwaterError: a view of theirs is missing or unreadable.
        """
        retrieval = self.endpoints.ranking(model, level).ranker.retrieval
        key = (f"candidates of {model}", level)
        if retrieval is not None and key not in self.warm:
            retrieval.warm()
            self.warm.add(key)


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


def endpoints_of(request: ParsedRequest) -> Endpoints:
    """The endpoints that a request was parsed by."""
    return cast("Endpoints", request.endpoints)
