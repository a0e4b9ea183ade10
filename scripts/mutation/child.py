"""The laws in a process forked from one that has loaded the libraries; it tells how far it is."""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
import signal
import struct
import sys
import time
import traceback
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

HOOKS = Path(__file__).parent / "hooks"
LOADED = "ignore::pytest.PytestAssertRewriteWarning"  # the parent has loaded plugins
CLOCKS = struct.Struct("dddd")
"""Seconds that numba has compiled, of a processor and by the clock; and when it began, else 0."""


class Compiling:
    """Tells the parent how long numba compiles, which is no law's time."""

    def __init__(self, shared: mmap.mmap) -> None:
        self.shared, self.depth, self.total, self.begun = shared, 0, (0.0, 0.0), (0.0, 0.0)

    def notify(self, event) -> None:
        """Kernels compile the kernels that they call, so only the outermost counts."""
        if event.is_start and self.depth == 0:
            self.begun = time.process_time(), time.monotonic()
            self._write(self.begun)
        self.depth += 1 if event.is_start else -1
        if self.depth == 0:
            busy, clock = time.process_time() - self.begun[0], time.monotonic() - self.begun[1]
            self.total = self.total[0] + busy, self.total[1] + clock
            self._write((0.0, 0.0))

    def _write(self, begun: tuple[float, float]) -> None:
        self.shared[: CLOCKS.size] = CLOCKS.pack(*self.total, *begun)


class Progress:
    """A plugin of pytest: which test runs, how each ended, and in which order they go."""

    def __init__(
        self,
        path: Path,
        order: Mapping[str, int],
        without: Collection[str],
        trace: Path | None = None,
    ) -> None:
        self.path, self.order, self.without, self.trace = path, order, set(without), trace
        self.outcome, self.count, self.hook = "passed", 0, None

    def pytest_collection_finish(self, session) -> None:
        kept = [item for item in session.items if item.nodeid not in self.without]
        last = len(self.order)
        session.items[:] = sorted(kept, key=lambda item: self.order.get(item.nodeid, last))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.outcome = "passed"
        self.begun = sum(os.times()[:4]), time.monotonic()
        if self.trace is not None:
            os.environ["LAWS_TEST"] = f"{os.getpid()}.{self.count}"
            self.hook.SEEN.clear()
        self._write({"begins": nodeid})

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed:
            self.outcome = "failed"

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        busy, clock = sum(os.times()[:4]) - self.begun[0], time.monotonic() - self.begun[1]
        record = {"test": nodeid, "outcome": self.outcome, "busy": busy, "clock": clock}
        if self.trace is not None:
            record["trace"] = os.environ["LAWS_TEST"]
            self.count += 1
        self._write(record)

    def _write(self, record: dict) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def start(
    tree: Path,
    arguments: Sequence[str],
    progress: Progress,
    shared: mmap.mmap,
    also: Mapping[str, str],
) -> int:
    """Fork a process that runs pytest in the copy; its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.setsid()
        with (progress.path.parent / "output.txt").open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        code = _run(tree, arguments, progress, shared, also)
    except BaseException:  # noqa: BLE001 (nothing of the parent's may go on here)
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run(tree, arguments, progress, shared, also) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(tree)
    os.environ.update(also)
    # bytecode of a mutant would fit another one of the same size
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in also
    folders = [str(tree), str(tree / "src")]
    checkout = Path(__file__).resolve().parents[2]
    others = [name for name in sys.path if name and Path(name).resolve() != checkout]
    sys.path[:] = folders + others
    hooks = [str(HOOKS)] if progress.trace else []
    os.environ["PYTHONPATH"] = os.pathsep.join([*hooks, *folders])
    if "numba" in sys.modules:
        import numba
        from numba.core import event

        numba.config.CACHE_DIR = also.get("NUMBA_CACHE_DIR", "")
        event.Listener.register(Compiling)
        event.register("numba:compile", Compiling(shared))
    import pytest

    options = ["-q", "--no-header", "-p", "no:cacheprovider", "-W", LOADED, *arguments]
    if progress.trace is None:
        options.append("-x")
    else:
        spec = importlib.util.spec_from_file_location("laws_trace", HOOKS / "sitecustomize.py")
        progress.hook = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(progress.hook)
    return int(pytest.main(options, [progress]))
