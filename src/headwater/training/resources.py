"""What a call may use: threads, memory, a cache of features, and how it shows its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from headwater.definitions.checks import Size, Spelled, in_bytes
from headwater.definitions.definition import Readable
from headwater.engine.query import Engine
from headwater.errors import UsageError
from headwater.training.feature_cache import Cache
from headwater.training.progress import OnProgress, counter, shown


@dataclass(frozen=True)
class Resources(Readable, metaclass=Spelled):
    """What a call may use. Results do not depend on any of it.

    Args:
        threads: how many to use; every core where None.
        memory: what the process may hold while features are computed, such as "4GB": where the
            history does not fit next to the rows, it is processed in buckets of keys on disk, under
            headwater's home. A run that was stopped goes on where it was. None: no limit. An
            estimator takes what it takes.
        cache: a `Cache` whose features are read back where nothing that they are made of has
            changed; True is headwater's own (HEADWATER_HOME), False none. None is what the call
            does usually: `dataset` has headwater's own, all others none.
        engine: what reads and computes, by name or as an object; that of the settings where None.
        progress: None shows a bar in a terminal and in a notebook; True also lines elsewhere; False
            nothing. Or a function of task, done and total, which is 0 where it is not known: one
            thread at a time calls it, and its first error is a warning and ends the calls.

    >>> Resources(threads=2, memory="4GB")
    Resources(2, memory='4GB')
    """

    threads: int | None = None
    memory: Size | None = None
    cache: bool | Cache | None = None
    progress: bool | OnProgress | None = None
    engine: Engine | str | None = None

    def __post_init__(self) -> None:
        threads, progress = self.threads, self.progress
        if threads is not None and (
            not isinstance(threads, int) or isinstance(threads, bool) or threads < 1
        ):
            raise UsageError(
                f"threads is {threads!r}; give an integer of at least 1, or None for every core"
            )
        if not (progress is None or isinstance(progress, bool) or callable(progress)):
            raise UsageError(
                f"progress is {progress!r}; give True, False, or a function of task, steps done "
                "and total"
            )
        if not (self.cache is None or isinstance(self.cache, bool | Cache)):
            raise UsageError(f"cache is {self.cache!r}; give True, False, or a hw.operations.Cache")
        _ = self.bytes

    @property
    def bytes(self) -> int | None:
        """`memory` in bytes."""
        return None if self.memory is None else in_bytes(self.memory, "memory")

    @property
    def feature_cache(self) -> Cache | None:
        """The cache, if there is one."""
        return Cache.usual() if self.cache is True else self.cache or None

    @property
    def on_progress(self) -> OnProgress | None:
        """The progress function, if there is one."""
        return self.progress if callable(self.progress) else None

    def say(self, task: str, done: int, total: int) -> None:
        """Report progress."""
        if callable(self.progress):
            self.progress(task, done, total)

    def counter(self, task: str, total: int) -> Callable[[int], None]:
        """A function that threads call with how much more of a task they have done."""
        return counter(self.say, task, total)

    @contextmanager
    def shown(self, steps: Sequence[str] = ()) -> Iterator[Resources]:
        """The same resources with a progress function or none; the bar, if there is one, stands
        while the context lasts.
        """
        with shown(self.progress, steps) as on_progress:
            yield replace(self, progress=on_progress or False)


DEFAULT_RESOURCES = Resources()
"""Every core, no memory limit, no progress and the usual cache."""
QUIET = Resources(progress=False)
"""The same, without a progress bar."""
