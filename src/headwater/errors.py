"""Every error that headwater raises on purpose.

    HeadwaterError
    ├── DefinitionError     a definition is wrong; raised where it is written
    │   └── LeakError       it would let the future into training data
    ├── DataError           the data do not fit the definition
    ├── StoreError          an online store cannot be read or written as it is
    │   └── FencedError     another process has written what this one was about to
    │       └── LostError   a server has lost what this process had written
    ├── UsageError          a call's arguments do not fit together
    └── MissingExtraError   an optional library is not installed

A message says what was given, what is allowed and what to do; `nearest` adds
the closest known name to a misspelt one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HeadwaterError(Exception):
    """The root of every error that headwater raises on purpose."""


class DefinitionError(HeadwaterError):
    """A definition is wrong."""


class LeakError(DefinitionError):
    """A definition would let training data see what was not yet known."""


class DataError(HeadwaterError):
    """The data do not fit the definition."""


class StoreError(HeadwaterError):
    """An online store cannot be read or written as it is."""


class FencedError(StoreError):
    """Another process has written what this one was about to; nothing was written."""


class LostError(FencedError):
    """A server of an online store was replaced by one that lacks what this process had written; nothing more was written."""


class UsageError(HeadwaterError):
    """The arguments of a call do not fit together."""


class MissingExtraError(HeadwaterError):
    """An optional library is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed; install it with: pip install 'headwater[{extra}]'")


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that offers the known name closest to `name`, or lists what is known.

    >>> nearest("amuont", ["amount", "user"])
    "did you mean 'amount'?"
    >>> nearest("x", ["amount", "user"])
    'known: amount, user'
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"known: {shown}" if names else "none is known"
