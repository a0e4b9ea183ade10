"""How a command that stays is told to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopped(told: Callable[[], None] | None = None) -> Iterator[threading.Event]:
    """An event that is set by the first signal to end, after `told` was called; the second one ends the process at once."""
    stop = threading.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def heard(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        for one in signals:
            signal.signal(one, signal.SIG_DFL)
        if told is not None:
            told()

    before = {one: signal.signal(one, heard) for one in signals}
    try:
        yield stop
    finally:
        for one, old in before.items():
            signal.signal(one, old)
