"""What another policy would have earned, from logs in which each action has the probability that it
was chosen with.

Such estimates need *action* propensities: an arm's propensity says which model served a unit, not
which action it might have taken. They correct for selection, and not for a world that reacts.
Source: Dudik, Langford, Li (2011); Swaminathan, Joachims (2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from headwater.errors import DataError
from headwater.kernel.arrays import F64, I64

Estimator = Literal["ips", "snips", "dr"]
LEAST_EFFECTIVE = 100.0
"""An estimate from fewer effective rows is refused."""


@dataclass(frozen=True)
class PolicyValue:
    """The mean reward of a policy.

    Args:
        value: the estimate.
        se: its standard error.
        effective: the number of logged rows that the weights leave: (sum w)^2 / sum w^2.
        uncovered: the share of rows in which the policy may take an action that the log never
            would.
    """

    value: float
    se: float
    effective: float
    uncovered: float

    def interval(self, multiplier: float = 1.959964) -> tuple[float, float]:
        """The interval of `multiplier` standard errors to both sides."""
        return self.value - multiplier * self.se, self.value + multiplier * self.se


@dataclass(frozen=True)
class LoggedActions:
    """Logged rows and the policy in question.

    Args:
        action: int64, the logged action of each row.
        reward: float64, what followed.
        logged: float64 of rows x actions, the probabilities that the actions were logged with.
        policy: float64 of rows x actions, those of the policy in question.
    """

    action: I64
    reward: F64
    logged: F64
    policy: F64

    def __post_init__(self) -> None:
        rows = len(self.action)
        if not rows:
            raise DataError("no logged action is given; log actions with explore= first")
        for name, table in (("logged", self.logged), ("policy", self.policy)):
            if table.shape != self.logged.shape or len(table) != rows:
                raise DataError(
                    f"the {name} probabilities have the shape {table.shape}; give rows x actions "
                    f"for {rows} rows"
                )
            if (
                not np.isfinite(table).all()
                or (table < 0).any()
                or np.abs(table.sum(axis=1) - 1).max() > 1e-6
            ):
                raise DataError(f"the {name} probabilities of a row must be 0 or more and sum to 1")
        if (self.logged[np.arange(rows), self.action] <= 0).any():
            raise DataError(
                "a logged action has the probability 0; its propensity was not logged as it was "
                "used"
            )


def policy_value(
    rows: LoggedActions, estimator: Estimator = "snips", predicted: F64 | None = None
) -> PolicyValue:
    """The mean reward of the policy.

    Args:
        rows: the log.
        estimator: "ips" (unbiased), "snips" (self-normalised, less variance), or "dr" (doubly
            robust, needs `predicted`).
        predicted: float64 of rows x actions, a model's reward of each action; for "dr".

    Raises:
        DataError: the policy takes actions that the log never took, or too few rows are effective.
    """
    index = np.arange(len(rows.action))
    weights = rows.policy[index, rows.action] / rows.logged[index, rows.action]
    uncovered = float(((rows.policy > 0) & (rows.logged <= 0)).any(axis=1).mean())
    squares = float((weights**2).sum())
    effective = float(weights.sum()) ** 2 / squares if squares else 0.0
    if uncovered > 0:
        raise DataError(
            f"in {uncovered:.1%} of the logged rows the policy may take an action that was never "
            "shown; its reward cannot be known from this log"
        )
    if effective < LEAST_EFFECTIVE:
        raise DataError(
            f"the log has {effective:.0f} effective rows for this policy, and at least "
            f"{LEAST_EFFECTIVE:.0f} are needed: log for longer, or explore a larger share"
        )
    count = len(index)
    if estimator == "ips":
        terms = weights * rows.reward
        return PolicyValue(
            float(terms.mean()), float(terms.std(ddof=1) / math.sqrt(count)), effective, uncovered
        )
    if estimator == "snips":
        value = float((weights * rows.reward).sum() / weights.sum())
        se = math.sqrt(float((weights**2 * (rows.reward - value) ** 2).sum())) / float(
            weights.sum()
        )
        return PolicyValue(value, se, effective, uncovered)
    if predicted is None or predicted.shape != rows.policy.shape:
        raise DataError(
            "the doubly robust estimate needs a predicted reward for each row and action"
        )
    terms = (rows.policy * predicted).sum(axis=1) + weights * (
        rows.reward - predicted[index, rows.action]
    )
    return PolicyValue(
        float(terms.mean()), float(terms.std(ddof=1) / math.sqrt(count)), effective, uncovered
    )
