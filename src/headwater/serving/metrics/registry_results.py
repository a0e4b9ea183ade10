"""Results that metrics show, read from the model registry, where `headwater watch` keeps the
latest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

from headwater import clock
from headwater.errors import HeadwaterError
from headwater.models.registry import ModelRegistry

R = TypeVar("R")

_EVERY: Final = 30.0  # seconds between two reads


class RegistryResults(Generic[R]):
    """The latest results of one kind, of served models; read again every half a minute.

    Args:
        folder: of fitted models; None where models are in memory, which have none.
        read: the results in a registry.
        served: whether a result is of a served model.
    """

    def __init__(
        self,
        folder: Path | None,
        read: Callable[[ModelRegistry], Iterable[R]],
        served: Callable[[R], bool],
    ) -> None:
        self._folder, self._read, self._served = folder, read, served
        self._read_at = -math.inf
        self._results: Sequence[R] = ()

    def latest(self) -> Sequence[R]:
        """The results; none while the registry cannot be read: metrics go on without it, `headwater
        watch` and `status` raise the error.
        """
        if self._folder is None or clock.stopwatch() - self._read_at < _EVERY:
            return self._results
        self._read_at = clock.stopwatch()
        try:
            self._results = [
                result for result in self._read(ModelRegistry(self._folder)) if self._served(result)
            ]
        except (HeadwaterError, OSError):
            self._results = ()
        return self._results
