"""Timestamps: tz-aware datetimes and ISO 8601 strings as microseconds UTC, and back."""

from __future__ import annotations

from datetime import datetime

from headwater import clock
from headwater.definitions.checks import refusal
from headwater.errors import UsageError

_FIRST_YEAR, _LAST_YEAR = 1000, 9000


def parse_timestamp(value: str | datetime, subject: str) -> int:
    """A timestamp as int64 microseconds UTC; a naive one is refused."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise refusal(
                value,
                subject,
                "a timestamp as ISO 8601, such as '2013-09-01T00:00-04:00'",
                UsageError,
            ) from error
    if not isinstance(value, datetime):
        raise refusal(value, subject, "an ISO 8601 text or a tz-aware datetime", UsageError)
    if value.tzinfo is None:
        raise UsageError(
            f"{subject} is {value.isoformat()}, which has no time zone; add its offset, such as "
            f'"{value.isoformat()}+00:00"'
        )
    # windows reach some way beyond, and Python's datetimes end at the years 1 and 9999
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise UsageError(
            f"{subject} is {value.isoformat()}; give a timestamp of the years {_FIRST_YEAR} to "
            f"{_LAST_YEAR}"
        )
    return clock.micros(value)


def timestamp_text(t: int) -> str:
    """Microseconds as ISO 8601 in UTC, to the second."""
    return clock.timestamp(t).isoformat(timespec="seconds")
