"""Which arm a unit gets: salted hashes, so that every process and every language gives the same
answer without shared state.

A bucket is the first 8 bytes of SHA-256 of `salt:unit` as a big-endian integer, modulo 10,000.
Enrolment, layers and arms hash with salts of their own, so that none of them depends on another:
widening the enrolment enrols new units and never moves one to another arm.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from headwater.definitions.unit_buckets import BUCKETS, bucket, unit_text
from headwater.errors import DefinitionError
from headwater.kernel.arrays import I64

__all__ = ["BUCKETS", "Assignment", "bucket", "buckets", "unit_text"]

_LEAST_SHARE = 1 / BUCKETS


def buckets(salt: str, units: Sequence[str]) -> I64:
    """The buckets of many units: int64, one for each."""
    return np.fromiter((bucket(salt, unit) for unit in units), np.int64, len(units))


@dataclass(frozen=True)
class Assignment:
    """How an experiment assigns its units.

    Args:
        salt: the experiment's name and version; a new version shuffles all units again.
        weights: the share of the enrolled units of each arm, in order; they sum to 1. Shares are
            whole ten-thousandths.
        enrolled: the share of units that take part, 0 to 1. A ramp raises it; the split among the
            enrolled never changes.
        layer: experiments of one layer never share a unit; None for an experiment that may overlap
            with any other.
        span: the experiment's part of its layer, from and to as shares.
        holdout: the share of all units that take part in no experiment of the project.

    Raises:
        DefinitionError: weights that do not sum to 1 or are not above 0, a share outside 0 to 1, an
            empty span.

    >>> half = Assignment("checkout/1", {"daily": 0.5, "streaming": 0.5})
    >>> half.arm("u1"), half.arm("u2")
    ('streaming', 'daily')
    """

    salt: str
    weights: Mapping[str, float]
    enrolled: float = 1.0
    layer: str | None = None
    span: tuple[float, float] = (0.0, 1.0)
    holdout: float = 0.0

    def __post_init__(self) -> None:
        subject = f"experiment {self.salt.rpartition('/')[0] or self.salt!r}"
        if len(self.weights) < 2:
            raise DefinitionError(
                f"{subject}: an experiment compares at least two arms, and {len(self.weights)} is "
                "given"
            )
        for arm, weight in self.weights.items():
            if not _LEAST_SHARE <= weight < 1:
                raise DefinitionError(
                    f"{subject}: the weight of arm {arm!r} is {weight!r}; give a share from "
                    f"{_LEAST_SHARE} to below 1"
                )
        total = sum(self.weights.values())
        if abs(total - 1) > 1e-9:
            raise DefinitionError(
                f"{subject}: the weights of the arms sum to {total:g}; they must sum to 1"
            )
        for name, share in (("enrolled", self.enrolled), ("holdout", self.holdout)):
            if not 0 <= share <= 1:
                raise DefinitionError(f"{subject}: {name} is {share!r}; give a share from 0 to 1")
        low, high = self.span
        if not 0 <= low < high <= 1:
            raise DefinitionError(
                f"{subject}: its part of the layer is {self.span!r}; give two shares, the second "
                "one larger"
            )

    @cached_property
    def _arms(self) -> tuple[str, ...]:
        return tuple(self.weights)

    @cached_property
    def _ends(self) -> list[int]:
        """The first bucket after each arm's; the last is 10,000 even if the floats sum to less."""
        ends = np.rint(np.cumsum(list(self.weights.values())) * BUCKETS).astype(int).tolist()
        return [*ends[:-1], BUCKETS]

    def takes_part(self, unit: str) -> bool:
        """Whether the unit is enrolled: not held out, in the experiment's part of its layer, and
        within the enrolment.
        """
        if self.holdout and bucket("holdout", unit) < round(self.holdout * BUCKETS):
            return False
        if self.layer is not None:
            position = bucket(f"{self.layer}/layer", unit)
            if not round(self.span[0] * BUCKETS) <= position < round(self.span[1] * BUCKETS):
                return False
        return self.enrolled >= 1 or bucket(f"{self.salt}/enrolled", unit) < round(
            self.enrolled * BUCKETS
        )

    def arm(self, unit: str) -> str | None:
        """The unit's arm, or None if it does not take part."""
        return (
            self._arms[bisect_right(self._ends, bucket(f"{self.salt}/arm", unit))]
            if self.takes_part(unit)
            else None
        )

    def propensity(self, arm: str) -> float:
        """The probability that an enrolled unit gets the arm."""
        position = self._arms.index(arm)
        return (self._ends[position] - (self._ends[position - 1] if position else 0)) / BUCKETS
