"""Options of a backtest beyond one fit a level: refits and tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headwater.definitions.readable import Readable
from headwater.errors import UsageError

_SPACES: tuple[Mapping[str, Sequence[object]], ...] = (
    {  # LightGBM
        "num_leaves": (15, 31, 48, 96),
        "learning_rate": (0.03, 0.05, 0.08, 0.15),
        "n_estimators": (80, 160, 320),
        "min_child_samples": (20, 80, 200),
        "colsample_bytree": (0.4, 0.6, 0.8, 1.0),
    },
    {  # scikit-learn's histogram gradient boosting
        "max_leaf_nodes": (15, 31, 48, 96),
        "learning_rate": (0.03, 0.05, 0.08, 0.15),
        "max_iter": (80, 160, 320),
        "min_samples_leaf": (20, 80, 200),
    },
)


@dataclass(frozen=True)
class Refits(Readable):
    """How often each level is trained again, so that intervals hold for the next model too and not for this one alone.

    Args:
        seeds: fits of each level with seeds of their own; metrics are means over them, and intervals hold their variance.
        days: further fits on resampled training days, the same days for every level. With at least 2, intervals include the
            variance between them: the effect of another training period.

    >>> Refits(seeds=3)
    Refits(3)
    """

    seeds: int = 5
    days: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (("seeds", self.seeds, 1), ("days", self.days, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(f"Refits({name}={value!r}): give an integer of at least {least}")
        if self.days == 1:
            raise UsageError("Refits(days=1): one fit does not show how much fits vary; give at least 2, or 0")

    def seed(self, seed: int, *position: int) -> int:
        """The seed of one fit: the backtest's own where every level is fitted once, else drawn for the level, refit and fold."""
        if self.seeds == 1 and not self.days:
            return seed
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

    >>> Tuning(trials=3, space={"max_depth": [2, 4, 8]}).settings(["max_depth"], seed=0)
    [{}, {'max_depth': 8}, {'max_depth': 4}]
    """

    trials: int = 8
    space: Mapping[str, Sequence[object]] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.trials, int) or isinstance(self.trials, bool) or self.trials < 1:
            raise UsageError(f"Tuning(trials={self.trials!r}): give an integer of at least 1")
        if self.space is not None and (not isinstance(self.space, Mapping) or not all(len(list(v)) for v in self.space.values())):
            raise UsageError(f"Tuning(space={self.space!r}): give at least one value for each parameter, as in {{'max_depth': [2, 4]}}")

    def settings(self, known: Sequence[str], seed: int) -> list[dict[str, object]]:
        """The parameters of each trial, for an estimator with these parameters; equal ones are tried once.

        Raises:
            UsageError: no space was given, and none is known for such an estimator; or it lacks a parameter.
        """
        space = self.space or next((space for space in _SPACES if set(space) <= set(known)), None)
        if space is None:
            raise UsageError("Tuning() knows no space for this estimator; give space={parameter: [values]}")
        for name in space:
            if name not in known:
                raise UsageError(f"Tuning(space=): the estimator has no parameter {name!r}; it has {', '.join(sorted(known)[:20])}")
        random = np.random.default_rng(seed)
        drawn = [{name: list(values)[random.integers(len(values))] for name, values in space.items()} for _ in range(self.trials - 1)]
        trials: list[dict[str, object]] = [{}, *drawn]
        return [trial for i, trial in enumerate(trials) if trial not in trials[:i]]


def as_refits(refits: int | Refits) -> Refits:
    """Refits with that number of seeds; a Refits as it is."""
    return refits if isinstance(refits, Refits) else Refits(seeds=refits)


def as_tuning(tuning: int | Tuning | None) -> Tuning | None:
    """Tuning with that number of trials; a Tuning as it is; None for None and 0."""
    if tuning is None or isinstance(tuning, Tuning):
        return tuning
    return Tuning(trials=tuning)
