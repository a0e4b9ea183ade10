"""Coverage and width of 95 % intervals of a mean over days that depend on one another, by how many
slow waves the error is read off.

    .venv/bin/python scripts/slow_waves.py [RUNS]

Days are a process of the first order under noise. Blocks are chosen as a backtest chooses them.
Decision 0120 has the table.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping

import numpy as np
from scipy.signal import lfilter
from scipy.special import stdtrit

from headwater.backtesting.row_blocks import MIN_BLOCKS
from headwater.kernel.arrays import F64, I64

WORLDS = [(n, 0.0, 0.0) for n in (20, 28, 56, 60, 140)] + [
    (n, correlation, noise)
    for correlation, noise in ((0.6, 1.5), (0.6, 0.5), (0.8, 2.0), (0.8, 1.0), (0.8, 0.0))
    for n in (28, 56, 140)
]  # fmt: skip


def usual(blocks: int) -> int:
    """The waves of blocks that were not shown to depend on one another."""
    return min(blocks - 1, max(6, math.ceil(math.sqrt(blocks))))


# waves, of the length of blocks in days and their number
RULES: Mapping[str, Callable[[int, int], int]] = {
    "usual": lambda _, blocks: usual(blocks),
    "five if longer": lambda length, blocks: 5 if length > 1 else usual(blocks),
    "four if longer": lambda length, blocks: 4 if length > 1 else usual(blocks),
    "three if longer": lambda length, blocks: 3 if length > 1 else usual(blocks),
    "root, at least four, if longer": lambda length, blocks: (
        max(4, math.ceil(math.sqrt(blocks))) if length > 1 else usual(blocks)
    ),
}


def simulated(
    random: np.random.Generator, runs: int, days: int, correlation: float, noise: float
) -> F64:
    """float64 (runs, days), of mean 0."""
    fresh = random.normal(size=(runs, days))
    fresh[:, 1:] *= math.sqrt(1 - correlation**2)
    return np.asarray(
        lfilter([1.0], [1.0, -correlation], fresh, axis=1)
        + noise * random.normal(size=(runs, days)),
        np.float64,
    )


def blocked(days: F64, length: int) -> F64:
    """Means of successive days: float64 (runs, blocks)."""
    whole = days.shape[1] // length * length
    return np.asarray(days[:, :whole].reshape(len(days), -1, length).mean(axis=2), np.float64)


def lengths(days: F64) -> I64:
    """The days in a block, int64 (runs,): the shortest whose successive blocks are not correlated,
    else the longest that leaves eight.
    """
    tried = [length for length in (1, 2, 3, 7, 14, 28) if days.shape[1] // length >= MIN_BLOCKS]
    chosen = np.zeros(len(days), np.int64)
    for length in tried:
        centred = blocked(days, length)
        centred = centred - centred.mean(axis=1, keepdims=True)
        r = (centred[:, 1:] * centred[:, :-1]).mean(axis=1) / (centred**2).mean(axis=1)
        chosen[(chosen == 0) & (r <= 1.64 / math.sqrt(centred.shape[1] - 1))] = length
    chosen[chosen == 0] = tried[-1]
    return chosen


def half_widths(blocks: F64, waves: int) -> F64:
    """Of Student's interval, float64 (runs,)."""
    n = blocks.shape[1]
    cosines = np.sqrt(2 / n) * np.cos(
        np.pi * np.outer(np.arange(n) + 0.5, np.arange(1, waves + 1)) / n
    )
    return np.asarray(
        np.sqrt(((blocks @ cosines) ** 2).mean(axis=1) / n) * stdtrit(waves, 0.975), np.float64
    )


def main(runs: int) -> None:
    """Print a line for each world: coverage, and half width in standard deviations of the mean."""
    random = np.random.default_rng(1)
    for days, correlation, noise in WORLDS:
        series = simulated(random, runs, days, correlation, noise)
        means, chosen = series.mean(axis=1), lengths(series)
        cells = []
        for name, rule in RULES.items():
            half = np.zeros(runs)
            for length in np.unique(chosen):
                blocks = blocked(series[chosen == length], int(length))
                half[chosen == length] = half_widths(blocks, rule(int(length), blocks.shape[1]))
            cells.append(
                f"{name} {np.mean(np.abs(means) <= half):.1%} {half.mean() / means.std():.2f}"
            )
        four = np.maximum(half_widths(series, usual(days)), half_widths(series, 4))
        cells.append(
            f"four for all, if wider {np.mean(np.abs(means) <= four):.1%} "
            f"{four.mean() / means.std():.2f}"
        )
        print(
            f"{days} days, correlation {correlation}, noise {noise}, longer "
            f"{np.mean(chosen > 1):.0%}: {'; '.join(cells)}",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
