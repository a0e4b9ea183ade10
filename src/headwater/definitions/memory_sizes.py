"""Amounts of memory as whole bytes."""

from __future__ import annotations

import re

from headwater.definitions.checks import check, refusal
from headwater.errors import UsageError

Size = str | int

_UNITS = {
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
        if match is None or match[2] not in _UNITS:
            raise refusal(
                value,
                subject,
                "a number and a unit, such as '4GB', '512MB' or '2GiB', or whole bytes",
                UsageError,
            )
        number = int(float(match[1]) * _UNITS[match[2]])
    check(number >= _LEAST, value, subject, "at least 1MB", UsageError)
    return number


def size_text(number: int) -> str:
    """Bytes as a person says them.

    >>> size_text(1_840_000_000), size_text(512_000_000), size_text(900)
    ('1.84GB', '512MB', '900B')
    """
    unit = next((u for u in ("TB", "GB", "MB", "KB") if number >= _UNITS[u]), "B")
    return f"{number / _UNITS[unit]:.3g}{unit}"
