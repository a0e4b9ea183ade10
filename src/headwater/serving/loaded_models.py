"""Cache of a service's fitted models: each is loaded once, by one thread while others wait, and
replaced as versions are promoted.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from headwater import clock
from headwater.definitions.level import AS_DEFINED, ModelVariant
from headwater.errors import (
    DataError,
    MissingExtraError,
    ModelError,
    OtherDefinitionsError,
    UsageError,
)
from headwater.models.hot_reload import Reloading
from headwater.models.running_services import LoadedVersion
from headwater.online.predictor import Scorer
from headwater.serving.model_loader import Scorers

Key = tuple[str, str | None]
"""The name of a model, and of a level."""

_RESTART: Final = (
    "This service was started with other definitions than the version was trained with. Apply "
    "those (headwater apply), restart ingestion and jobs and then the workers (kill -HUP of "
    "`headwater serve`), or promote a version that fits (headwater models)"
)
_AGAIN: Final = 5.0  # seconds until a failed load is tried again
_LOG: Final = logging.getLogger(__name__)


class LoadedModels:
    """Loads models on first use. Threads may share one.

    Args:
        scorers: where fitted models are found.

    Attributes:
        refused: why a promoted version could not be loaded, by model and level; the previous
            version stays in use.
    """

    def __init__(self, scorers: Scorers) -> None:
        self._scorers = scorers
        self._lock = threading.Lock()
        self._loaded: dict[Key, Scorer] = {}
        self._loading: dict[Key, threading.Lock] = {}
        self._failed: dict[Key, tuple[float, str]] = {}
        self.refused: dict[Key, str] = {}

    def scorer(self, variant: ModelVariant, key: Key) -> Scorer:
        """The fitted model of a model at a level.

        Raises:
            ModelError: it is missing or incompatible, or loading failed; that error is cached for
                five seconds.
        """
        scorer = self._loaded.get(key)
        if scorer is not None:
            return scorer
        with self._lock:
            lock = self._loading.setdefault(key, threading.Lock())
        with lock:
            scorer = self._loaded.get(key)
            if scorer is None:
                scorer = self._loaded[key] = self._load(variant, key)
        return scorer

    def refresh(self) -> None:
        """Load the versions that have become current; failures are in `refused`."""
        for key, scorer in list(self._loaded.items()):
            if not isinstance(scorer, Reloading):
                continue
            try:
                if scorer.moved:
                    scorer.refresh()
                    self.refused.pop(key, None)
            except OtherDefinitionsError as error:
                self._refuse(key, scorer.version, f"{error.difference}. {_RESTART}")
            except Exception as error:  # noqa: BLE001 (any failure keeps the previous version)
                self._refuse(key, scorer.version, str(error) or type(error).__name__)

    def state(self) -> list[LoadedVersion]:
        """The versions that are loaded from a registry, and why a promoted one is not."""
        return [
            LoadedVersion(
                model,
                level or AS_DEFINED,
                scorer.version,
                scorer.looked_at,
                self.refused.get((model, level), ""),
            )
            for (model, level), scorer in list(self._loaded.items())
            if isinstance(scorer, Reloading)
        ]

    def _refuse(self, key: Key, version: str, why: str) -> None:
        self.refused[key] = why
        _LOG.warning(
            "model %r: version %s stays in use; the promoted one is refused: %s",
            key[0],
            version,
            why,
        )

    def _load(self, variant: ModelVariant, key: Key) -> Scorer:
        until, message = self._failed.get(key, (0.0, ""))
        if clock.stopwatch() < until:
            raise ModelError(message)
        try:
            return self._scorers(variant)
        except (DataError, UsageError, MissingExtraError) as error:
            raise self._failure(key, str(error)) from error
        except Exception as error:
            _LOG.exception("model %r cannot be loaded", variant.model.name)
            raise self._failure(
                key,
                f"model {variant.model.name!r} cannot be loaded: {type(error).__name__}; the "
                "service's log has details",
            ) from error

    def _failure(self, key: Key, message: str) -> ModelError:
        self._failed[key] = clock.stopwatch() + _AGAIN, message
        return ModelError(message)
