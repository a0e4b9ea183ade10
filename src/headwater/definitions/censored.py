"""Outcomes that are seen only where a prediction was not acted on: which scores are acted on, and
who is left alone all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headwater.definitions.checks import check, check_number, check_text
from headwater.definitions.definition import Definition
from headwater.definitions.unit_buckets import BUCKETS, bucket, unit_text
from headwater.errors import DefinitionError

HOLDOUT_SALT = "approve-anyway"
"""What the units of an approve-anyway holdout are hashed with."""


@dataclass(frozen=True, eq=False, init=False)
class Censored(Definition, called="censored"):
    """Outcomes that are seen only where a prediction was not acted on, as the fraud of a payment
    that was blocked.

    Args:
        above: a score of at least this is acted on.
        below: a score below this is acted on, as where a loan is refused; give one of the two.
        holdout: the share of units that are left alone at any score, such as 0.02. Their outcomes
            are seen at every level, so they stand for those that were hidden. Without it no level
            can be judged.
        unit: the request's column whose values are held out or not, such as "card".
            `Censored.approves_anyway(value)` says which, in any language by the rule of the
            assignment of experiments with the salt "approve-anyway".

    Raises:
        DefinitionError: no bound or two, a share outside 0 to 1, a holdout without a unit.

    >>> censored(above=0.9, holdout=0.02, unit="card").describe
    'a score of 0.9 or more is acted on, except for 0.02 of card'
    """

    above: float | None = None
    below: float | None = None
    holdout: float = 0.0
    unit: str | None = None

    def __init__(
        self,
        *,
        above: float | None = None,
        below: float | None = None,
        holdout: float = 0.0,
        unit: str | None = None,
    ) -> None:
        name, bound = ("below", below) if above is None else ("above", above)
        if (above is None) == (below is None):
            raise DefinitionError(
                f"censored(above={above!r}, below={below!r}): give one of the two, the score from "
                "which predictions are acted on"
            )
        check_number(
            bound, f"censored(): {name}", note="the score from which predictions are acted on"
        )
        subject, example = "censored(): holdout", "in ten-thousandths, such as 0.02"
        check_number(holdout, subject, "a share", least=0, below=1, note=example)
        check(not 0 < holdout * BUCKETS < 1, holdout, subject, f"a share {example}")
        if bool(holdout) != (unit is not None):
            raise DefinitionError(
                f"censored(holdout={holdout!r}, unit={unit!r}): a holdout needs the request's "
                "column whose values are held out, such as unit='card'"
            )
        if unit is not None:
            check_text(
                unit,
                "censored(): unit",
                "the name of the request's column whose values are held out, such as 'card'",
            )
        self._set(above=above, below=below, holdout=holdout, unit=unit)

    @property
    def describe(self) -> str:
        """The rule in words."""
        bound = (
            f"a score of {self.above:g} or more"
            if self.above is not None
            else f"a score below {self.below:g}"
        )
        return (
            f"{bound} is acted "
            f"on{f', except for {self.holdout:.3g} of {self.unit}' if self.holdout else ''}"
        )

    def acts_on(self, score: float) -> bool:
        """Whether a score is acted on, which hides the outcome."""
        return (
            score >= self.above
            if self.above is not None
            else self.below is not None and score < self.below
        )

    def approves_anyway(self, unit: object) -> bool:
        """Whether this unit is left alone at any score: call it where you act on scores.

        Raises:
            UsageError: a null, an empty string, or a float.

        >>> rule = censored(above=0.9, holdout=0.02, unit="card")
        >>> [card for card in range(200) if rule.approves_anyway(card)]
        [12, 23, 108, 167, 198]
        """
        return bool(self.holdout) and bucket(HOLDOUT_SALT, unit_text(unit)) < round(
            self.holdout * BUCKETS
        )

    def held_out(self, units: Iterable[object]) -> list[bool]:
        """`approves_anyway` of many units; a unit that is null is not held out."""
        known: dict[object, bool] = {}
        return [
            unit is not None
            and (
                known[unit] if unit in known else known.setdefault(unit, self.approves_anyway(unit))
            )
            for unit in units
        ]


censored = Censored
