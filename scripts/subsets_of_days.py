"""How much a lift varies between training periods, next to what refits on random subsets of one
period's days say of it.

    .venv/bin/python scripts/subsets_of_days.py [PERIODS]

A logistic regression at two freshness levels, of a state that is read every ten minutes; the AUC of
both on one large test. Four subsets of m of n days, without replacement, whose variance is
multiplied by m / (n - m). Decision 0121 has the table.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

PER_DAY, TEST_DAYS, MACHINES, STEPS = 150, 150, 6, 144
SHARES = {
    "half": lambda n: n // 2,
    "three quarters": lambda n: 3 * n // 4,
    "seven eighths": lambda n: n - max(1, n // 8),
}
WORLDS = {
    "8 days": (8, 1.0),
    "8 days, no information": (8, 0.0),
    "24 days": (24, 1.0),
}


@dataclass(frozen=True)
class Period:
    """day, bad: (rows,). stale, fresh: (rows, 2), what a model reads at each level."""

    day: np.ndarray
    bad: np.ndarray
    stale: np.ndarray
    fresh: np.ndarray


def period(seed: int, days: int, effect: float, half_life: float = 12.0) -> Period:
    """A period of so many days; readings of the daily level are of the last night, from 4:00 on."""
    random, steps, n = np.random.default_rng(seed), days * STEPS, days * PER_DAY
    seconds, machine, amount = (
        np.sort(random.random(n)) * days * 86_400,
        random.integers(0, MACHINES, n),
        random.normal(size=n),
    )
    kept = 2.0 ** (-1 / 6 / half_life)
    noise = random.normal(size=(steps, MACHINES)) * np.sqrt(1 - kept * kept)
    noise[0] = random.normal(size=MACHINES)
    state = lfilter([1], [1, -kept], noise, axis=0)
    now, day = (seconds // 600).astype(int), (seconds // 86_400).astype(int)
    logit = -0.8 + 0.5 * amount + random.normal(0, 0.2, days)[day] + effect * state[now, machine]
    bad = random.random(n) < expit(logit)
    night = np.clip((((seconds - 14_400) // 86_400) * STEPS).astype(int) - 1, 0, None)
    return Period(
        day,
        bad,
        np.column_stack([amount, state[night, machine]]),
        np.column_stack([amount, state[now, machine]]),
    )


def auc(bad: np.ndarray, score: np.ndarray) -> float:
    """The area under the ROC curve."""
    positives = bad.sum()
    return float(
        (rankdata(score)[bad].sum() - positives * (positives + 1) / 2)
        / (positives * (len(bad) - positives))
    )


def lift(train: Period, test: Period, days: np.ndarray) -> float:
    """AUC of the fresh level minus that of the stale one, both trained on these days."""
    rows = np.isin(train.day, days)
    stale, fresh = (
        auc(test.bad, LogisticRegression().fit(of[rows], train.bad[rows]).decision_function(there))
        for of, there in ((train.stale, test.stale), (train.fresh, test.fresh))
    )
    return fresh - stale


def main(periods: int) -> None:
    """Print the standard deviation between periods, and the ratio to it of what subsets say: root
    mean square, and median.
    """
    for name, (days, effect) in WORLDS.items():
        test, lifts = period(1_000_000, TEST_DAYS, effect), []
        variances: dict[str, list[float]] = {share: [] for share in SHARES}
        for seed in range(periods):
            train, random = period(seed, days, effect), np.random.default_rng(seed)
            lifts.append(lift(train, test, np.arange(days)))
            for share, size in SHARES.items():
                m = size(days)
                again = [lift(train, test, random.choice(days, m, replace=False)) for _ in range(4)]
                variances[share].append(float(np.var(again, ddof=1)) * m / (days - m))
        true = float(np.std(lifts))
        ratios = "; ".join(
            f"{share} {np.sqrt(np.mean(of)) / true:.2f}, median {np.sqrt(np.median(of)) / true:.2f}"
            for share, of in variances.items()
        )
        print(f"{name}: standard deviation {true:.4f}; {ratios}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
