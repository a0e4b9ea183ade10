"""Windows, with the hop that their tail moves in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from headwater.definitions.checks import (
    DAY,
    HOUR,
    SECOND,
    Duration,
    Spelled,
    check_list,
    micros,
    text,
)
from headwater.definitions.definition import Readable
from headwater.errors import DefinitionError

_MINUTE = 60 * SECOND
_STEPS = (
    SECOND // 100,
    SECOND // 10,
    SECOND,
    10 * SECOND,
    _MINUTE,
    10 * _MINUTE,
    HOUR,
    6 * HOUR,
    DAY,
)


@dataclass(frozen=True, init=False)
class Window(Readable, metaclass=Spelled):
    """A window of `length` that ends `offset` before T: `window("1h", offset="1d")` is the hour a
    day ago.

    The hop, in which the tail of the window moves, is the largest step of 10ms 100ms 1s 10s 1m 10m
    1h 6h 1d that divides the length (and the offset) and is at most 1/48 of it, unless `hop` gives
    another divisor. The hop grid starts at the UTC epoch. It has the events in [floor(T - offset -
    length, hop), T - offset), the upper end floored too where there is an offset. Fields are in
    microseconds; a `length` of None is a
    lifetime: everything before T - offset.

    Raises:
        DefinitionError: no length, or a hop that does not divide it.

    >>> window("1h").hop == micros("1m", "hop"), window("7d").hop == micros("1h", "hop")
    (True, True)
    """

    _called = "window"

    length: int | None
    hop: int
    offset: int

    def __init__(
        self,
        length: Duration,
        *,
        offset: Duration = "0s",
        hop: Duration | None = None,
    ) -> None:
        offset_us = micros(offset, "an offset")
        if length == "lifetime":
            self.__dict__.update(length=None, hop=_lifetime_hop(offset_us, hop), offset=offset_us)
            return
        size = micros(length, "a window", positive=True)
        if hop is not None:
            step = micros(hop, "hop")
            if step == 0 or size % step or offset_us % step:
                raise DefinitionError(
                    f"hop {text(step)} does not divide the window {text(size)}{_and(offset_us)}; "
                    "choose a hop that does"
                )
            self.__dict__.update(length=size, hop=step, offset=offset_us)
            return
        fitting = [s for s in _STEPS if size % s == 0 and offset_us % s == 0 and s * 48 <= size]
        if not fitting:
            raise DefinitionError(
                f"no hop divides the window {text(size)}{_and(offset_us)}: the steps 10ms 100ms "
                "1s 10s 1m 10m 1h 6h 1d must divide it and be at most 1/48 of it; round the "
                "window, or give hop="
            )
        self.__dict__.update(length=size, hop=fitting[-1], offset=offset_us)

    @classmethod
    def in_micros(cls, length: int | None, hop: int = 1, offset: int = 0) -> Window:
        """The window of these fields.

        >>> Window.in_micros(3_600_000_000, 60_000_000) == window("1h")
        True
        """
        made = object.__new__(cls)
        made.__dict__.update(length=length, hop=hop, offset=offset)
        return made

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


window = Window


def as_windows(
    values: Sequence[Duration | Window], hop: Duration | None, subject: str
) -> tuple[Window, ...]:
    """The windows that a user wrote in `windows=`."""
    listed = check_list(
        values,
        str | timedelta | Window,
        subject,
        "a list of durations and windows, such as ['1h', '7d']",
    )
    return tuple(value if isinstance(value, Window) else window(value, hop=hop) for value in listed)


def _lifetime_hop(offset: int, hop: Duration | None) -> int:
    if not offset:
        return 1
    if hop is not None:
        step = micros(hop, "hop")
        if step == 0 or offset % step:
            raise DefinitionError(
                f"hop {text(step)} does not divide the offset {text(offset)}; choose a hop that "
                "does"
            )
        return step
    return next((s for s in reversed(_STEPS) if offset % s == 0), 1)


def _and(offset: int) -> str:
    return f" and its offset {text(offset)}" if offset else ""
