"""Every error that headwater raises on purpose.

    HeadwaterError
    ├── DefinitionError     a definition is wrong; raised where it is written
    │   └── LeakError       it would let the future into training data
    ├── DataError           the data do not fit the definition
    │   ├── RetentionError  a stream no longer has what would have to be read next
    │   └── RecreatedError  a topic was deleted and created again under its name
    ├── ConnectError        a broker, registry or service does not answer, or refuses
    ├── ClockError          the wall clock cannot be right, so nothing is committed
    ├── AccessError         a service knows no such token, or the token lacks a scope
    ├── BusyError           too much waits to be ingested, or ingestion is stopping; the same may be sent again
    ├── StoreError          an online store cannot be read or written as it is
    │   ├── StaleError      a value is older than promised, and its view refuses that
    │   │   └── IncompleteError  a view's records lack events, and the view refuses that
    │   ├── RebuiltError    a view was rebuilt with other column types since it was opened
    │   └── FencedError     another process has written what this one was about to
    │       └── LostError   a server has lost what this process had written
    ├── ModelError          no fitted model can be served, or it does not fit what is served
    ├── UsageError          a call's arguments do not fit together
    ├── CatalogError        the catalog cannot be read or written
    └── MissingExtraError   an optional library is not installed

A message says what was given, what is allowed and what to do; `nearest` adds
the closest known name to a misspelt one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Final


class HeadwaterError(Exception):
    """The root of every error that headwater raises on purpose.

    request_id: of the request that failed, where a service answered with the error; its log has a line of that id.
    """

    request_id: str | None = None


class DefinitionError(HeadwaterError):
    """A definition is wrong."""


class LeakError(DefinitionError):
    """A definition would let training data see what was not yet known."""


class DataError(HeadwaterError):
    """The data do not fit the definition."""


class StoreError(HeadwaterError):
    """An online store cannot be read or written as it is."""


class StaleError(StoreError):
    """A value is older than promised, and its view refuses that."""


class IncompleteError(StaleError):
    """The records of a view lack events that were received, and the view refuses that."""


class RebuiltError(StoreError):
    """The records of a view were rebuilt with other column types since a reader opened it; open it again."""


class FencedError(StoreError):
    """Another process has written what this one was about to; nothing was written."""


class LostError(FencedError):
    """A server of an online store was replaced by one that lacks what this process had written; nothing more was written."""


class RetentionError(DataError):
    """A stream no longer has the records that would have to be read next: they are older than what it keeps.

    stream: its name, as errors say it. partition: of the stream. wanted: the offset to read from. first: the first one still there.
    """

    def __init__(self, stream: str, partition: str, *, wanted: int, first: int) -> None:
        self.stream, self.partition, self.wanted, self.first = stream, partition, wanted, first
        super().__init__(
            f"{stream}, partition {partition}: offset {wanted} is to be read next, and the first one still there is {first}: up to {first - wanted:,} "
            "records were deleted before they were read. Rebuild the view from its archive or history, or go on without them with --accept-loss"
        )


class RecreatedError(DataError):
    """A topic was deleted and created again under its name, so offsets of the old one say nothing about the new one.

    stream: its name, as errors say it. origins: by partition, what offsets in the new topic count in, beginning with its first record.
    """

    def __init__(self, stream: str, origins: Mapping[str, str], *, was: str, now: str) -> None:
        self.stream, self.origins = stream, origins
        super().__init__(
            f"{stream}: the topic was deleted and created again under its name: its id was {was} and is {now}. The stored offsets of partition "
            f"{', '.join(sorted(origins))} count in the deleted topic; what it held and nobody had read is lost. "
            "Read the new topic from its beginning with --accept-loss, or give the source another name to begin a new stream"
        )


class ConnectError(HeadwaterError):
    """A broker, a registry or a service does not answer, or refuses."""


class ClockError(HeadwaterError):
    """The wall clock cannot be right, so nothing is committed."""


class AccessError(HeadwaterError):
    """A service knows no such token, or the token lacks a scope."""


class BusyError(HeadwaterError):
    """Too much waits to be ingested, or ingestion is stopping; the same may be sent again."""


class ModelError(HeadwaterError):
    """No fitted model can be served, or it does not fit what is served."""


class UsageError(HeadwaterError):
    """The arguments of a call do not fit together."""


class CatalogError(HeadwaterError):
    """The catalog cannot be read or written."""


class MissingExtraError(HeadwaterError):
    """An optional library is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed; install it with: pip install 'headwater[{extra}]'")


_LONGEST_NAME: Final = 200  # characters; the comparison of a longer one with the known names would take minutes


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that offers the known name closest to `name`, or lists what is known.

    >>> nearest("amuont", ["amount", "user"])
    "did you mean 'amount'?"
    >>> nearest("x", ["amount", "user"])
    'known: amount, user'
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6) if len(name) <= _LONGEST_NAME else []
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"known: {shown}" if names else "none is known"


def listed(names: Iterable[str], most: int = 4) -> str:
    """The first few of some names, and how many more there are."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


_PAGE: Final = re.compile(r":?\s*<(\?xml|!doctype|html|error)\b.*", re.IGNORECASE | re.DOTALL)  # the body of an answer
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_OTHER: Final = re.compile(
    r" \(path: \S+?\)(?=$|;)|; note: if you are using Python,.*", re.MULTILINE
)  # polars names whatever it read first


def read_error(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """What a library says of a table that cannot be read: without the plan, bodies of answers, queries of URLs and secrets.

    >>> read_error(OSError("Error performing GET http://s3/b/k?X-Amz-Signature=12: 403 Forbidden: <?xml?><Error><Code>AccessDenied</Code>"))
    'Error performing GET http://s3/b/k: 403 Forbidden (AccessDenied)'
    """
    text = str(error)
    code = _CODE.search(text)
    first, _, cause = text.partition("\n\nCaused by:")
    first = _PAGE.sub("", first.partition("\n\nResolved plan")[0]).strip()
    first = re.sub(r"(://[^\s?]+)\?[^\s:]*", r"\1", _OTHER.sub("", first)).removeprefix("object-store error: ")
    reason = cause.strip().splitlines()[-1:] if cause else []
    said = first + (f" ({code[1]})" if code else "") + "".join(f": {re.sub(r'^[0-9]+: ', '', line.strip())}" for line in reason)
    for secret in secrets:
        if len(secret) > _SHORT:
            said = said.replace(secret, "...")
    return said


_SHORT: Final = 3  # characters; what is shorter is no secret, and may be part of any word
