"""The settings that tuning tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from headwater.definitions.evaluations import Tuning
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


def trial_settings(tuning: Tuning, parameters: Sequence[str], seed: int) -> list[dict[str, object]]:
    """The parameters of each trial, for an estimator with these parameters; equal ones are tried
    once.

    Raises:
        UsageError: no space was given, and none is known for such an estimator; or it lacks a
            parameter.

    >>> trial_settings(Tuning(trials=3, space={"max_depth": [2, 4, 8]}), ["max_depth"], seed=0)
    [{}, {'max_depth': 8}, {'max_depth': 4}]
    """
    space = tuning.space or next(
        (space for space in _SPACES if set(space) <= set(parameters)), None
    )
    if space is None:
        raise UsageError(
            "Tuning() knows no space for this estimator; give space={parameter: [values]}"
        )
    for name in space:
        if name not in parameters:
            raise UsageError(
                f"Tuning(space=): the estimator has no parameter {name!r}; it has "
                f"{', '.join(sorted(parameters)[:20])}"
            )
    random = np.random.default_rng(seed)
    drawn = [
        {name: list(values)[random.integers(len(values))] for name, values in space.items()}
        for _ in range(tuning.trials - 1)
    ]
    trials: list[dict[str, object]] = [{}, *drawn]
    return [trial for i, trial in enumerate(trials) if trial not in trials[:i]]
