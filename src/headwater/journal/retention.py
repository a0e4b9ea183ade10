"""How long posted outcomes are kept, by a thread of the process that serves."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from polars.exceptions import PolarsError

from headwater import clock
from headwater.definitions.durations import Duration, micros
from headwater.ingestion.archive_files import expire_files
from headwater.journal.outcome_journal import JOURNAL, OUTCOMES, rolled

_LOG = logging.getLogger(__name__)
_EVERY: Final = 3600.0  # seconds
_WAIT: Final = 30.0  # seconds for another process's commit


def expire_outcomes(folder: str | Path, keep: Duration, now: int) -> int:
    """Remove outcomes that were posted more than `keep` before `now`: whole days of files, and rows of the journals; how many of both.

    Args:
        folder: they stand in its subfolder `outcomes`.
        keep: how long they are kept.
        now: microseconds.

    Raises:
        DefinitionError: not a duration.
    """
    limit = now - micros(keep, "outcomes: keep")
    gone = 0
    for path in (Path(folder) / OUTCOMES).glob(f"*/{JOURNAL}"):
        gone += expire_files(rolled(path.parent), clock.timestamp(limit).date())
        with closing(sqlite3.connect(path, timeout=_WAIT)) as journal, journal:
            gone += journal.execute("DELETE FROM outcomes WHERE at < ?", (limit,)).rowcount
    return gone


@contextmanager
def outcomes_kept(folder: Path, keep: Duration | None, every: float = _EVERY) -> Iterator[None]:
    """Expire outcomes now and every so many seconds, in a thread, while the context lasts; None keeps all."""
    if keep is None:
        yield
        return
    micros(keep, "outcomes: keep")
    with repeated("outcomes", lambda: expire_outcomes(folder, keep, clock.now_micros()), (OSError, sqlite3.Error, PolarsError), every):
        yield


@contextmanager
def repeated(what: str, expire: Callable[[], object], errors: tuple[type[Exception], ...], every: float = _EVERY) -> Iterator[None]:
    """Call `expire` now and every so many seconds, in a thread, while the context lasts; an error of these is logged, and it goes on."""
    stop = threading.Event()

    def run() -> None:
        while True:
            try:
                expire()
            except errors as error:
                _LOG.warning("old %s cannot be removed: %s; the next attempt is in an hour", what, error)
            if stop.wait(every):
                return

    thread = threading.Thread(target=run, name=f"{what} kept", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
