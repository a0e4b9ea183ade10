"""The model that requests are answered with, replaced while they are when another version becomes
current.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from headwater.definitions.level import AS_DEFINED
from headwater.definitions.model import Model
from headwater.kernel.arrays import F64
from headwater.models.pointer import Stamp
from headwater.models.registry import ModelRegistry
from headwater.models.serving_model import Score, ServedModel

if TYPE_CHECKING:
    import polars as pl

Check = Callable[[ServedModel], object]


class Reloading:
    """The current version of a model at a level.

    A request reads `served` once and uses that: it is one attribute, and a new version takes its
    place in one assignment. `refresh` is for background work: it costs one stat of a file while
    nothing has changed, and otherwise loads the version and checks it before it is served.

    Args:
        registry: where versions are.
        model: the definition that each has to agree with.
        level: whose versions.
        allow_pickle: allow formats that run code when they are loaded.
        check: called with each version before it is served; what it raises keeps the version from
            being served.
        instead: the level whose versions are served while `level` has none of its own.

    Attributes:
        served: the version that requests are answered with.
        looked_at: the number of the version that was current when one was last loaded, or tried.

    Raises:
        DataError: no version is current, or it is refused.
    """

    looked_at: int

    def __init__(
        self,
        registry: ModelRegistry,
        model: Model,
        level: str = AS_DEFINED,
        *,
        allow_pickle: bool = False,
        check: Check | None = None,
        instead: str | None = None,
    ) -> None:
        self._instead = instead
        self._registry, self._model, self._level, self._allow_pickle, self._check = (
            registry,
            model,
            level,
            allow_pickle,
            check,
        )
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self.served: ServedModel = self._load()

    @property
    def version(self) -> str:
        """Which version is served now."""
        return self.served.version

    def one(self, values: Sequence[object]) -> Score:
        """As `ServedModel.one`, by the version that is served now."""
        return self.served.one(values)

    def score(self, frame: pl.DataFrame) -> F64:
        """As `ServedModel.score`, by the version that is served now."""
        return self.served.score(frame)

    @property
    def moved(self) -> bool:
        """Whether another version has become current since one was last loaded, or tried."""
        return self._source()[1] != self._stamp

    def refresh(self) -> bool:
        """Serve the current version; whether it is another one than before.

        Raises:
            DataError, UsageError: it cannot be served. The one before goes on, and this one is not
                tried again until the pointer moves.
        """
        if not self.moved:
            return False
        with self._lock:
            if not self.moved:
                return False
            before = self.served.version
            self.served = self._load()
            return self.served.version != before

    def _load(self) -> ServedModel:
        # before it is read: what moves meanwhile is seen the next time
        level, self._stamp = self._source()
        self.looked_at = self._registry.current(self._model.name, level).number
        served = self._registry.open(
            self._model, level, version=self.looked_at, allow_pickle=self._allow_pickle
        )
        if self._check is not None:
            self._check(served)
        return served

    def _source(self) -> tuple[str, Stamp | None]:
        """The level whose current version is served, and its stamp."""
        stamp = self._registry.stamp(self._model.name, self._level)
        if stamp is None and self._instead is not None:
            return self._instead, self._registry.stamp(self._model.name, self._instead)
        return self._level, stamp
