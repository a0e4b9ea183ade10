"""Durations as whole microseconds, and windows with the hop that their tail moves in."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from headwater.definitions.spelling import spelled
from headwater.errors import DefinitionError

Duration = str | timedelta

_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
_STEPS = tuple(_UNITS[u] * n for n, u in ((10, "ms"), (100, "ms"), (1, "s"), (10, "s"), (1, "m"), (10, "m"), (1, "h"), (6, "h"), (1, "d")))
DAY = _UNITS["d"]
HOUR = _UNITS["h"]
SECOND = _UNITS["s"]


def micros(value: Duration, subject: str) -> int:
    """`value` in microseconds; `subject` names it in the error.

    >>> micros("15m", "a window")
    900000000
    """
    if isinstance(value, timedelta):
        number = round(value / timedelta(microseconds=1))
    else:
        match = re.fullmatch(r"\s*(\d+)\s*(us|ms|s|m|h|d|w)\s*", value) if isinstance(value, str) else None
        if match is None:
            raise DefinitionError(
                f'{subject} is {value!r}; write an integer and a unit such as "500ms", "10m", "1h" or "30d", or give a timedelta'
            )
        number = int(match[1]) * _UNITS[match[2]]
    if not 0 <= number <= 100 * 366 * DAY:
        raise DefinitionError(f"{subject} is {value!r}; it must lie between nothing and 100 years")
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
    """Microseconds as a person says them: in days from two days on, in hours from two hours on, else in minutes or seconds.

    >>> rounded(5_400_000_000), rounded(200_000_000_000), rounded(57_600_100_000)
    ('90m', '2d', '16h')
    """
    size = abs(duration)
    unit = next(unit for unit in ("d", "h", "m", "s") if size >= 2 * _UNITS[unit] or unit == "s")
    return f"{round(size / _UNITS[unit])}{unit}"


@dataclass(frozen=True)
class Window:
    """Events in [floor(T - offset - length, hop), T - offset), the upper end floored too where there is an offset.

    `length` None is a lifetime: everything before T. All in microseconds; the hop grid starts at the UTC epoch.
    """

    length: int | None
    hop: int = 1
    offset: int = 0

    def __str__(self) -> str:
        return self.suffix

    def __repr__(self) -> str:
        return f"Window({self.suffix}, hop {text(self.hop)})"

    @property
    def suffix(self) -> str:
        """The end of a feature's name: `1h`, `lifetime`, `1h_offset_1d`."""
        size = "lifetime" if self.length is None else text(self.length)
        return f"{size}_offset_{text(self.offset)}" if self.offset else size

    @property
    def reach(self) -> int | None:
        """How far before T the window can reach, in microseconds; None without bound."""
        return None if self.length is None else self.length + self.offset + self.hop


@spelled
def window(length: Duration, *, offset: Duration = "0s", hop: Duration | None = None) -> Window:
    """A window of `length` that ends `offset` before T: `window("1h", offset="1d")` is the hour a day ago.

    The hop, in which the tail of the window moves, is the largest step of 10ms 100ms 1s 10s 1m 10m 1h 6h 1d
    that divides the length (and the offset) and is at most 1/48 of it, unless `hop` gives another divisor.

    >>> window("1h").hop == micros("1m", "hop"), window("7d").hop == micros("1h", "hop")
    (True, True)
    """
    offset_us = micros(offset, "an offset")
    if length == "lifetime":
        return Window(None, _lifetime_hop(offset_us, hop), offset_us)
    size = micros(length, "a window")
    if size == 0:
        raise DefinitionError("a window of no length holds nothing; give a positive duration")
    if hop is not None:
        step = micros(hop, "hop")
        if step == 0 or size % step or offset_us % step:
            raise DefinitionError(f"hop {text(step)} does not divide the window {text(size)}{_and(offset_us)}; choose a hop that does")
        return Window(size, step, offset_us)
    fitting = [s for s in _STEPS if size % s == 0 and offset_us % s == 0 and s * 48 <= size]
    if not fitting:
        raise DefinitionError(
            f"no hop divides the window {text(size)}{_and(offset_us)}: the steps 10ms 100ms 1s 10s 1m 10m 1h 6h 1d must divide it and be at most 1/48 of it; "
            "round the window, or give hop="
        )
    return Window(size, fitting[-1], offset_us)


def as_window(value: Duration | Window, hop: Duration | None) -> Window:
    """A window from what a user wrote in `windows=`."""
    return value if isinstance(value, Window) else window(value, hop=hop)


def _lifetime_hop(offset: int, hop: Duration | None) -> int:
    if not offset:
        return 1
    if hop is not None:
        step = micros(hop, "hop")
        if step == 0 or offset % step:
            raise DefinitionError(f"hop {text(step)} does not divide the offset {text(offset)}; choose a hop that does")
        return step
    return next((s for s in reversed(_STEPS) if offset % s == 0), 1)


def _and(offset: int) -> str:
    return f" and its offset {text(offset)}" if offset else ""


def check_timezone(name: str | None, subject: str) -> None:
    """Refuse a time zone that the IANA data base does not have."""
    if name is not None:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, TypeError) as error:
            raise DefinitionError(f"{subject}: timezone {name!r} is not an IANA time zone; {_nearest_zone(str(name))}") from error


def _nearest_zone(name: str) -> str:
    """A sentence that offers the zone of a city, or of a name that is close.

    >>> _nearest_zone("berlin"), _nearest_zone("Europe/Olso"), _nearest_zone("CET+1 or so")
    ("did you mean 'Europe/Berlin'?", "did you mean 'Europe/Oslo'?", "give one such as 'America/New_York'")
    """
    zones = sorted(zone for zone in available_timezones() if not zone.startswith(("posix/", "right/")))
    cities = {zone.rpartition("/")[2].casefold(): zone for zone in reversed(zones)}
    wanted = name.strip().replace(" ", "_").casefold()
    close = difflib.get_close_matches(wanted, {zone.casefold(): zone for zone in zones}, n=1, cutoff=0.75)
    close = close or difflib.get_close_matches(wanted, cities, n=1, cutoff=0.75)
    nearest_name = cities.get(wanted) or next(
        (zone for zone in zones if close and close[0] in {zone.casefold(), zone.rpartition("/")[2].casefold()}), None
    )
    return "give one such as 'America/New_York'" if nearest_name is None else f"did you mean {nearest_name!r}?"
