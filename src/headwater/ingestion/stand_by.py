"""The lease of a source's writer, and waiting for a lease that another process holds, to go on in
its place when that ends.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Final

from headwater import clock
from headwater.definitions.source import Source, has_one_writer
from headwater.stores import HeldError, OnlineStore

_LOG = logging.getLogger(__name__)
_SLICE: Final = 1.0  # seconds of a wait, between two looks whether to stop

Lease = Callable[[float], AbstractContextManager[None]]
"""Holds a lease while its context lasts, after so many seconds of waiting at most; raises
HeldError.
"""


def stand_by(
    stack: ExitStack,
    lease: Lease,
    stop: threading.Event,
    *,
    limit: float | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> bool:
    """Hold a lease until `stack` is closed; that another process holds it is logged at once. False
    where it was stopped during the wait.

    Args:
        stack: the context of the lease.
        lease: what to hold.
        stop: ends the wait.
        limit: seconds to wait at most; None waits until it is stopped.
        meanwhile: called every second of the wait.

    Raises:
        HeldError: another process still holds it after the limit.
    """
    until, logged = clock.stopwatch() + (math.inf if limit is None else limit), False
    while not stop.is_set():
        left = until - clock.stopwatch()
        try:
            stack.enter_context(lease(max(0.0, min(left, _SLICE if logged else 0.0))))
        except HeldError as error:
            if left <= 0:
                raise
            if not logged:
                plan = (
                    "Standing by" if limit is None else f"Waiting up to {limit:g} s for it to end"
                )
                _LOG.warning("%s. %s, to go on in its place", str(error).partition("; ")[0], plan)
            logged = True
            meanwhile()
        else:
            return True
    return False


def writer_lease(store: OnlineStore, source: Source, wait: float) -> AbstractContextManager[None]:
    """Be the one process that writes a source, while the context lasts; nothing where every process
    may, or holds the store.

    The commits of a process that has lost it are refused: they expect what the store held when it
    wrote last. source: as the store names it.

    Raises:
        StoreError: another process still holds it after `wait` seconds.
    """
    multi_process = store.capabilities.multi_process
    if not multi_process or not has_one_writer(source, multi_process=multi_process):
        return nullcontext()
    return store.lease(f"writer of {source.name}", wait=wait)
