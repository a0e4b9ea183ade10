"""Checks of the parameters of aggregations."""

from __future__ import annotations

from headwater.errors import DefinitionError


def check_size(function: str, parameter: str, value: int) -> int:
    """How many, from 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100_000:
        raise DefinitionError(f"{function}(): {parameter} is {value!r}; give an integer from 1 to 100000")
    return value


def check_share(q: float) -> float:
    """A share, as a float."""
    if isinstance(q, bool) or not isinstance(q, int | float) or not 0 <= q <= 1 or abs(q * 1e6 - round(q * 1e6)) > 1e-6:
        raise DefinitionError(f"approx_percentile(): q is {q!r}; give a share from 0 to 1 with at most six decimals, such as 0.95")
    return float(q)


def check_ddof(value: int) -> int:
    """The degrees of freedom that a deviation takes off."""
    if value not in (0, 1):
        raise DefinitionError(f"ddof is {value!r}; give 1 for the sample's deviation or 0 for the population's")
    return value
