"""Salted hashes of units: every process and every language gets the same bucket without shared
state.
"""

from __future__ import annotations

from datetime import date, datetime
from hashlib import sha256

from headwater.errors import UsageError

BUCKETS = 10_000


def unit_text(unit: object) -> str:
    """The hashed text of a unit: strings unchanged, integers in decimal, dates as ISO 8601,
    booleans as true and false.

    Raises:
        UsageError: a null, an empty string, or a float, which other languages write in other ways.

    >>> unit_text("u1"), unit_text(17)
    ('u1', '17')
    """
    if getattr(unit, "shape", None) == ():  # a scalar of numpy, which clients do not load
        unit = unit.item()  # type: ignore[attr-defined]
    if isinstance(unit, str) and unit:
        return unit
    if isinstance(unit, bool):
        return "true" if unit else "false"
    if isinstance(unit, int):
        return str(unit)
    if isinstance(unit, date) and not isinstance(unit, datetime):
        return unit.isoformat()
    raise UsageError(
        f"the experiment's unit is {unit!r}; units are strings that are not empty, integers, "
        "booleans or dates"
    )


def bucket(salt: str, unit: str) -> int:
    """The bucket of a unit: 0 to 9,999.

    Args:
        salt: another one for each independent choice.
        unit: its text, see `unit_text`.

    >>> bucket("checkout/arm", "u1")
    596
    """
    return int.from_bytes(sha256(f"{salt}:{unit}".encode()).digest()[:8], "big") % BUCKETS
