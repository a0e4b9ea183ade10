"""Disks that journals are written to, and that do not keep up: full ones, and ones that answer
nothing.
"""

import errno
import os
import threading
from contextlib import contextmanager


@contextmanager
def writing(instead):
    """While the context lasts, threads of journals call this in place of `os.write`, with the real
    one.
    """
    real = os.write

    def write(number, data):
        return (
            instead(real, number, data)
            if threading.current_thread().name == "journal"
            else real(number, data)
        )

    os.write = write
    try:
        yield
    finally:
        os.write = real


def _full(real, number, data):
    real(number, data[:5])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_disk():
    """Of each write, some bytes arrive, and then the disk is full."""
    return writing(_full)


@contextmanager
def stuck_disk():
    """Nothing is written before the context ends; an event of the first write that waits."""
    answers, waits = threading.Event(), threading.Event()

    def write(real, number, data):
        waits.set()
        answers.wait(60)
        return real(number, data)

    with writing(write):
        try:
            yield waits
        finally:
            answers.set()
