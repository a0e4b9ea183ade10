"""Options of a backtest beyond one fit a level: refits and tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headwater.definitions.readable import Readable
from headwater.errors import UsageError


@dataclass(frozen=True)
class Refits(Readable):
    """How often each level is trained again, so that intervals cover the training procedure and not only the models that were fitted.

    Args:
        days: fits on random halves of the training days in addition to the first, the same halves for every level. Intervals include the
            variance between them, the effect of another training period; values stay those of the first fit. 0: intervals cover the
            fitted models only.
        seeds: fits of each level on all training days, each with another seed; metrics are means over them, and without `days` intervals
            include their variance.

    Refits are paired: each has the same seed and the same half of the days at every level, so levels with equal features differ by 0.

    >>> Refits(8), Refits(0, seeds=3)
    (Refits(8), Refits(0, seeds=3))
    """

    days: int = 4
    seeds: int = 1

    def __post_init__(self) -> None:
        for name, value, least in (("days", self.days, 0), ("seeds", self.seeds, 1)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(f"Refits({name}={value!r}): give an integer of at least {least}")
        if self.days == 1:
            raise UsageError("Refits(days=1): one fit does not show how much fits vary; give at least 2, or 0")

    def seed(self, seed: int, *position: int) -> int:
        """The seed of a refit at a fold, the same at every level: the backtest's own for the first of a single seed, else drawn."""
        if self.seeds == 1 and (not self.days or position[0] == 0):
            return seed
        import numpy as np

        return int(np.random.SeedSequence([seed, *position]).generate_state(1)[0] >> 1)


@dataclass(frozen=True)
class Tuning(Readable):
    """Hyperparameter tuning of each level before it is trained: the same trials on the same held-out training rows for every level.

    Args:
        trials: how many settings are tried, the estimator's own first, the others drawn from `space`.
        space: values of each of the estimator's parameters; None takes one that suits gradient boosting.

    At each fold the earlier three quarters of the training rows are fitted and the last quarter judged, by the headline metric. The
    test rows are not looked at.

    Source: Bergstra and Bengio, "Random search for hyper-parameter optimization", 2012.

    >>> Tuning(trials=3, space={"max_depth": [2, 4, 8]})
    Tuning(3, space={max_depth: [2, 4, 8]})
    """

    trials: int = 8
    space: Mapping[str, Sequence[object]] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.trials, int) or isinstance(self.trials, bool) or self.trials < 1:
            raise UsageError(f"Tuning(trials={self.trials!r}): give an integer of at least 1")
        if self.space is not None and (not isinstance(self.space, Mapping) or not all(len(list(v)) for v in self.space.values())):
            raise UsageError(f"Tuning(space={self.space!r}): give at least one value for each parameter, as in {{'max_depth': [2, 4]}}")


USUAL_REFITS = Refits()
"""Refits of a backtest whose evaluation does not set them: decision 0087 has the reasons for their number."""


def as_refits(refits: int | Refits | None) -> Refits:
    """Refits on that number of halves of the training days, without any for 0 and 1; a Refits as it is; the usual ones for None.

    >>> as_refits(3), as_refits(0)
    (Refits(3), Refits(0))
    """
    if refits is None:
        return USUAL_REFITS
    if isinstance(refits, Refits):
        return refits
    if not isinstance(refits, int) or isinstance(refits, bool) or refits < 0:
        raise UsageError(
            f"refits is {refits!r}; give how often each level is trained again, an integer of at least 2, 0 for not at all, or Refits(...)"
        )
    return Refits(refits if refits > 1 else 0)


def as_tuning(tuning: int | Tuning | None) -> Tuning | None:
    """Tuning with that number of trials; a Tuning as it is; None as it is."""
    if tuning is None or isinstance(tuning, Tuning):
        return tuning
    if not isinstance(tuning, int) or isinstance(tuning, bool) or tuning < 1:
        raise UsageError(f"tune is {tuning!r}; give a number of trials, at least 1, or Tuning(...)")
    return Tuning(trials=tuning)
