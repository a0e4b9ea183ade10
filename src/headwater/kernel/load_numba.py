"""Load numba's runtime before the first kernel: 0.16 s of Python in each process, which can overlap
with reading tables.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_LAST = "numba.np.arraymath"
"""The module that imports scipy.linalg; numba loads it with the first kernel."""


@contextmanager
def loading_numba() -> Iterator[None]:
    """Load numba in another thread, unless this process has done so; leaving the context waits for
    the end.

    >>> with loading_numba():
    ...     table = 1
    >>> "numba.np.arraymath" in sys.modules
    True
    """
    if _LAST in sys.modules:
        yield
        return
    thread = threading.Thread(target=_load, name="load numba")
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _load() -> None:
    """Load numba and the kernels of a sort; an error comes again when the caller calls a kernel."""
    with suppress(Exception):
        from numba.core.compiler_lock import global_compiler_lock

        with global_compiler_lock:  # a kernel that another thread calls waits for this
            _import_without_scipy()
    with suppress(Exception):
        import numpy as np

        from headwater.kernel.sorting import order_and_times

        ones = np.zeros(1, np.int64)
        order_and_times(ones, ones, 1, threads=1)


def _import_without_scipy() -> None:
    """Import the modules of numba that ask for a BLAS, without scipy.linalg, which takes longer
    than all of numba.

    numba only wants to know whether scipy is there, and headwater requires scipy. A kernel that
    uses linear algebra still imports it. Where numba is built otherwise, nothing is changed.
    """
    linalg: Any = importlib.import_module("numba.np.linalg")
    check = linalg.ensure_blas
    linalg.ensure_blas = lambda: None
    try:
        using: Any = importlib.import_module(_LAST)
        using.ensure_blas = check
    finally:
        linalg.ensure_blas = check
