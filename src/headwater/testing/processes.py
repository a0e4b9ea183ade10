"""Functions in processes of their own, which can be killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from headwater import settings

PATIENCE = 30.0
"""Seconds that a process may take to say something."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "headwater.testing.stores",
        "headwater.testing.faults",
        "headwater.testing.examples",
        "headwater.serving.process.ingest_process",
        "headwater.jobs.materialize_model",
        "headwater.jobs.erase",
        "headwater.online.feature_reader",
        "sklearn.linear_model",
    ]
)  # nothing that computes with polars while it is imported: no fork has its threads


def _run(
    function: Callable[..., None], environment: Mapping[str, str], folder: Path, *args: object
) -> None:
    """As in a process that this one had started: the server that forks has the environment and the
    folder of its own start.
    """
    settings.use_environment(environment)
    os.chdir(folder)
    function(*args)


class Process:
    """`function(pipe, *args)`, which must be picklable, in a process of its own; it sends steps
    while it runs, and its result last.
    """

    def __init__(self, function: Callable[..., None], *args: object) -> None:
        self._pipe, theirs = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(
            target=_run,
            args=(function, settings.environment(), Path.cwd(), theirs, *args),
            daemon=True,
        )
        self._process.start()
        theirs.close()

    def wait(self) -> Any:  # noqa: ANN401, any value that the function sends
        """What it sends next."""
        assert self._pipe.poll(PATIENCE), "the other process says nothing"
        return self._pipe.recv()

    def answer(self) -> Any:  # noqa: ANN401
        """The last that it sends."""
        answer = self.wait()
        self._process.join(PATIENCE)
        assert self._process.exitcode == 0, f"the other process ended with {self._process.exitcode}"
        return answer

    def end(self) -> tuple[int | None, object]:
        """Wait until it has ended: its exit code, None where it has not, and the last that it
        sent.
        """
        self._process.join(4 * PATIENCE)
        code, said = self._process.exitcode, None
        if code is None:
            self._process.kill()
        with contextlib.suppress(EOFError):
            while self._pipe.poll(0):
                said = self._pipe.recv()
        return code, said

    def stop(self) -> None:
        """Have it stand still, until it is killed."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def kill(self) -> int:
        """End it, and the last number that it sent."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.join(PATIENCE)
        last = 0
        with contextlib.suppress(EOFError):
            while self._pipe.poll(0):
                last = self._pipe.recv()
        return last
