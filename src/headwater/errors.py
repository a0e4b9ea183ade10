"""Every error that headwater raises on purpose.

    HeadwaterError
    ├── DefinitionError     a definition is wrong; raised where it is written
    │   └── LeakError       it would let the future into training data
    ├── DataError           the data do not fit the definition
    │   ├── RetentionError  a stream no longer has the records to read next
    │   ├── RecreatedError  a topic was deleted and created again under its name
    │   └── OtherDefinitionsError  a fitted model was trained with other definitions than these
    ├── ConnectError        a broker, registry or service does not respond, or refuses
    ├── ClockError          the wall clock cannot be right, so nothing is committed
    ├── AccessError         a token is unknown, or lacks a scope
    ├── BusyError           a queue is full, or ingestion is stopping; the request may be sent again
    ├── StoreError          an online store cannot be read or written as it is
    │   ├── StaleError      a value is older than its freshness, and its view has on_stale="refuse"
    │   │   └── IncompleteError  a view's records lack events, and it has on_incomplete="refuse"
    │   ├── NoStoreError    no online store at that address yet
    │   ├── RebuiltError    the records of a view were made again since it was opened
    │   └── FencedError     another process has taken over the writes of this one
    │       └── LostError   a server has lost writes of this process
    ├── ModelError          a fitted model is missing, or incompatible with the definitions
    ├── UsageError          a call's arguments do not fit together
    ├── CatalogError        the catalog cannot be read or written
    └── MissingExtraError   an optional library is not installed

A message has the invalid value, the allowed values, and the remedy; `nearest`
suggests the closest known name to a misspelt one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Final


class HeadwaterError(Exception):
    """The root of every error that headwater raises on purpose.

    Remedy: read its message; `except HeadwaterError` catches all of them.

    request_id: of the failed request, if a service returned the error; the service's log has a line
    with this id.
    """

    request_id: str | None = None


class DefinitionError(HeadwaterError):
    """A definition is wrong.

    Remedy: correct the definition at the file and line in the message.
    """


class LeakError(DefinitionError):
    """A definition would leak the future into training data.

    Remedy: declare when each row was known, with `known_at_field=`, `known_after=` or a second
    source with its own `select=`.
    """


class DataError(HeadwaterError):
    """The data do not fit the definition.

    Remedy: correct the table, or what the definition expects of it: a column, a type, a time zone.
    """


class StoreError(HeadwaterError):
    """An online store cannot be read or written as it is.

    Remedy: check that the store runs, is reachable and has space; `headwater doctor` tries each.
    """


class StaleError(StoreError):
    """A value is older than its freshness, and its view has on_stale="refuse".

    Remedy: run the job or the ingestion that keeps the view fresh, or serve the previous value with
    `on_stale="previous"`.
    """


class IncompleteError(StaleError):
    """The records of a view lack events that were received, and the view has
    on_incomplete="refuse".

    Remedy: let `headwater ingest` rebuild the view, or serve the values that there are with
    `on_incomplete="value"`.
    """


class NoStoreError(StoreError):
    """No online store at that address yet, and reading makes none.

    Remedy: check the address; `headwater ingest` and `headwater materialize` create a store.
    """


class RebuiltError(StoreError):
    """The records of a view were made again since a reader opened it; open it again.

    Remedy: open the reader again; a service does so by itself.
    """


class FencedError(StoreError):
    """Another process has taken over the writes of this one; nothing was written.

    Remedy: let one process write; stop the other, or this one.
    """


class LostError(FencedError):
    """A server of an online store was replaced by one without this process's writes; nothing more
    was written.

    Remedy: rebuild the views as the message says; archive and history still have the events.
    """


class RetentionError(DataError):
    """A stream no longer has the records to read next: they are older than its retention.

    Remedy: rebuild the view from its archive or history, or continue with `--accept-loss`, which
    counts the lost records.

    stream: its name in messages. partition: of the stream. wanted: the offset to read next. first:
    the first offset available;
    position: the same as the stream's reader writes it. lost: how many records are gone at most, or
    1 where that is not known.
    why: in place of what the offsets show.
    """

    def __init__(
        self,
        stream: str,
        partition: str,
        *,
        wanted: int,
        first: int,
        position: bytes,
        lost: int,
        why: str = "",
    ) -> None:
        self.stream, self.partition, self.wanted, self.first, self.position, self.lost = (
            stream,
            partition,
            wanted,
            first,
            position,
            lost,
        )
        offsets = (
            f"offset {wanted} is to be read next, and the first one still there is {first}: up to "
            f"{lost:,} records were deleted before they"
        )
        super().__init__(
            f"{stream}, partition {partition}: {why or f'{offsets} were read'}. "
            "Rebuild the view from its archive or history, or go on without them with --accept-loss"
        )


class RecreatedError(DataError):
    """A topic was deleted and created again under its name, so offsets of the old one are invalid
    in the new one.

    Remedy: continue with `--accept-loss`, or give the source another name.

    stream: its name in messages. origins: by partition, the origin of offsets in the new topic,
    from its first record on.
    """

    def __init__(self, stream: str, origins: Mapping[str, str], *, was: str, now: str) -> None:
        self.stream, self.origins = stream, origins
        super().__init__(
            f"{stream}: the topic was deleted and created again under its name: its id was {was} "
            f"and is {now}. The stored offsets of partition {', '.join(sorted(origins))} are of "
            "the deleted topic; its unread records are lost. Read the new topic from its "
            "beginning with --accept-loss, or give the source another name to begin a new stream"
        )


class OtherDefinitionsError(DataError):
    """A fitted model was trained with other definitions than these, and cannot be served with them.

    Remedy: train it again, promote a version that fits, or use the definitions that it was trained
    with; a service that was started before they were changed has to be restarted.

    difference: in words, without whose it is and what to do.
    """

    def __init__(self, subject: str, difference: str, remedy: str) -> None:
        self.difference = difference
        super().__init__(f"{subject}: {difference}. {remedy}")


class ConnectError(HeadwaterError):
    """A broker, a registry or a service does not respond, or refuses.

    Remedy: check address, network and credentials, then run the command again.
    """


class ClockError(HeadwaterError):
    """The wall clock cannot be right, so nothing is committed.

    Remedy: correct the clock of the machine; `headwater store rewind` where a store is ahead
    already.
    """


class AccessError(HeadwaterError):
    """A token is unknown, or lacks a scope.

    Remedy: pass a token with the scope in the message; `headwater token new --scope SCOPE` creates
    one.
    """


class BusyError(HeadwaterError):
    """A queue is full, or ingestion is stopping; the request may be sent again.

    Remedy: send the same request again after the time in `Retry-After`.
    """


class ModelError(HeadwaterError):
    """A fitted model is missing, or incompatible with the definitions.

    Remedy: train a version for these definitions, `headwater train`, or promote another one.
    """


class UsageError(HeadwaterError):
    """The arguments of a call do not fit together.

    Remedy: correct the argument in the message; `headwater help COMMAND` lists them.
    """


class CatalogError(HeadwaterError):
    """The catalog cannot be read or written.

    Remedy: check the path or URL of the catalog and its rights; `headwater plan` reads it.
    """


class MissingExtraError(HeadwaterError):
    """An optional library is not installed.

    Remedy: install the extra in the message, or the library where no extra has it.
    """

    def __init__(self, library: str, extra: str | None) -> None:
        package = library if extra is None else f"'headwater[{extra}]'"
        super().__init__(f"{library} is not installed; install it with: pip install {package}")


# characters; the comparison of a longer one with the known names would take minutes
_LONGEST_NAME: Final = 200


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion: the known name closest to `name`, or the known names.

    >>> nearest("amuont", ["amount", "user"])
    "did you mean 'amount'?"
    >>> nearest("x", ["amount", "user"])
    'known: amount, user'
    """
    names = sorted(set(known))
    close = (
        difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        if len(name) <= _LONGEST_NAME
        else []
    )
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"known: {shown}" if names else "there are none yet"


def given(value: object) -> str:
    """A value in the words of an error: what it is, in one short line.

    >>> given("daily"), given([1, nearest]), given(int)
    ("'daily'", '[1, the function nearest, which is not called]', 'the class int, not an instance')
    """
    if isinstance(value, type):
        called = getattr(value, "_called", None)
        return (
            f"the class {called}, which is not called"
            if called
            else f"the class {value.__name__}, not an instance"
        )
    if callable(value) and hasattr(value, "__code__"):
        return f"the function {getattr(value, '__name__', 'of no name')}, which is not called"
    if isinstance(value, list | tuple):
        shown = ", ".join(given(part) for part in value[:3]) + (", ..." if len(value) > 3 else "")
        return f"[{shown}]" if isinstance(value, list) else f"({shown})"
    if hasattr(value, "__arrow_c_stream__") or type(value).__name__ == "LazyFrame":
        return f"a {type(value).__name__}"
    text = repr(value)
    if len(text) <= _LONGEST_VALUE and "\n" not in text:
        return text
    name = getattr(value, "name", None)
    return (
        f"{type(value).__name__}({name!r})"
        if isinstance(name, str)
        else f"{text[:_LONGEST_VALUE]}...".replace("\n", " ")
    )


_LONGEST_VALUE: Final = 100  # characters of a value in a message


def listed(names: Iterable[str], most: int = 4) -> str:
    """The first names, and the number of further ones."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


# the body of a response
_PAGE: Final = re.compile(r":?\s*<(\?xml|!doctype|html|error)\b.*", re.IGNORECASE | re.DOTALL)
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
# polars adds the path it read first
_DETAILS: Final = re.compile(
    r" \(path: \S+?\)(?=$|;)|; note: if you are using Python,.*"
    r"|\s*The current offset in the file is \d+ bytes\.\s*",
    re.MULTILINE,
)


_HINTS: Final = re.compile(  # of polars, about arguments that no function here takes
    r"[,;.]? *(hint: (pass|specify) .*|hint: try .*|You might want to try:.*"
    r"|Hint: passing a schema .*)",
    re.DOTALL | re.IGNORECASE,
)
_REMEDIES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), remedy)
    for pattern, remedy in (
        (r"utf-?8", "Write the file again in UTF-8, such as iconv -f latin1 -t utf8 FILE"),
        (
            r"data type mismatch for column",
            "The files of a table hold a column with one type; write them again with it",
        ),
        (
            r"could not parse `.*` as (dtype )?`?\w+",
            (
                "The first 10,000 lines decide what a column holds, or types= does. Give the "
                "column's type, as hw.csv(path, types={'amount': float}), or words for null, as "
                "null_values=['NULL']; or leave the field empty for a missing value"
            ),
        ),
        (
            r"cannot parse '.*' \(\w+\) as",
            (
                "The first 10,000 lines decide what a column holds: begin with a line that has a "
                "value of every column, or write the table as parquet"
            ),
        ),
    )
)


def read_error(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """The message of a library about a table that cannot be read, without the plan, response
    bodies, URL queries and secrets.

    >>> read_error(
    ...     OSError(
    ...         "Error performing GET http://s3/b/k?X-Amz-Signature=12: 403 Forbidden: "
    ...         "<?xml?><Error><Code>AccessDenied</Code>"
    ...     )
    ... )
    'Error performing GET http://s3/b/k: 403 Forbidden (AccessDenied)'
    """
    text = str(error)
    code = _CODE.search(text)
    first, _, cause = text.partition("\n\nCaused by:")
    first = _PAGE.sub(
        "", first.partition("\n\nResolved plan")[0].partition("\n\nDebug source")[0]
    ).strip()
    first = re.sub(r"(://[^\s?]+)\?[^\s:]*", r"\1", _DETAILS.sub("", first)).removeprefix(
        "object-store error: "
    )
    reason = cause.strip().splitlines()[-1:] if cause else []
    message = (
        first
        + (f" ({code[1]})" if code else "")
        + "".join(f": {re.sub(r'^[0-9]+: ', '', line.strip())}" for line in reason)
    )
    for secret in secrets:
        if len(secret) > _SHORT:
            message = message.replace(secret, "...")
    remedy = next((remedy for pattern, remedy in _REMEDIES if pattern.search(message)), None)
    message = _HINTS.sub("", message).rstrip(" .,")
    return message if remedy is None else f"{message}. {remedy}"


# characters; a shorter string is not treated as a secret, since any word may contain it
_SHORT: Final = 3


class HeadwaterWarning(UserWarning):
    """Something that is allowed and probably not meant.

    Remedy: read its message; nothing has to be done.
    """


class RowsLeftOutWarning(HeadwaterWarning):
    """Rows of a source or of labels that nothing can be computed of, such as those without a time.

    Remedy: look at `left_out`; repair the rows, or filter them out in the source.

    left_out: by reason, how many rows; all of the reasons, duplicates too, which are no cause for a
    warning.
    """

    def __init__(self, message: str, left_out: Mapping[str, int]) -> None:
        super().__init__(message)
        self.left_out = dict(left_out)


class StaleWarning(HeadwaterWarning):
    """Values of the online store that are older than their views promise.

    Remedy: run the job or the ingestion of the view; `headwater status` shows the state of all.

    ages: by view, how old its values are, in seconds.
    """

    def __init__(self, message: str, ages: Mapping[str, float]) -> None:
        super().__init__(message)
        self.ages = dict(ages)


class NoEventsWarning(HeadwaterWarning):
    """Rows before whose times no event of a source is known.

    Remedy: check the times of the rows against those of the history, and their time zone.
    """
