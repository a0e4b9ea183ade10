"""How often a backtest claims a lift or a harm between two levels that are equally good, each time
in a fresh world with other seeds.

    .venv/bin/python scripts/equal_levels.py [RUNS] [--seeds 1] [--days 4] [--from 0]

The levels differ in a view of noise alone. The estimator is a small one that draws at random and
learns some of the noise, each time other
noise: `--days 0` shows what intervals say that leave training out, and `--days 4` what the refits
of a backtest add.
"""

from __future__ import annotations

import argparse
import time

import lightgbm

import headwater as hw
from bench.validation.scenarios import equal_levels
from headwater.definitions.evaluations import Refits

METRICS = ("auc", "log_loss", "average_precision")


def small(leaves: int = 7) -> lightgbm.LGBMClassifier:
    """A fit of a few milliseconds that depends on its seed."""
    return lightgbm.LGBMClassifier(
        n_estimators=15, num_leaves=leaves, learning_rate=0.15, min_child_samples=20, subsample=0.6, subsample_freq=1,
        colsample_bytree=0.6, n_jobs=1, deterministic=True, force_col_wise=True, verbose=-1,
    )  # fmt: skip


def claims(run: int, refits: Refits, resamples: int = 500) -> dict[str, str]:
    """The verdict of one run, by metric."""
    model, levels = equal_levels(run, estimator=small())
    found = hw.backtest(
        model,
        levels=levels,
        evaluation=hw.Evaluation(
            split="2024-03-24T00:00Z",
            metrics=METRICS,
            min_lift=dict.fromkeys(METRICS, 0.0),
            refits=refits,
            resamples=resamples,
            seed=run,
            cold_start=0,
        ),
        resources=hw.Resources(threads=1),
    )  # fmt: skip
    return {step.metric: step.verdict for step in found.result.comparisons}


def main() -> None:
    """Run, and print how often each metric claimed something."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="?", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--days", type=int, default=4)
    parser.add_argument("--from", type=int, default=0, dest="first")
    given = parser.parse_args()
    refits = Refits(given.days, given.seeds)
    began = time.perf_counter()
    verdicts = [claims(run, refits) for run in range(given.first, given.first + given.runs)]
    for metric in METRICS:
        lifts, harms = (sum(one[metric] == kind for one in verdicts) for kind in ("LIFT", "harm"))
        share = (lifts + harms) / given.runs
        error = (share * (1 - share) / given.runs) ** 0.5
        print(
            f"{metric}: {lifts} lifts and {harms} harms in {given.runs} runs, {share:.1%} "
            f"(standard error {error:.1%})"
        )
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
