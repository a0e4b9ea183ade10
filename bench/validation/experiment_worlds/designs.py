"""What each design of an experiment makes of a world: its estimate of the lift, run after run, next
to the truth.

A design turns into the treated share of every market and step; many runs are simulated together as
so many more markets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.validation.experiment_worlds.world import ArmTotals, World
from headwater.experiments.cluster_lift import cluster_lift
from headwater.experiments.relative_lift import RelativeLift
from headwater.experiments.switchback_lift import SwitchbackBuckets, switchback_lift
from headwater.kernel.arrays import F64, I64, Bool

_COVERED = 0.93


def within_cluster_lift(control: tuple[F64, F64], treated: tuple[F64, F64]) -> RelativeLift:
    """The lift of an A/B test inside each cluster: the mean of the clusters' log ratios, by a t
    test.

    Args:
        control: numerators and denominators of the clusters' control units.
        treated: the same of their treated units.
    """
    rates = [numerator / denominator for numerator, denominator in (control, treated)]
    logs = np.log(rates[1] / rates[0])
    se = float(logs.std(ddof=1) / math.sqrt(len(logs)))
    return RelativeLift(
        float(rates[0].mean()), float(rates[1].mean()), float(logs.mean()), se, len(logs) - 1
    )


@dataclass(frozen=True)
class DesignResult:
    """Estimates of one design.

    Args:
        design: its name.
        lifts: float64, one for each run.
        covered: the share of runs whose 95 % interval holds the truth.
        above: the share whose interval lies above 0.
        below: the share whose interval lies below 0.
        truth: the world's.
    """

    design: str
    lifts: F64
    covered: float
    above: float
    below: float
    truth: float

    @property
    def mean(self) -> float:
        """The mean estimate."""
        return float(self.lifts.mean())

    @property
    def recovers(self) -> bool:
        """Whether the runs agree, within three standard errors, with intervals that hold the truth
        in 93 % of experiments or more.
        """
        return self.covered >= _COVERED - 3 * math.sqrt(_COVERED * (1 - _COVERED) / len(self.lifts))

    @property
    def bias(self) -> float:
        """The mean estimate less the truth."""
        return self.mean - self.truth


def truth(world: World, runs: int, seed: int) -> float:
    """The lift of all treated over none, after the burn-in, pooled over runs."""
    rates = []
    for share in (0.0, 1.0):
        totals = world.simulate(
            np.full((runs * world.markets, world.steps), share), np.random.default_rng([seed, 0])
        )
        rates.append(totals.value[:, world.burn_in :].sum() / totals.base[:, world.burn_in :].sum())
    return float(rates[1] / rates[0] - 1)


def by_backtest(world: World, runs: int, seed: int) -> list[RelativeLift]:
    """What backtests promise."""
    return [world.backtest(np.random.default_rng([seed, 1, run])) for run in range(runs)]


def by_unit(world: World, runs: int, seed: int) -> list[RelativeLift]:
    """A/B test by unit: half of every market's units are treated."""
    totals = world.simulate(
        np.full((runs * world.markets, world.steps), 0.5), np.random.default_rng([seed, 2])
    )
    counted = slice(world.burn_in, None)
    sums = [part[:, counted].sum(axis=1).reshape(runs, -1) for part in _parts(totals)]
    return [
        within_cluster_lift((sums[0][run], sums[1][run]), (sums[2][run], sums[3][run]))
        for run in range(runs)
    ]


def by_cluster(
    world: World, runs: int, seed: int, steps: slice | None = None
) -> list[RelativeLift]:
    """Half of the markets are treated throughout; read after the burn-in, or on the given steps."""
    random = np.random.default_rng([seed, 3])
    order = np.argsort(random.random((runs, world.markets)), axis=1)
    treated = order < world.markets // 2
    totals = world.simulate(
        np.repeat(treated.reshape(-1, 1), world.steps, axis=1).astype(float), random
    )
    counted = steps or slice(world.burn_in, None)
    value, base = (
        part[:, counted].sum(axis=1).reshape(runs, -1) for part in (totals.value, totals.base)
    )
    return [cluster_lift(value[run], base[run], treated[run]) for run in range(runs)]


def by_switchback(
    world: World, runs: int, seed: int, length: int, washout: int, *, random_bounds: bool = False
) -> list[RelativeLift]:
    """Every market gets a fair coin for each bucket.

    Args:
        world: the world.
        runs: how many experiments.
        seed: of the randomness.
        length: of a bucket, in steps.
        washout: steps that are left out at the start of each bucket.
        random_bounds: whether buckets are of lengths between half and one and a half of `length`,
            drawn for each market.
    """
    random = np.random.default_rng([seed, 4])
    plans = [
        _schedule(world, length, washout, random, random_bounds=random_bounds) for _ in range(runs)
    ]
    totals = world.simulate(np.concatenate([plan.treated for plan in plans]).astype(float), random)
    value, base = (
        part.reshape(runs, world.markets, world.steps) for part in (totals.value, totals.base)
    )
    return [switchback_lift(plan.sums(value[run], base[run])) for run, plan in enumerate(plans)]


@dataclass(frozen=True)
class _Schedule:
    """Of one switchback: the arm of each market and step, steps to keep, and the bucket of each
    step where markets share them.
    """

    treated: Bool
    kept: Bool
    of_step: I64 | None

    def sums(self, value: F64, base: F64) -> SwitchbackBuckets:
        if self.of_step is None:
            seen = self.kept.any(axis=0)
            return SwitchbackBuckets(
                value[:, seen], base[:, seen], self.treated[:, seen], self.kept[:, seen]
            )
        steps = np.flatnonzero(self.kept[0])
        first = np.flatnonzero(np.diff(self.of_step[steps], prepend=-1))
        value, base = (np.add.reduceat(part[:, steps], first, axis=1) for part in (value, base))
        return SwitchbackBuckets(value, base, self.treated[:, steps[first]])


def _schedule(
    world: World, length: int, washout: int, random: np.random.Generator, *, random_bounds: bool
) -> _Schedule:
    steps = np.arange(world.steps)
    late = steps >= max(world.steps_a_day, length)
    if not random_bounds:
        of_step = np.minimum(steps // length, world.steps // length - 1)
        whole = steps < world.steps // length * length
        treated = (random.random((world.markets, world.steps // length)) < 0.5)[:, of_step]
        counted = late & whole & (steps % length >= washout)
        return _Schedule(treated, np.tile(counted, (world.markets, 1)), of_step)
    treated, counted = np.zeros((2, world.markets, world.steps), bool)
    for market in range(world.markets):
        starts = bucket_starts(world.steps, length, random)
        of_step = np.searchsorted(starts, steps, side="right") - 1
        treated[market] = (random.random(len(starts)) < 0.5)[of_step]
        counted[market] = late & (steps - starts[of_step] >= washout)
    return _Schedule(treated, counted, None)


def bucket_starts(steps: int, length: int, random: np.random.Generator) -> I64:
    """The first step of each bucket, lengths drawn between half and one and a half of `length`, so
    that a bucket begins at any hour.
    """
    starts = [0]
    while starts[-1] < steps:
        starts.append(
            starts[-1] + int(random.integers(max(length // 2, 1), length + (length + 1) // 2 + 1))
        )
    return np.array(starts[:-1])


def judged(design: str, lifts: Sequence[RelativeLift], true_lift: float) -> DesignResult:
    """The estimates of a design next to the truth."""
    intervals = np.array([lift.interval() for lift in lifts])
    low, high = intervals[:, 0], intervals[:, 1]
    covered: Bool = (low <= true_lift) & (true_lift <= high)
    return DesignResult(
        design,
        np.array([lift.lift for lift in lifts]),
        float(covered.mean()),
        float((low > 0).mean()),
        float((high < 0).mean()),
        true_lift,
    )


Design = Callable[[World, int, int], list[RelativeLift]]


def _parts(totals: ArmTotals) -> tuple[F64, F64, F64, F64]:
    return totals.control_value, totals.control_base, totals.treated_value, totals.treated_base
