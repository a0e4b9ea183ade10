"""A lease on a server ends by itself when its holder is silent; a holder that is alive renews it in
a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from headwater.errors import StoreError

LEASE: Final = 5.0
"""Seconds after which a lease ends that nobody renews."""


@contextmanager
def renewed(renew: Callable[[], object]) -> Iterator[None]:
    """Renew a lease often enough while the context lasts. One that cannot be renewed lapses; the
    next commit says why.
    """
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(LEASE / 3):
            with suppress(StoreError):
                renew()

    thread = threading.Thread(target=run, name="renew a lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
