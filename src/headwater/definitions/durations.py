"""Durations as whole microseconds, and time zones."""

from __future__ import annotations

import difflib
import re
from datetime import timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from headwater.definitions.checks import check, refusal
from headwater.errors import DefinitionError

Duration = str | timedelta

_UNITS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
DAY = _UNITS["d"]
HOUR = _UNITS["h"]
SECOND = _UNITS["s"]


def micros(value: Duration, subject: str, *, positive: bool = False) -> int:
    """`value` in microseconds; `subject` names it in the error. positive: refuse a duration of
    nothing.

    >>> micros("15m", "a window")
    900000000
    """
    if isinstance(value, timedelta):
        number = round(value / timedelta(microseconds=1))
    else:
        match = (
            re.fullmatch(r"\s*(\d+)\s*(us|ms|s|m|h|d|w)\s*", value)
            if isinstance(value, str)
            else None
        )
        if match is None:
            raise refusal(
                value,
                subject,
                "an integer and a unit, such as '500ms', '10m', '1h' or '30d', or a timedelta",
            )
        number = int(match[1]) * _UNITS[match[2]]
    check(
        0 <= number <= 100 * 366 * DAY, value, subject, "a duration between nothing and 100 years"
    )
    check(number or not positive, value, subject, "a positive duration, such as '1h'")
    return number


def text(duration: int) -> str:
    """Microseconds in the largest unit that divides them (days at most).

    >>> text(3_600_000_000), text(5_400_000_000), text(604_800_000_000)
    ('1h', '90m', '7d')
    """
    if duration == 0:
        return "0s"
    unit = next(u for u in ("d", "h", "m", "s", "ms", "us") if duration % _UNITS[u] == 0)
    return f"{duration // _UNITS[unit]}{unit}"


def rounded(duration: int) -> str:
    """Microseconds as a person says them: in days from two days on, in hours from two hours on,
    else in minutes or seconds.

    >>> rounded(5_400_000_000), rounded(200_000_000_000), rounded(57_600_100_000)
    ('90m', '2d', '16h')
    """
    size = abs(duration)
    unit = next(unit for unit in ("d", "h", "m", "s") if size >= 2 * _UNITS[unit] or unit == "s")
    return f"{round(size / _UNITS[unit])}{unit}"


def check_timezone(name: str | None, subject: str) -> None:
    """Refuse a time zone that the IANA data base does not have."""
    if name is not None:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
            raise DefinitionError(
                f"{subject}: timezone {name!r} is not an IANA time zone; {_nearest_zone(str(name))}"
            ) from error


def _nearest_zone(name: str) -> str:
    """A sentence that offers the zone of a city, or of a name that is close.

    >>> _nearest_zone("berlin"), _nearest_zone("Europe/Olso"), _nearest_zone("CET+1 or so")
    ("did you mean 'Europe/Berlin'?", "did you mean 'Europe/Oslo'?", "give one such as 'America/New_York'")
    """  # noqa: E501 (output as it is printed)
    zones = sorted(
        zone for zone in available_timezones() if not zone.startswith(("posix/", "right/"))
    )
    cities = {zone.rpartition("/")[2].casefold(): zone for zone in reversed(zones)}
    folded_name = name.strip().replace(" ", "_").casefold()
    close = difflib.get_close_matches(
        folded_name, {zone.casefold(): zone for zone in zones}, n=1, cutoff=0.75
    )
    close = close or difflib.get_close_matches(folded_name, cities, n=1, cutoff=0.75)
    nearest_name = cities.get(folded_name) or next(
        (
            zone
            for zone in zones
            if close and close[0] in {zone.casefold(), zone.rpartition("/")[2].casefold()}
        ),
        None,
    )
    return (
        "give one such as 'America/New_York'"
        if nearest_name is None
        else f"did you mean {nearest_name!r}?"
    )
