"""Arguments of definitions: validators, misspelt names, durations, timestamps and amounts of
memory.

Validators of what a definition is given. Each refuses in one form: "OWNER: FIELD is VALUE; give
ALLOWED".

A subject is the owner and the field, such as "feature view 'user': on_stale"; `give` names the
allowed values, with an example.

Wrong arguments of a call: one that is misspelt gets the nearest name, one that is missing is
named with all that are needed.

Durations as whole microseconds, and time zones.

Timestamps: tz-aware datetimes and ISO 8601 strings as microseconds UTC, and back.

Amounts of memory as whole bytes.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from math import inf
from sys import float_info
from types import UnionType
from typing import TYPE_CHECKING, ParamSpec, TypeGuard, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from headwater import clock
from headwater.errors import DefinitionError, HeadwaterError, UsageError, given, nearest

T = TypeVar("T")


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is an integer or a float; a boolean is none, nor is NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -inf <= value <= inf


def refusal(
    value: object, subject: str, give: str, error: type[HeadwaterError] = DefinitionError
) -> HeadwaterError:
    """The error of a refused value, for code that raises it itself; `check` raises it."""
    return error(f"{subject} is {given(value)}; give {give}")


def check(
    ok: object,
    value: object,
    subject: str,
    give: str,
    error: type[HeadwaterError] = DefinitionError,
) -> None:
    """Refuse a value unless `ok`.

    >>> check(False, 2, "std(): ddof", "1 for the sample's deviation or 0 for the population's")
    Traceback (most recent call last):
    headwater.errors.DefinitionError: std(): ddof is 2; give 1 for the sample's deviation or 0 for the population's
    """  # noqa: E501 (output as it is printed)
    if not ok:
        raise refusal(value, subject, give, error)


def check_type(
    value: object,
    kind: type | UnionType,
    subject: str,
    give: str,
    error: type[HeadwaterError] = DefinitionError,
) -> None:
    """Refuse a value of another type.

    >>> check_type("yes", bool, "the expectation of 'price': not_null", "True or False")
    Traceback (most recent call last):
    headwater.errors.DefinitionError: the expectation of 'price': not_null is 'yes'; give True or False
    """  # noqa: E501 (output as it is printed)
    check(isinstance(value, kind), value, subject, give, error)


def check_text(
    value: object, subject: str, give: str, error: type[HeadwaterError] = DefinitionError
) -> None:
    """Refuse anything but a string that is not empty."""
    check(isinstance(value, str) and value != "", value, subject, give, error)


def check_choice(value: object, allowed: Collection[str], subject: str, note: str = "") -> None:
    """Refuse a value that is not one of a few strings.

    >>> check_choice("ealiest", ("earliest", "latest"), "kafka('payments'): start")
    Traceback (most recent call last):
    headwater.errors.DefinitionError: kafka('payments'): start is 'ealiest'; give 'earliest' or 'latest'; did you mean 'earliest'?
    """  # noqa: E501 (output as it is printed)
    if not isinstance(value, str) or value not in allowed:
        *most, last = map(repr, allowed)
        near = nearest(value, allowed) if isinstance(value, str) else ""
        suggestion = f"; {near}" if near.endswith("?") else ""  # else it lists them again
        raise refusal(
            value,
            subject,
            f"{', '.join(most)}{' or ' * bool(most)}{last}{_after(note)}{suggestion}",
        )


def check_integer(
    value: object,
    subject: str,
    *,
    least: int,
    most: float = inf,
    note: str = "",
    error: type[HeadwaterError] = DefinitionError,
) -> None:
    """Refuse anything but an integer within bounds; a boolean is none.

    >>> check_integer(True, "feature view 'user': version", least=1, note="such as 2")
    Traceback (most recent call last):
    headwater.errors.DefinitionError: feature view 'user': version is True; give an integer of at least 1, such as 2
    """  # noqa: E501 (output as it is printed)
    inside = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    check(
        inside, value, subject, f"an integer{_range(least, -inf, most, inf)}{_after(note)}", error
    )


def check_number(  # noqa: PLR0913 (a bound each)
    value: object,
    subject: str,
    what: str = "a number",
    *,
    least: float = -inf,
    above: float = -inf,
    most: float = inf,
    below: float = inf,
    note: str = "",
    error: type[HeadwaterError] = DefinitionError,
) -> None:
    """Refuse anything but a finite number within bounds; a boolean is none. what: the meaning of
    the number, such as "a share".

    >>> check_number(1, "project 'shop': holdout", "a share", least=0, below=1, note="such as 0.05")
    Traceback (most recent call last):
    headwater.errors.DefinitionError: project 'shop': holdout is 1; give a share from 0 to below 1, such as 0.05
    """  # noqa: E501 (output as it is printed)
    inside = (
        is_number(value)
        and abs(value) <= float_info.max
        and above < value < below
        and least <= value <= most
    )
    check(inside, value, subject, f"{what}{_range(least, above, most, below)}{_after(note)}", error)


def check_list(
    values: Sequence[T],
    kind: type | UnionType,
    subject: str,
    give: str,
    *,
    least: int = 0,
    error: type[HeadwaterError] = DefinitionError,
) -> tuple[T, ...]:
    """The values as a tuple; refuse anything but a sequence of at least `least` of them, all of a
    type.

    >>> check_list("user", str, "feature view 'user': keys", "names of columns")
    Traceback (most recent call last):
    headwater.errors.DefinitionError: feature view 'user': keys is the string 'user'; give a list, such as ['user']
    """  # noqa: E501 (output as it is printed)
    if isinstance(values, str) and isinstance(values, kind):
        raise error(f"{subject} is the string {values!r}; give a list, such as [{values!r}]")
    check(
        isinstance(values, Sequence) and not isinstance(values, str) and len(values) >= least,
        values,
        subject,
        give,
        error,
    )
    for value in values:
        if not isinstance(value, kind):
            raise error(f"{subject} holds {given(value)}; give {give}")
    return tuple(values)


def check_columns(columns: Sequence[str], subject: str, *, least: int = 0) -> tuple[str, ...]:
    """Names of columns as a tuple.

    >>> check_columns([], "precomputed(): keys", least=1)
    Traceback (most recent call last):
    headwater.errors.DefinitionError: precomputed(): keys is []; give a list of at least one column, such as ['user']
    """  # noqa: E501 (output as it is printed)
    give = f"a list of {'at least one column' if least else 'columns'}, such as ['user']"
    names = check_list(columns, str, subject, give, least=least)
    check("" not in names, columns, subject, give)
    return names


def check_reference(
    name: str,
    known: Collection[str] | None,
    says: str,
    error: type[HeadwaterError] = DefinitionError,
) -> None:
    """Refuse a name that is not among the known ones, with the nearest of them. known: None where
    they are not known yet.

    >>> check_reference(
    ...     "usr",
    ...     ["user", "at"],
    ...     "feature view 'user': the key 'usr' is not selected by source 'clicks'",
    ... )
    Traceback (most recent call last):
    headwater.errors.DefinitionError: feature view 'user': the key 'usr' is not selected by source 'clicks'; did you mean 'user'?
    """  # noqa: E501 (output as it is printed)
    if known is not None and name not in known:
        raise error(f"{says}; {nearest(str(name), known)}")


def _range(least: float, above: float, most: float, below: float) -> str:
    """The bounds in words, after a space; nothing where there are none.

    >>> (
    ...     _range(0, -inf, inf, 1),
    ...     _range(-inf, 0, 1, inf),
    ...     _range(1, -inf, inf, inf),
    ...     _range(-inf, -inf, inf, inf),
    ... )
    (' from 0 to below 1', ' above 0 and up to 1', ' of at least 1', '')
    """
    high = f"below {below:,}" if below < inf else f"{most:,}" if most < inf else ""
    if above > -inf:
        return f" above {above:,}" + (f" and {'up to ' * (below == inf)}{high}" if high else "")
    if least > -inf:
        return f" from {least:,} to {high}" if high else f" of at least {least:,}"
    return ""


def _after(note: str) -> str:
    return f", {note}" if note else ""


P = ParamSpec("P")


def spelled(function: Callable[P, T]) -> Callable[P, T]:
    """The function with checked arguments: an unknown keyword argument is refused with the nearest
    name, and a call without a required one is refused.

    >>> @spelled
    ... def batch(every: str, *, delay: str = "0s") -> str:
    ...     return every
    >>> batch("1d", dealy="4h")
    Traceback (most recent call last):
    headwater.errors.DefinitionError: batch() takes no argument 'dealy'; did you mean 'delay'?
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        check_arguments(function.__name__, kwargs, signature.parameters)
        try:
            return function(*args, **kwargs)
        except TypeError:
            check_call(function.__name__, signature, args, kwargs)
            raise

    return call


def check_arguments(
    name: str,
    names: Iterable[str],
    known: Collection[str],
    error: type[HeadwaterError] = DefinitionError,
) -> None:
    """Refuse keyword arguments that a function or class does not have."""
    for argument in names:
        check_reference(argument, known, f"{name}() takes no argument {argument!r}", error)


def check_call(
    name: str,
    signature: inspect.Signature,
    args: Sequence[object],
    kwargs: Mapping[str, object],
    error: type[HeadwaterError] = DefinitionError,
) -> None:
    """Refuse a call that Python refuses: an argument is missing, given twice, or has no name where
    it needs one.

    >>> def batch(every: str, *, delay: str) -> None: ...
    >>> check_call("batch", inspect.signature(batch), ["1d"], {})
    Traceback (most recent call last):
    headwater.errors.DefinitionError: batch() is called without delay=; it needs every, delay=
    """
    by_place = [
        p.name
        for p in signature.parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    spread = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())
    written = {
        n: n if n in by_place else f"{n}="
        for n, p in signature.parameters.items()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    needed = [n for n in written if signature.parameters[n].default is inspect.Parameter.empty]
    placed = by_place[: len(args)]
    if twice := [n for n in placed if n in kwargs]:
        raise error(
            f"{name}() is given {twice[0]} twice, by its place and by its name; the order is "
            f"{', '.join(by_place)}"
        ) from None
    if len(args) > len(by_place) and not spread:
        others = ", ".join(text for n, text in written.items() if n not in by_place)
        raise error(
            f"{name}() takes {len(by_place) or 'no'} values without a name, and was given "
            f"{len(args)}" + (f"; write their names: {others}" if others else "")
        ) from None
    if missing := [n for n in needed if n not in placed and n not in kwargs]:
        raise error(
            f"{name}() is called without {', '.join(written[n] for n in missing)}; it needs "
            f"{', '.join(written[n] for n in needed)}"
        ) from None


class Spelled(type):
    """The metaclass of dataclasses with checked arguments: an unknown keyword argument is refused
    with the nearest name, and a call without a required one is refused.
    """

    if not TYPE_CHECKING:  # a type checker reads the signature of the class itself

        def __call__(cls, *args, **kwargs):  # noqa: ANN002, ANN003, ANN204
            name = getattr(cls, "_called", cls.__name__)
            code = getattr(cls.__init__, "__code__", None)
            known = (
                ()
                if code is None
                else code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
            )
            if not kwargs.keys() <= {*known}:
                check_arguments(name, kwargs, known)
            try:
                return super().__call__(*args, **kwargs)
            except TypeError:
                check_call(name, cls.__signature__, args, kwargs)
                raise

        @property
        def __signature__(cls) -> inspect.Signature:
            """The parameters of the class, for help() and editors; they would show those of
            `__call__`.
            """
            signature = inspect.signature(cls.__init__)
            return signature.replace(
                parameters=list(signature.parameters.values())[1:],
                return_annotation=inspect.Signature.empty,
            )


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
    """A sentence with the zone of a city, or of a similar name.

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


Size = str | int

_MEMORY_UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}

_LEAST = 10**6


def in_bytes(value: Size, subject: str) -> int:
    """`value` in bytes; `subject` names it in the error. Units are decimal, or binary with an i:
    "4GB", "1.5 GiB", "512MB".

    >>> in_bytes("4GB", "memory"), in_bytes("512MiB", "memory"), in_bytes(2_000_000_000, "memory")
    (4000000000, 536870912, 2000000000)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        match = (
            re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?B)\s*", value.upper())
            if isinstance(value, str)
            else None
        )
        if match is None or match[2] not in _MEMORY_UNITS:
            raise refusal(
                value,
                subject,
                "a number and a unit, such as '4GB', '512MB' or '2GiB', or whole bytes",
                UsageError,
            )
        number = int(float(match[1]) * _MEMORY_UNITS[match[2]])
    check(number >= _LEAST, value, subject, "at least 1MB", UsageError)
    return number


def size_text(number: int) -> str:
    """Bytes as a person says them.

    >>> size_text(1_840_000_000), size_text(512_000_000), size_text(900)
    ('1.84GB', '512MB', '900B')
    """
    unit = next((u for u in ("TB", "GB", "MB", "KB") if number >= _MEMORY_UNITS[u]), "B")
    return f"{number / _MEMORY_UNITS[unit]:.3g}{unit}"
