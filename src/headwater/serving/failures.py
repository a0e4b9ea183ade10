"""Errors as answers: what their sender can mend is said with a status, all else is only named."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Final

import msgspec

from headwater.errors import (
    BusyError,
    ConnectError,
    DataError,
    DefinitionError,
    MissingExtraError,
    ModelError,
    StoreError,
    UsageError,
    nearest,
)
from headwater.serving.access import Denied
from headwater.serving.http import Refused

_UNKNOWN: Final = re.compile(r"unknown field `([^`]*)`")


def told(error: Exception) -> tuple[int, str, list[tuple[bytes, bytes]]]:
    """The status of an error, what to say of it, and headers beside."""
    match error:
        case Denied():
            return error.status, str(error), [(b"www-authenticate", b"Bearer")] if error.status == 401 else []
        case Refused():
            more = [] if error.again is None else [(b"retry-after", b"%d" % error.again)]
            return error.status, str(error), more + ([] if error.allow is None else [(b"allow", error.allow.encode())])
        case msgspec.ValidationError():
            return 422, _unknown(str(error)), []
        case msgspec.DecodeError() | RecursionError() | UnicodeDecodeError():
            return 400, f"the body is no JSON: {error}", []
        case BusyError():
            return 503, str(error), [(b"retry-after", b"1")]
        case StoreError() | ConnectError() | ModelError():
            return 503, str(error), [(b"retry-after", b"5")]
        case DataError() | UsageError():
            return 422, str(error), []
        case DefinitionError() | MissingExtraError():
            return 501, str(error), []
        case _:
            return 500, "", []


def _unknown(message: str) -> str:
    """A message of msgspec, with the nearest field where one is unknown."""
    found = _UNKNOWN.search(message)
    known = ("row", "rows", "columns", "level", "compact", "features", "timing", "candidates", "k")
    return f"{message}; {nearest(found[1], known)}" if found else message


def where(error: Exception) -> str:
    """The kind of an error and the place in the code; its message may hold values, and stays out of the log."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join([type(error).__name__, *(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-4:]))])
