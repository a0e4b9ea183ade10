"""Which services take models from a registry, and the versions that they answer with: a file for
each process, next to the models.

    <folder>/running-services/<host>-<pid>-<port>.json      what the process serves; replaced
                                                            atomically
    <folder>/running-services/<host>-<pid>-<port>.lock      locked for as long as the process lives

Any process that finds files whose lock is free removes them. A service that cannot write to the
registry is not listed.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from headwater import clock, disk
from headwater.models.registry import RUNNING_SERVICES, Version

_POLL = 0.05  # seconds


class LoadedVersion(msgspec.Struct, frozen=True):
    """A model at a level in a service.

    version: answers requests. promoted: the number of the version that was current when the service
    last looked. refused: why that one does not answer, and what to do; "" where it does.
    """

    model: str
    level: str
    version: str
    promoted: int
    refused: str = ""


class ServingProcess(msgspec.Struct, frozen=True):
    """A process of a service, and the models that it has loaded."""

    project: str
    url: str
    host: str
    pid: int
    loaded: list[LoadedVersion]

    def loaded_version(self, model: str, level: str) -> LoadedVersion | None:
        """A model at a level; None where it is not loaded."""
        return next(
            (loaded for loaded in self.loaded if (loaded.model, loaded.level) == (model, level)),
            None,
        )


class ServiceRecord:
    """The record of this process.

    Args:
        registry: the folder of models that it serves from.
        project: whose models.
        url: where it answers.
    """

    def __init__(self, registry: Path, project: str, url: str) -> None:
        self._registry, self._project, self._url = registry, project, url
        self._host = socket.gethostname()
        self._path = (
            registry
            / RUNNING_SERVICES
            / f"{self._host}-{os.getpid()}-{url.rpartition(':')[2]}.json"
        )
        self._lock: IO[Any] | None = None
        self._written: ServingProcess | None = None

    def write(self, loaded: Sequence[LoadedVersion]) -> None:
        """Write the loaded versions, if they changed; nothing where the registry does not exist, or
        may not be written.
        """
        now = ServingProcess(self._project, self._url, self._host, os.getpid(), list(loaded))
        if now == self._written or not self._registry.is_dir():
            return
        with suppress(OSError):
            if self._lock is None:
                disk.make_folder(self._path.parent)
                disk.share_like(self._path.parent, self._registry, below=False)
                lock = disk.open_private(self._path.with_suffix(".lock"), "wb")
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                disk.share_like(self._path.with_suffix(".lock"), self._registry)
                self._lock = lock
            disk.replace_file(self._path, msgspec.json.encode(now), self._registry)
            self._written = now

    def close(self) -> None:
        """Remove the record."""
        if self._lock is not None:
            _remove(self._path)
            self._lock.close()


def running_services(registry: Path) -> list[ServingProcess]:
    """The processes that serve models from a registry now, by address."""
    processes = [
        process for path in (registry / RUNNING_SERVICES).glob("*.json") for process in _read(path)
    ]
    return sorted(processes, key=lambda process: (process.url, process.pid))


def followed(
    registry: Path, project: str, current: Version, *, wait: float
) -> list[ServingProcess]:
    """The processes that have loaded a model and level, once each has looked at its current
    version, or the wait in seconds is over.
    """
    until = clock.stopwatch() + wait
    while True:
        in_project = [
            process for process in running_services(registry) if process.project == project
        ]
        processes = [
            process
            for process in in_project
            if process.loaded_version(current.model, current.level)
        ]
        behind = [
            process
            for process in processes
            if (loaded := process.loaded_version(current.model, current.level))
            and loaded.promoted != current.number
        ]
        if not behind or clock.stopwatch() > until:
            return processes
        clock.wait(_POLL)


def _read(path: Path) -> Iterator[ServingProcess]:
    """The record in a file; nothing where its process has ended, whose files are then removed."""
    try:
        with path.with_suffix(".lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                yield msgspec.json.decode(path.read_bytes(), type=ServingProcess)
                return
        _remove(path)
    except (OSError, msgspec.MsgspecError):  # it ends just now, or is another user's
        return


def _remove(path: Path) -> None:
    for file in (path, path.with_suffix(".lock")):
        with suppress(OSError):
            file.unlink(missing_ok=True)
