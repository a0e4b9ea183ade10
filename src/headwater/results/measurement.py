"""A number with its origin."""

from __future__ import annotations

import math
from typing import Literal

from headwater.results.result import Result

Origin = Literal["measured", "given", "default", "computed"]


class Number(Result, frozen=True, tag="number"):
    """A value, its unit and its origin.

    origin: "measured" here, "given" by the user, a "default" of headwater's, or "computed" from
    others. source: what was measured or read, or the formula, in words.

    >>> print(Number(0.25, "USD/GB-month", "default", "an assumption"))
    0.25 USD/GB-month (default)
    """

    value: float
    unit: str
    origin: Origin
    source: str

    def __str__(self) -> str:
        return f"{self.value:,.6g}{f' {self.unit}' if self.unit else ''} ({self.origin})"


class Missing(Result, frozen=True, tag="missing", rename={"reason": "not_measured"}):
    """A number or a part that could not be measured, and why. `value` is always None, as the value
    of a Number in JSON.
    """

    reason: str
    value: None = None

    def __str__(self) -> str:
        return f"not measured: {self.reason}"


Reading = Number | Missing
"""A measured number, or the reason why there is none."""


def measured(value: float, unit: str, source: str) -> Number:
    """A number that was measured here."""
    return Number(float(value), unit, "measured", source)


def amount(money: float) -> str:
    """An amount of money without an exponent.

    >>> [amount(money) for money in (0.0, 0.0000158, 1.92, 12345.6, -0.004, -3.0)]
    ['0', 'less than 0.01', '1.92', '12,346', 'less than 0.01', '-3']
    """
    if 0 < abs(money) < 0.01:
        return "less than 0.01"
    return f"{money:,.0f}" if not money or abs(money) >= 100 else f"{money:.3g}"


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(0.0121), duration(90.2), duration(1_740_180), duration(math.inf)
    ('12.1 ms', '90.2 s', '20.1 d', 'without end')
    """
    if math.isnan(seconds):
        return "not known"
    if math.isinf(seconds):
        return "without end"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1000:.3g} ms" if 0 < seconds < 1 else f"{seconds:.3g} s"
