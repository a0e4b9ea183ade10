"""Tests that measure time need the machine to themselves: the workers of one run take turns."""

import contextlib
import fcntl


@contextlib.contextmanager
def turn(folder, *, alone):
    """Hold the machine: together with others that share it, or alone. Who waits to be alone goes
    before those that come later.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / "tests.queue").open("w") as queue,
        (folder / "tests.machine").open("w") as machine,
    ):
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(queue, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(machine, fcntl.LOCK_UN)  # also for processes that were forked meanwhile
