"""How often `watch` withdraws promises that are kept, and those of a leak, where days depend on the
days before.

    python -m bench.validation.promises --worlds 400 --weeks 26

A world has one series of days. The effect of a day on how well scores separate the classes is an
autoregression of order 1. The first days are the backtest's test period, whose interval is the
promise, plus what a leak was worth; the next weeks are served. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, ClassVar

import msgspec
import numpy as np
import polars as pl

from headwater.backtesting import delivery_weeks
from headwater.backtesting.delivered_rows import DeliveredRows
from headwater.backtesting.delivery_weeks import WEEK, Weeks
from headwater.backtesting.intervals import evaluate, resample_weights
from headwater.definitions.checks import DAY
from headwater.metrics import resolve
from headwater.results.estimate import Estimate
from headwater.results.promise_result import Promise

RHOS, LEAKS = (0.0, 0.3, 0.6), (0.0, 0.03, 0.1, 0.2)
_MONDAY = 19_844 * DAY


def served(
    seed: int, rho: float, weeks: int, *, tested: int = 42, per_day: int = 60, sd: float = 0.25
) -> tuple[Promise, DeliveredRows, float]:
    """A promise without a leak, the rows that were served after its test period, and the
    correlation of the days' effects.
    """
    rng = np.random.default_rng((seed, round(rho * 100)))
    days = tested + 7 * weeks
    effect = np.empty(days)
    effect[0] = rng.normal()
    for day in range(1, days):
        effect[day] = rho * effect[day - 1] + np.sqrt(1 - rho**2) * rng.normal()
    day = np.repeat(np.arange(days), per_day)
    y = (rng.random(len(day)) < 0.4).astype(float)
    score = (1.0 + sd * effect)[day] * y + rng.normal(size=len(day))
    (auc,) = resolve(["auc"], "binary")
    test = day < tested
    found = evaluate(
        [auc], y[test], {"a": score[test]}, resample_weights(day[test], 1000, successive=True)
    )
    value, spread = found.estimates("a")["auc"], found.spread(0, 0)
    promise = Promise(
        "m", "live", "", "auc", bool(auc.higher_is_better), value, 0.005, tested, "days", "", "", "", int(test.sum()), 0.0, "f", "l", "", "", spread.freedom
    )  # fmt: skip
    late = ~test
    t = _MONDAY + (day[late] - tested).astype(np.int64) * DAY + DAY // 2
    known = np.ones(int(late.sum()), np.bool_)
    rows = DeliveredRows(
        t,
        known,
        y[late],
        score[late],
        ~known,
        pl.Series(["1"] * len(t)),
        pl.DataFrame({"t": t}),
        {},
    )  # type: ignore[arg-type]
    return promise, rows, rho


class _Cached(Weeks):
    """Weeks whose evaluations are kept, so that promises of other heights read them again."""

    kept_evaluations: ClassVar[dict[bytes, Any]] = {}

    def _evaluated(self, mask: Any, blocks: Any) -> Any:
        key = mask.tobytes() + bytes([blocks.weights.shape[1] > 1])
        if key not in self.kept_evaluations:
            self.kept_evaluations[key] = super()._evaluated(mask, blocks)
        return self.kept_evaluations[key]


def missed(seed: int, rho: float, weeks: int, leaks: tuple[float, ...] = LEAKS) -> list[int]:
    """The number of the judged week in which each leak is found, 0 for none: one for each of
    `leaks`.
    """
    delivery_weeks.RESAMPLES = 500
    promise, rows, _ = served(seed, rho, weeks)
    (auc,) = resolve(["auc"], "binary")
    found = []
    _Cached.kept_evaluations.clear()
    for leak in leaks:
        high = Estimate(
            *(
                end + leak
                for end in (promise.promised.value, promise.promised.low, promise.promised.high)
            )
        )
        judged = _Cached(
            msgspec.structs.replace(promise, promised=high),
            auc,
            rows,
            0,
            _MONDAY + weeks * WEEK,
            [],
        ).judged()
        found.append(next((n for n, week in enumerate(judged, 1) if week.state == "missed"), 0))
    return found


def main() -> None:
    """Print a row of JSON for each correlation: the share of promises withdrawn, and the median
    week of it, by leak.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--weeks", type=int, default=26)
    parser.add_argument(
        "--first",
        type=int,
        default=10_000,
        help="the first seed; the rule was chosen on seeds 0 to 239",
    )
    args = parser.parse_args()
    with ProcessPoolExecutor(2) as pool:
        for rho in RHOS:
            found = np.array(
                list(
                    pool.map(
                        partial(missed, rho=rho, weeks=args.weeks),
                        range(args.first, args.first + args.worlds),
                        chunksize=10,
                    )
                )
            )
            share = {
                leak: round(float((found[:, n] > 0).mean()), 4) for n, leak in enumerate(LEAKS)
            }
            week = {
                leak: float(np.median(found[found[:, n] > 0, n]))
                if (found[:, n] > 0).any()
                else None
                for n, leak in enumerate(LEAKS)
            }
            print(
                json.dumps(
                    {
                        "correlation": rho,
                        "worlds": args.worlds,
                        "weeks": args.weeks,
                        "withdrawn": share,
                        "median_week": week,
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
