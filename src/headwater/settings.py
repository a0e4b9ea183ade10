"""The only place that reads the environment."""

from __future__ import annotations

import os
from pathlib import Path

from headwater.errors import UsageError


def threads() -> int:
    """How many threads the kernels use: HEADWATER_THREADS, else every core."""
    given = os.environ.get("HEADWATER_THREADS", "")
    if not given:
        return os.cpu_count() or 1
    if not given.isdigit() or int(given) < 1:
        raise UsageError(f"HEADWATER_THREADS is {given!r}; give a whole number of at least 1")
    return int(given)


def home() -> Path:
    """Where headwater keeps what it makes: HEADWATER_HOME, else `.headwater` in the working folder."""
    return Path(os.environ.get("HEADWATER_HOME", ".headwater"))


def secret(name: str) -> str:
    """What the environment variable `name` says, for whoever connects; it goes into no message.

    Raises:
        UsageError: it is not set.
    """
    given = os.environ.get(name)
    if given is None:
        raise UsageError(f"the environment variable {name} is not set, and a definition says env({name!r}); set it before connecting")
    return given
