"""Waiting for a lease that another process holds, to go on in its place when that ends."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Final

from headwater import clock
from headwater.stores import HeldError

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
