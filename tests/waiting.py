"""Waiting for what another thread or process does."""

import time


def until(holds, seconds=60):
    """Wait until a condition holds, and return its answer; fail where it does not in so many seconds."""
    for _ in range(100 * seconds):
        if answer := holds():
            return answer
        time.sleep(0.01)
    raise AssertionError(f"waited {seconds} s for {getattr(holds, '__name__', holds)}")
