"""What every page is computed from: the project, its store, data directory, models and catalog."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar, cast

from headwater import clock, settings
from headwater.console.summaries import Summaries
from headwater.definitions.project import Project
from headwater.errors import HeadwaterError
from headwater.kept_runs.runs import Runs, runs
from headwater.models.registry import ModelRegistry
from headwater.results.stored_runs import StoredRuns
from headwater.stores import OnlineStore
from headwater.stores.keyspace import opened_for

T = TypeVar("T")
_MOST: Final = 1000  # results in memory
# seconds until a store that could not be opened is tried again; a server that is down takes long to
# say so
_AGAIN: Final = 10.0


@dataclass
class ConsoleContext:
    """The project that the console shows, and where its data are; handed whole to every page.

    Attributes:
        project: as loaded at the start.
        file: the project's file, for commands that a page shows.
        store: the online store's URL; None is that of the settings.
        data_dir: with the kept runs, the archive and the logs.
        models: the folder of fitted models; None is `models` in headwater's home.
        catalog: the catalog's URL; None is that of the settings.
        now: the clock, microseconds since 1970 UTC.
        summaries: results that take longer than a page may.
    """

    project: Project
    data_dir: Path
    file: str = "features.py"
    store: str | None = None
    models: str | Path | None = None
    catalog: str | None = None
    now: Callable[[], int] = clock.now_micros
    summaries: Summaries = field(init=False)

    def __post_init__(self) -> None:
        self.summaries = Summaries(self.data_dir / "console")
        self._results: dict[object, tuple[float, object]] = {}
        self._locks: dict[object, threading.Lock] = {}
        self._store_lock = threading.Lock()
        self._store_failed: tuple[float, HeadwaterError] | None = None

    @property
    def registry(self) -> ModelRegistry:
        """The versions of fitted models."""
        return ModelRegistry(self.models)

    @property
    def store_url(self) -> str:
        """The online store's URL."""
        return settings.store() if self.store is None else self.store

    @property
    def has_store(self) -> bool:
        """Whether the online store is there, as far as a look at the disk can say; one across the
        network is.
        """
        kind, _, location = self.store_url.partition(":")
        return kind != "lmdb" or Path(location.partition("?")[0]).exists()

    def runs(self) -> Runs:
        """The kept runs, the latest first; listed again every two seconds at most."""
        return self.cached("runs", 2.0, lambda: runs(self.data_dir))

    @property
    def stored_runs(self) -> StoredRuns:
        """The folder of the kept runs."""
        return StoredRuns(self.data_dir)

    @contextmanager
    def opened_store(self) -> Iterator[OnlineStore]:
        """The online store, to read; one page at a time. One that could not be opened is tried
        again after some seconds.

        Raises:
            HeadwaterError: there is none yet, or it cannot be opened, such as a StoreError.
        """
        with self._store_lock, ExitStack() as stack:
            if (
                self._store_failed is not None
                and clock.stopwatch() - self._store_failed[0] < _AGAIN
            ):
                raise self._store_failed[1]
            try:
                store = stack.enter_context(
                    opened_for(self.project.name, self.store, readonly=True)
                )
            except HeadwaterError as error:
                self._store_failed = clock.stopwatch(), error.with_traceback(None)
                raise
            self._store_failed = None
            yield store

    def cached(self, key: object, seconds: float, compute: Callable[[], T]) -> T:
        """A result that several pages share for a few seconds; concurrent requests compute it once.
        Anything slow is a summary instead.

        Args:
            key: of the result: hashable, with all that it depends on.
            seconds: how long it is kept.
            compute: takes at most a few milliseconds.
        """
        lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            cached = self._results.get(key)
            if cached is not None and clock.stopwatch() - cached[0] < seconds:
                return cast("T", cached[1])
            value = compute()
            if len(self._results) > _MOST:
                self._results.clear()
                self._locks.clear()
            self._results[key] = (clock.stopwatch(), value)
            return value

    def forget(self) -> None:
        """Drop shared results: an action has changed something."""
        self._results.clear()

    def close(self) -> None:
        """Start no more computations."""
        self.summaries.close()
