"""Waiting for what another thread or process does."""

import time


def until(holds, what="", process=None, seconds=60, said=None):
    """Wait until a condition holds, and return its answer; fail where it does not in so many seconds,
    or where a process ends before.

    what: what is waited for, as the error names it.
    said: what the error adds, as a function; what the process has logged by default.
    """
    end = time.monotonic() + seconds
    while not (answer := holds()):
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > end:
            log = said or getattr(getattr(process, "log", None), "read_text", str)
            happened = (
                f"the process ended with {process.returncode}" if ended else f"{seconds} s went by"
            )
            raise AssertionError(f"{happened} before {what or holds.__name__}: {log()}")
        time.sleep(0.01)
    return answer
