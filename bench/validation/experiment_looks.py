"""Twenty looks at one experiment: how often a rule stops a test without an effect, how often it
finds one, and what its intervals hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from headwater.experiments.arm_moments import ArmMoments, arm_moments, unit_lift
from headwater.experiments.confidence_sequence import sequence_multiplier
from headwater.experiments.group_sequential import bounds
from headwater.experiments.relative_lift import RelativeLift

BATCH = 100  # experiments of one seed
LOOKS, UNITS = 20, 5_000  # looks, and units of an arm at the last one
Metric = Literal["proportion", "mean"]
EFFECTS: Mapping[Metric, float] = {"proportion": 0.2, "mean": 0.08}


@dataclass(frozen=True)
class Rule:
    """How an experiment is looked at.

    Args:
        metric: 5 % of units, or lognormal amounts.
        sequence: a confidence sequence; else O'Brien-Fleming bounds by Lan and DeMets.
        uneven: looks at uneven steps of information, others in each seed; else each after 250 units
            of an arm.
        power: of the research tables; None where these have none.
    """

    metric: Metric
    sequence: bool = False
    uneven: bool = False
    power: float | None = None


RULES: Mapping[str, Rule] = {
    "O'Brien-Fleming, proportion": Rule("proportion", power=0.578),
    "O'Brien-Fleming, mean": Rule("mean", power=0.828),
    "O'Brien-Fleming, uneven looks, proportion": Rule("proportion", uneven=True),
    "O'Brien-Fleming, uneven looks, mean": Rule("mean", uneven=True),
    "confidence sequence, proportion": Rule("proportion", sequence=True, power=0.284),
    "confidence sequence, mean": Rule("mean", sequence=True, power=0.557),
}


def answered(name: str, seed: int) -> dict[str, object]:
    """Counts over the experiments of a seed, without an effect and with one."""
    rule = RULES[name]
    units = _units(seed, uneven=rule.uneven)
    multipliers = (
        [sequence_multiplier(2 * n) for n in units]
        if rule.sequence
        else bounds([n / UNITS for n in units])
    )
    counts: dict[str, object] = {"of": BATCH}
    for side, effect in ((0, 0.0), (1, EFFECTS[rule.metric])):
        random = np.random.default_rng([seed, side])
        false = found = covered = always = 0
        stops = 0.0
        for _ in range(BATCH):
            intervals = [
                lift.widened(multiplier)
                for lift, multiplier in zip(
                    _lifts(random, rule.metric, effect, units), multipliers, strict=True
                )
            ]
            decided = next(
                (at for at, (low, high) in enumerate(intervals) if low > 0 or high < 0), None
            )
            stop = LOOKS - 1 if decided is None else decided
            false += decided is not None
            found += decided is not None and intervals[stop][0] > 0
            covered += intervals[stop][0] <= effect <= intervals[stop][1]
            always += all(low <= effect <= high for low, high in intervals)
            stops += units[stop] / UNITS
        if side == 0:
            counts |= {"false": false}
        else:
            counts |= {"found": found, "covered": covered, "always": always, "stops": stops}
    return counts


def _units(seed: int, *, uneven: bool) -> list[int]:
    """The units of an arm at each look."""
    if not uneven:
        return [UNITS * (look + 1) // LOOKS for look in range(LOOKS)]
    cuts = np.sort(
        np.random.default_rng([seed, 2]).choice(np.arange(100, UNITS, 50), LOOKS - 1, replace=False)
    )
    return [*cuts.tolist(), UNITS]


def _lifts(
    random: np.random.Generator, metric: Metric, effect: float, units: list[int]
) -> list[RelativeLift]:
    """The lift at each look, from sums that are added up; at looks without an outcome in an arm,
    one that says nothing.
    """
    arms = []
    for more in (0.0, effect):
        value = (
            (random.random(UNITS) < 0.05 * (1 + more)).astype(float)
            if metric == "proportion"
            else np.exp(random.standard_normal(UNITS)) * (1 + more)
        )
        arms.append(value)
    so_far: list[ArmMoments] = [arm_moments(np.empty(0)) for _ in arms]
    lifts, start = [], 0
    for end in units:
        so_far = [
            known + arm_moments(value[start:end]) for known, value in zip(so_far, arms, strict=True)
        ]
        empty = any(not known.mean[0] > 0 for known in so_far)
        lifts.append(RelativeLift(0.0, 0.0, 0.0, 10.0) if empty else unit_lift(*so_far))
        start = end
    return lifts
