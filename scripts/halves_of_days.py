"""How much a model varies between training periods, and between random halves and bootstraps of the
days of one period.

    .venv/bin/python scripts/halves_of_days.py [PERIODS]

A linear model with effects of its days, trained on 40 days: its first coefficient, and its mean
absolute error on a large test.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

DAYS, ROWS, COLUMNS, DRAWS = 40, 60, 6, 8


def period(rng: np.random.Generator, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inputs (days, rows, columns) and outcomes (days, rows) of one training period."""
    x = rng.normal(size=(DAYS, ROWS, COLUMNS)) + 0.5 * rng.normal(size=(DAYS, 1, COLUMNS))
    y = (
        (x * (beta + 0.3 * rng.normal(size=(DAYS, 1, COLUMNS)))).sum(-1)
        + rng.normal(size=(DAYS, ROWS))
        + 0.5 * rng.normal(size=(DAYS, 1))
    )
    return x, y


def fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The coefficients (columns,)."""
    flat = x.reshape(-1, COLUMNS)
    return np.linalg.solve(flat.T @ flat + np.eye(COLUMNS), flat.T @ y.ravel())


def main() -> None:
    """Print the standard deviations."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("periods", nargs="?", type=int, default=300)
    periods = parser.parse_args().periods
    rng = np.random.default_rng(0)
    beta, test = rng.normal(size=COLUMNS), rng.normal(size=(20_000, COLUMNS))
    truth = test @ beta + rng.normal(size=len(test))
    draws: dict[str, Callable[[], np.ndarray]] = {
        "halves": lambda: rng.choice(DAYS, DAYS // 2, replace=False),
        "bootstraps": lambda: rng.integers(0, DAYS, DAYS),
    }

    def measured(b: np.ndarray) -> tuple[float, float]:
        return float(b[0]), float(np.abs(truth - test @ b).mean())

    between, within = [], {name: [] for name in draws}
    for _ in range(periods):
        x, y = period(rng, beta)
        between.append(measured(fit(x, y)))
        for name, draw in draws.items():
            chosen = [draw() for _ in range(DRAWS)]
            within[name].append(
                np.var([measured(fit(x[days], y[days])) for days in chosen], axis=0, ddof=1)
            )
    print("standard deviation of:  coefficient  error")
    print("between periods        {:12.4f} {:6.4f}".format(*np.std(between, axis=0, ddof=1)))
    for name, variances in within.items():
        print(
            f"between {name:14} {{:12.4f}} {{:6.4f}}".format(*np.sqrt(np.mean(variances, axis=0)))
        )


if __name__ == "__main__":
    main()
