"""Load numba's runtime before the first kernel: 0.16 s of Python in each process, which can overlap
with reading tables.

The compiled kernels on disk, which numba keeps next to the sources.

numba compiles a function again when its own file has changed, not when a function or a constant
that it uses from another file has. So all kernels are compiled again when any source of the package
has changed, as after `git pull`: stale ones would give wrong values silently.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
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


_STAMP = "kernels.stamp"


def drop_stale_kernels(package: Path) -> int:
    """Delete numba's index files of a package whose sources have changed since the last call;
    returns the number deleted.

    Where the folder cannot be written to, numba keeps its files elsewhere, and this changes
    nothing.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     source, index = (
    ...         Path(folder) / "a.py",
    ...         Path(folder) / "loops" / "__pycache__" / "a.f-1.py311.nbi",
    ...     )
    ...     index.parent.mkdir(parents=True)
    ...     _ = source.write_text("x = 1"), index.write_text("")
    ...     first = drop_stale_kernels(Path(folder))
    ...     _ = index.write_text("")
    ...     same = drop_stale_kernels(Path(folder))
    ...     _ = source.write_text("x = 20")
    ...     first, same, drop_stale_kernels(Path(folder))
    (1, 0, 1)
    """
    digest, indexes = hashlib.sha256(), list[str]()
    for folder, folders, names in os.walk(package):
        folders.sort()
        for name in sorted(names):
            path = f"{folder}/{name}"
            if name.endswith(".py"):
                status = os.stat(path)  # noqa: PTH116 (a Path each would take longer than the rest)
                digest.update(f"{path} {status.st_mtime_ns} {status.st_size}\n".encode())
            elif name.endswith(".nbi"):
                indexes.append(path)
    stamp = package / "__pycache__" / _STAMP
    with suppress(OSError):
        if stamp.is_file() and stamp.read_text(encoding="ascii") == digest.hexdigest():
            return 0
    dropped = 0
    for path in indexes:
        with suppress(OSError):
            Path(path).unlink()
            dropped += 1
    with suppress(OSError):
        # Python makes it only where it writes bytecode, as numba does for each folder of kernels
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(digest.hexdigest(), encoding="ascii")
    return dropped
