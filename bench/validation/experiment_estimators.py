"""Each estimator of lift on data whose true lift is known: false positives where there is none,
coverage and power where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from headwater.experiments.arm_moments import ArmMoments, arm_moments, post_stratified, unit_lift
from headwater.experiments.cluster_lift import cluster_lift
from headwater.experiments.switchback_lift import (
    SwitchbackBuckets,
    switchback_lift,
    switchback_randomisation_p,
)
from headwater.experiments.team_draft import preference

BATCH = 200  # experiments of one seed
UNITS = 2_000  # of an arm
SCHEDULES = 199
_NULL, _LIFT = 0, 1


@dataclass(frozen=True)
class Found:
    """What one experiment says: its p-value, whether the estimate lies above no effect, and whether
    the interval holds the truth.
    """

    p_value: float
    above: bool
    covers: bool


@dataclass(frozen=True)
class Measured:
    """An estimator and its data.

    Args:
        one: an experiment with an effect (0.1 for ten percent more; 0 for none).
        effect: for coverage and power.
        power: of the same data in the research tables; None where these have none.
    """

    one: Callable[[np.random.Generator, float], Found]
    effect: float = 0.1
    power: float | None = None


def answered(name: str, seed: int) -> dict[str, object]:
    """Counts over the experiments of a seed, half of them without an effect."""
    measured = ESTIMATORS[name]
    counts: dict[str, object] = {"of": BATCH}
    for side, effect in ((_NULL, 0.0), (_LIFT, measured.effect)):
        random = np.random.default_rng([seed, side])
        found = [measured.one(random, effect) for _ in range(BATCH)]
        rejected = [of for of in found if of.p_value < 0.05]
        if side == _NULL:
            counts |= {"false": len(rejected), "false_above": sum(of.above for of in rejected)}
        else:
            counts |= {"covered": sum(of.covers for of in found), "found": len(rejected)}
    return counts


# ---------------------------------------------------------------- units


def proportion(random: np.random.Generator, effect: float) -> tuple[ArmMoments, ArmMoments]:
    """5 % of units have the outcome."""
    control, treated = (
        arm_moments((random.random(UNITS) < 0.05 * (1 + e)).astype(float)) for e in (0.0, effect)
    )
    return control, treated


def amount(random: np.random.Generator, effect: float) -> tuple[ArmMoments, ArmMoments]:
    """Lognormal amounts."""
    control, treated = (
        arm_moments(np.exp(random.standard_normal(UNITS)) * (1 + e)) for e in (0.0, effect)
    )
    return control, treated


def with_history(random: np.random.Generator, effect: float) -> tuple[ArmMoments, ArmMoments]:
    """Amounts that a unit's own history explains to nine tenths."""

    def arm(more: float) -> ArmMoments:
        before = random.normal(10, 3, UNITS)
        return arm_moments((before + 3 * random.standard_normal(UNITS)) * (1 + more), before=before)

    return arm(0.0), arm(effect)


def ratio(random: np.random.Generator, effect: float) -> tuple[ArmMoments, ArmMoments]:
    """Successes over trials, where units differ in both."""

    def arm(more: float) -> ArmMoments:
        trials = 1 + random.poisson(np.exp(1 + 0.8 * random.standard_normal(UNITS)))
        return arm_moments(
            random.binomial(trials, np.minimum(random.beta(1, 9, UNITS) * (1 + more), 1)).astype(
                float
            ),
            trials.astype(float),
        )

    return arm(0.0), arm(effect)


def strata(random: np.random.Generator, effect: float) -> list[tuple[ArmMoments, ArmMoments]]:
    """A fifth of the units are new and have a fifth of the outcome; treatment helps all alike."""
    arms = []
    for more in (0.0, effect):
        new = random.random(UNITS) < 0.2
        value = np.exp(random.standard_normal(UNITS)) * np.where(new, 0.2, 1.0) * (1 + more)
        arms.append((arm_moments(value[new]), arm_moments(value[~new])))
    return list(zip(*arms, strict=True))


def _of_units(
    draw: Callable[[np.random.Generator, float], tuple[ArmMoments, ArmMoments]],
) -> Callable[[np.random.Generator, float], Found]:
    def one(random: np.random.Generator, effect: float) -> Found:
        lift = unit_lift(*draw(random, effect))
        low, high = lift.interval()
        return Found(lift.p_value, lift.lift > 0, low <= effect <= high)

    return one


def _post_stratified(random: np.random.Generator, effect: float) -> Found:
    lift = post_stratified(strata(random, effect))
    low, high = lift.interval()
    return Found(lift.p_value, lift.lift > 0, low <= effect <= high)


# ---------------------------------------------------------------- clusters and buckets


def _clusters(count: int) -> Callable[[np.random.Generator, float], Found]:
    """Clusters of uneven size whose rates differ by a tenth; half of them are treated."""

    def one(random: np.random.Generator, effect: float) -> Found:
        treated = random.permutation(count) < count // 2
        base = random.poisson(np.exp(random.normal(7, 0.3, count))).astype(float)
        rate = np.clip(0.1 * np.exp(random.normal(0, 0.1, count)) * (1 + effect * treated), 0, 1)
        lift = cluster_lift(random.binomial(base.astype(int), rate).astype(float), base, treated)
        low, high = lift.interval()
        return Found(lift.p_value, lift.lift > 0, low <= effect <= high)

    return one


def buckets(
    random: np.random.Generator, effect: float, regions: int, times: int
) -> SwitchbackBuckets:
    """A switchback whose regions differ, with shocks that last (AR(1) of 0.7) and shocks that all
    regions share.
    """
    shocks = np.zeros((regions, times))
    now = random.standard_normal(regions) / math.sqrt(1 - 0.7**2)
    for time in range(times):
        shocks[:, time] = now
        now = 0.7 * now + random.standard_normal(regions)
    logs = (
        0.3 * random.standard_normal((regions, 1))
        + 0.1 * random.standard_normal((1, times))
        + 0.03 * shocks
    )
    treated = random.random((regions, times)) < 0.5
    base = random.poisson(1_000.0, (regions, times))
    rate = np.clip(0.1 * np.exp(logs) * (1 + effect * treated), 0, 1)
    return SwitchbackBuckets(random.binomial(base, rate).astype(float), base.astype(float), treated)


def _switchback(regions: int, times: int) -> Callable[[np.random.Generator, float], Found]:
    def one(random: np.random.Generator, effect: float) -> Found:
        lift = switchback_lift(buckets(random, effect, regions, times))
        low, high = lift.interval()
        return Found(lift.p_value, lift.lift > 0, low <= effect <= high)

    return one


def _randomised(random: np.random.Generator, effect: float) -> Found:
    """The randomisation p; the interval next to it is that of the two-way estimate."""
    rows = buckets(random, effect, 6, 48)
    drawn = random.random((SCHEDULES, *rows.treated.shape)) < 0.5
    lift = switchback_lift(rows)
    low, high = lift.interval()
    # p is a multiple of 1/200: below .05 is at most .045, so the level is that of p <= .05
    return Found(
        switchback_randomisation_p(rows, list(drawn)) - 1e-9, lift.lift > 0, low <= effect <= high
    )


# ---------------------------------------------------------------- lists and actions


def _interleaving(random: np.random.Generator, effect: float) -> Found:
    """1,000 units with lists of their own; a unit's clicks prefer a team more or less."""
    units = 1_000
    lists = random.poisson(2.0, units)
    tastes = np.clip(0.5 + effect / 2 + random.normal(0, 0.15, units), 0, 1)
    wins = random.binomial(lists, tastes)
    ties = random.binomial(lists, 0.2) / 2  # of the other lists, counted half
    found = preference((lists - wins + ties).astype(float), (wins + ties).astype(float))
    low, high = found.interval()
    return Found(found.p_value, found.share > 0.5, low <= _preferred(effect) <= high)


_SHARES: dict[float, float] = {}


def _preferred(effect: float) -> float:
    """The true mean share of wins over units with a list, from a million units."""
    if effect not in _SHARES:
        random = np.random.default_rng(1)
        units = 1_000_000
        lists = random.poisson(2.0, units)
        tastes = np.clip(0.5 + effect / 2 + random.normal(0, 0.15, units), 0, 1)
        ties = random.binomial(lists, 0.2) / 2
        seen = lists > 0
        _SHARES[effect] = (
            float((((lists * tastes) + ties)[seen] / (lists + 2 * ties)[seen]).mean())
            if effect
            else 0.5
        )
    return _SHARES[effect]


ESTIMATORS: Mapping[str, Measured] = {
    "proportion": Measured(_of_units(proportion), power=0.124),
    "mean": Measured(_of_units(amount), power=0.643),
    "mean with CUPED": Measured(_of_units(with_history), power=1.0),
    "ratio": Measured(_of_units(ratio), power=0.402),
    "mean, post-stratified": Measured(_post_stratified),
    "10 clusters": Measured(_clusters(10)),
    "20 clusters": Measured(_clusters(20)),
    "40 clusters": Measured(_clusters(40)),
    "switchback, 20 regions, 48 buckets, t": Measured(_switchback(20, 48), effect=0.02),
    "switchback, 6 regions, 48 buckets, t": Measured(_switchback(6, 48), effect=0.02),
    "switchback, 6 regions, 48 buckets, randomisation": Measured(_randomised, effect=0.02),
    "interleaving preference": Measured(_interleaving, effect=0.06),
}
