"""Options of a backtest beyond one fit a level: refits and tuning."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from headwater.definitions.checks import check, check_integer
from headwater.definitions.readable import Readable
from headwater.errors import UsageError


@dataclass(frozen=True)
class Refits(Readable):
    """How often each level is trained again, so that intervals cover the training procedure and not
    only the models that were fitted.

    Args:
        days: fits on random halves of the training days in addition to the first, the same halves
            for every level. Intervals include the variance between them, the effect of another
            training period; values stay those of the first fit. 0: intervals cover the fitted
            models only.
        seeds: fits of each level on all training days, each with another seed; metrics are means
            over them, and without `days` intervals include their variance.

    Refits are paired: each has the same seed and the same half of the days at every level, so
    levels with equal features differ by 0.

    >>> Refits(8), Refits(0, seeds=3)
    (Refits(8), Refits(0, seeds=3))
    """

    days: int = 4
    seeds: int = 1

    def __post_init__(self) -> None:
        check_integer(self.days, "Refits: days", least=0, error=UsageError)
        check_integer(self.seeds, "Refits: seeds", least=1, error=UsageError)
        check(
            self.days != 1,
            self.days,
            "Refits: days",
            "at least 2, since one fit does not show how much fits vary, or 0",
            UsageError,
        )

    def seed(self, seed: int, *position: int) -> int:
        """The seed of a refit at a fold, the same at every level: the backtest's own for the first
        of a single seed, else drawn.
        """
        if self.seeds == 1 and (not self.days or position[0] == 0):
            return seed
        import numpy as np

        return int(np.random.SeedSequence([seed, *position]).generate_state(1)[0] >> 1)


@dataclass(frozen=True)
class Tuning(Readable):
    """Hyperparameter tuning of each level before it is trained: the same trials on the same
    held-out training rows for every level.

    Args:
        trials: how many settings are tried, the estimator's own first, the others drawn from
            `space`.
        space: values of each of the estimator's parameters; None takes one that suits gradient
            boosting.

    At each fold the earlier three quarters of the training rows are fitted and the last quarter
    judged, by the headline metric. The test rows are not looked at.

    Source: Bergstra and Bengio, "Random search for hyper-parameter optimization", 2012.

    >>> Tuning(trials=3, space={"max_depth": [2, 4, 8]})
    Tuning(3, space={max_depth: [2, 4, 8]})
    """

    trials: int = 8
    space: Mapping[str, Sequence[object]] | None = None

    def __post_init__(self) -> None:
        check_integer(self.trials, "Tuning: trials", least=1, error=UsageError)
        filled = self.space is None or (
            isinstance(self.space, Mapping)
            and all(
                isinstance(values, Collection) and len(values) for values in self.space.values()
            )
        )
        check(
            filled,
            self.space,
            "Tuning: space",
            "at least one value for each parameter, as in {'max_depth': [2, 4]}",
            UsageError,
        )


USUAL_REFITS = Refits()
"""Refits of a backtest whose evaluation does not set them: decision 0087 has the reasons for their
number.
"""


def as_refits(refits: int | Refits | None) -> Refits:
    """Refits on that number of halves of the training days, without any for 0 and 1; a Refits as it
    is; the usual ones for None.

    >>> as_refits(3), as_refits(0)
    (Refits(3), Refits(0))
    """
    if refits is None:
        return USUAL_REFITS
    if isinstance(refits, Refits):
        return refits
    counted = isinstance(refits, int) and not isinstance(refits, bool) and refits >= 0
    give = (
        "how often each level is trained again, an integer of at least 2, 0 for not at all, or "
        "Refits(...)"
    )
    check(counted, refits, "refits", give, UsageError)
    return Refits(refits if refits > 1 else 0)


def as_tuning(tuning: int | Tuning | None) -> Tuning | None:
    """Tuning with that number of trials; a Tuning as it is; None as it is."""
    if tuning is None or isinstance(tuning, Tuning):
        return tuning
    check_integer(
        tuning, "tune", least=1, note="the number of trials, or Tuning(...)", error=UsageError
    )
    return Tuning(trials=tuning)
