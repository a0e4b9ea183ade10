"""Results that take longer than a page may: computed in one background thread, kept on disk, and
shown with their time.

    <data_dir>/console/NAME.json       {"at": microseconds, "value": ...}

A page never waits for a scan: it shows the last value, which a restart finds on disk, and the next
one is fetched by the live update.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar
from urllib.parse import quote

import msgspec

from headwater import clock, disk
from headwater.errors import HeadwaterError

T = TypeVar("T")
_WAIT: Final = 0.15  # seconds that a page waits for a first value
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary(Generic[T]):
    """A value and when it was computed, in microseconds.

    value: None while it is computed for the first time. error: why the last attempt failed.
    """

    value: T | None
    at: int | None
    error: str = ""


class _StoredSummary(msgspec.Struct):
    at: int
    value: msgspec.Raw


class Summaries:
    """Summaries by name. Safe to use from several threads.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     summaries = Summaries(Path(folder))
    ...     first = summaries.latest("numbers", int, lambda: 6 * 7, seconds=60)
    ...     summaries.close()
    >>> first.value
    42
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="summaries")
        self._lock = threading.Lock()
        self._summaries: dict[str, Summary[object]] = {}
        self._running: dict[str, Future[None]] = {}
        self._begun: set[str] = set()

    def latest(
        self, name: str, kind: type[T], compute: Callable[[], T], *, seconds: float
    ) -> Summary[T]:
        """The last value, computed again in the background where it is older than `seconds`.

        Args:
            name: of the summary; what depends on a view or a model has its name in it.
            kind: a type that msgspec reads, such as a struct or a `list[dict[str, float]]`.
            compute: may take long; a HeadwaterError becomes the summary's `error`.
            seconds: how old the value may become.
        """
        summary = self._last(name, kind)
        if summary.at is None or clock.now_micros() - summary.at > seconds * 1e6:
            running = self._start(name, compute)
            if summary.at is None:
                try:
                    running.result(_WAIT)
                except NotYet:
                    return Summary(None, None, summary.error)
                return self._summaries[name]  # type: ignore[return-value]  # of the name's kind
        return summary

    def of_files(
        self, name: str, files: Iterable[Path], kind: type[T], summarise: Callable[[Path], T]
    ) -> list[T]:
        """A summary of each file that never changes, such as one of the serving log: only new files
        are read. Call it in `compute`.
        """
        path = self._path(name)
        before = _read(path, dict[str, T]) or {}
        summaries: dict[str, T] = {}
        for file in files:
            stamp = file.stat()
            key = f"{file} {stamp.st_size} {stamp.st_mtime_ns}"
            summaries[key] = (
                msgspec.convert(before[key], kind) if key in before else summarise(file)
            )
        if summaries.keys() != before.keys():
            self._write(name, summaries)
        return list(summaries.values())

    def once(self, name: str, work: Callable[[], object]) -> None:
        """Do something in the background, the first time in this process that it is asked for, such
        as compiling what a page will need.
        """
        with self._lock:
            if name not in self._begun:
                self._begun.add(name)
                self._thread.submit(work)

    def close(self) -> None:
        """Start no more computations."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _last(self, name: str, kind: type[T]) -> Summary[T]:
        summary = self._summaries.get(name)
        if summary is None:
            stored = _read_stored(self._path(name), kind)
            summary = Summary(None, None) if stored is None else Summary(stored[1], stored[0])
            self._summaries[name] = summary
        return summary  # type: ignore[return-value]  # of the name's kind

    def _start(self, name: str, compute: Callable[[], object]) -> Future[None]:
        with self._lock:
            running = self._running.get(name)
            if running is None or running.done():
                running = self._running[name] = self._thread.submit(self._compute, name, compute)
            return running

    def _compute(self, name: str, compute: Callable[[], object]) -> None:
        at = clock.now_micros()
        try:
            value = compute()
        except HeadwaterError as error:
            before = self._summaries.get(name, Summary(None, None))
            self._summaries[name] = Summary(before.value, at, str(error))
            return
        except Exception:  # noqa: BLE001 (logged; the page shows the last value)
            _LOG.exception("the summary %r of the console could not be computed", name)
            before = self._summaries.get(name, Summary(None, None))
            self._summaries[name] = Summary(
                before.value, at, "it could not be computed; the log of the console has the reason"
            )
            return
        self._summaries[name] = Summary(value, at)
        self._write(name, {"at": at, "value": value})

    def _write(self, name: str, content: Mapping[str, object]) -> None:
        try:
            disk.own_folder(self._folder)
            disk.replace_file(self._path(name), msgspec.json.encode(content))
        except OSError as error:
            _LOG.warning(
                "%s cannot be written: %s; after a restart the console computes it again",
                self._path(name),
                error,
            )

    def _path(self, name: str) -> Path:
        safe = quote(name, safe="")
        return (
            self._folder
            / f"{safe if len(safe) < 100 else hashlib.sha256(name.encode()).hexdigest()}.json"
        )


def _read_stored(path: Path, kind: type[T]) -> tuple[int, T] | None:
    """The value of a summary on disk; None where there is none, or one of another version of
    headwater.
    """
    stored = _read(path, _StoredSummary)
    if stored is None:
        return None
    try:
        return stored.at, msgspec.json.decode(stored.value, type=kind)
    except msgspec.MsgspecError:
        return None


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None
