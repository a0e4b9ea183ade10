"""How long posted outcomes are kept, by a thread of the process that serves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from headwater import clock
from headwater.definitions.checks import Duration, micros
from headwater.journal import format as records
from headwater.journal.journal_files import close_abandoned, expire, journal_files

_LOG = logging.getLogger(__name__)
_EVERY: Final = 3600.0  # seconds


def expire_outcomes(folder: str | Path, keep: Duration, now: int) -> int:
    """Remove the files whose outcomes were all posted more than `keep` before `now`; how many.

    Args:
        folder: outcomes stand in its subfolder `outcomes`.
        keep: how long they are kept.
        now: microseconds.

    Raises:
        DefinitionError: not a duration.
    """
    limit = now - micros(keep, "outcomes: keep")
    close_abandoned(journal_files(Path(folder), records.OUTCOMES))
    return expire(journal_files(Path(folder), records.OUTCOMES), limit)


@contextmanager
def outcomes_kept(folder: Path, keep: Duration | None, every: float = _EVERY) -> Iterator[None]:
    """Expire outcomes now and every so many seconds, in a thread, while the context lasts; None
    keeps all.
    """
    if keep is None:
        yield
        return
    micros(keep, "outcomes: keep")
    with repeated(
        "outcomes", lambda: expire_outcomes(folder, keep, clock.now_micros()), (OSError,), every
    ):
        yield


@contextmanager
def repeated(
    subject: str,
    expire: Callable[[], object],
    errors: tuple[type[Exception], ...],
    every: float = _EVERY,
) -> Iterator[None]:
    """Call `expire` now and every so many seconds, in a thread, while the context lasts; an error
    of these is logged, and it goes on.
    """
    stop = threading.Event()

    def run() -> None:
        while True:
            try:
                expire()
            except errors as error:
                _LOG.warning(
                    "old %s cannot be removed: %s; the next attempt is in an hour", subject, error
                )
            if clock.wait(every, stop):
                return

    thread = threading.Thread(target=run, name=f"{subject} kept", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
