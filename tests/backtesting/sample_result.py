"""A realistic backtest result: the five levels of the flights study (research/datasets.md 3.3 to
3.5).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import combinations, pairwise
from statistics import NormalDist
from typing import Literal

from headwater.backtesting.verdicts import verdict_of
from headwater.pages.recommending import with_recommendation
from headwater.results.audit_result import AuditResult, CheckNotRun
from headwater.results.backtest_result import (
    BacktestResult,
    Curves,
    LevelResult,
    SliceResult,
    TimeSplit,
)
from headwater.results.estimate import VERDICT_WORDS, Comparison, Estimate, Kind, Verdict

Task = Literal["binary", "regression"]

HIGHER = {
    "auc": True,
    "precision@10%": True,
    "recall@10%": True,
    "average_precision": True,
    "mae": False,
    "rmse": False,
}
MIN_LIFT = {
    "auc": 0.005,
    "precision@10%": 0.01,
    "recall@10%": 0.01,
    "average_precision": 0.01,
    "mae": 0.1,
    "rmse": 0.1,
}
METRICS: dict[Task, tuple[str, ...]] = {
    "binary": ("auc", "precision@10%", "recall@10%", "average_precision"),
    "regression": ("mae", "rmse"),
}
BASELINE = "daily"
_COLUMNS = ("auc", "average_precision", "precision@10%", "recall@10%", "mae", "rmse")
_LEVELS: tuple[tuple[str, Kind, str, float | None], ...] = (
    ("request only", "real-time", "no history; the request's own fields", None),
    ("daily", "batch", "every day at 00:00 America/New_York, published 4 h later", 57_600.0),
    ("hourly", "batch", "every hour, published 15 min later", 2_700.0),
    ("minute", "batch", "every minute, published 1 min later", 90.0),
    ("instant", "real-time", "at request time", 0.0),
)

# Copied from the study's tables: one line a level, then one a step. Only the last line of each,
# from request only to instant, is not in the study: its values are differences of the levels', its
# intervals are made up, as are the curves, the counts of each day and of the rows left out, and the
# delays of the labels.
_ALL = """
0.641 [0.627,0.656] | 0.300 [0.266,0.334] | 0.359 [0.315,0.403] | 0.180 [0.166,0.196] | 21.40 [19.82,23.17] | 38.88 [35.53,42.96]
0.660 [0.640,0.680] | 0.299 [0.260,0.345] | 0.351 [0.297,0.418] | 0.176 [0.158,0.197] | 20.84 [19.36,22.46] | 37.93 [34.56,41.60]
0.764 [0.749,0.780] | 0.525 [0.471,0.572] | 0.634 [0.554,0.704] | 0.318 [0.301,0.334] | 18.86 [17.70,20.18] | 34.91 [32.29,37.99]
0.776 [0.760,0.791] | 0.547 [0.494,0.594] | 0.660 [0.581,0.728] | 0.331 [0.314,0.348] | 18.56 [17.45,19.79] | 34.43 [31.91,37.42]
0.779 [0.764,0.794] | 0.551 [0.499,0.598] | 0.662 [0.582,0.733] | 0.332 [0.317,0.348] | 18.56 [17.45,19.80] | 34.39 [31.87,37.38]
+0.0189 [-0.0044,+0.0405] | -0.0012 [-0.0286,+0.0287] | -0.0072 [-0.0509,+0.0446] | -0.0036 [-0.0265,+0.0214] | -0.56 [-0.89,-0.29] | -0.95 [-1.43,-0.52]
+0.1039 [+0.0838,+0.1205] | +0.2261 [+0.1939,+0.2516] | +0.2823 [+0.2275,+0.3314] | +0.1416 [+0.1137,+0.1650] | -1.98 [-2.36,-1.61] | -3.02 [-3.81,-2.19]
+0.0116 [+0.0083,+0.0152] | +0.0220 [+0.0173,+0.0269] | +0.0265 [+0.0170,+0.0353] | +0.0133 [+0.0086,+0.0175] | -0.29 [-0.36,-0.25] | -0.48 [-0.60,-0.37]
+0.0030 [+0.0010,+0.0050] | +0.0041 [+0.0017,+0.0070] | +0.0024 [-0.0043,+0.0087] | +0.0012 [-0.0020,+0.0042] | -0.00 [-0.01,+0.01] | -0.04 [-0.05,-0.02]
+0.1374 [+0.1196,+0.1536] | +0.2511 [+0.2148,+0.2781] | +0.3040 [+0.2480,+0.3510] | +0.1524 [+0.1330,+0.1710] | -2.84 [-3.40,-2.31] | -4.49 [-5.62,-3.41]
"""
_COLD = """
0.587 [0.535,0.639] | 0.355 [0.274,0.442] | 0.417 [0.312,0.543] | 0.176 [0.140,0.228] | 26.41 [22.72,29.78] | 44.94 [36.18,51.38]
0.618 [0.566,0.668] | 0.336 [0.254,0.409] | 0.438 [0.326,0.530] | 0.185 [0.146,0.232] | 25.48 [21.87,28.57] | 44.31 [35.95,50.36]
0.750 [0.700,0.792] | 0.567 [0.476,0.641] | 0.719 [0.593,0.813] | 0.304 [0.256,0.361] | 23.61 [20.52,26.26] | 40.77 [33.64,45.82]
0.768 [0.722,0.808] | 0.587 [0.505,0.656] | 0.729 [0.594,0.824] | 0.308 [0.260,0.379] | 23.02 [19.88,25.70] | 40.03 [33.00,45.29]
0.767 [0.722,0.805] | 0.583 [0.493,0.654] | 0.688 [0.544,0.796] | 0.291 [0.240,0.346] | 23.06 [19.91,25.67] | 39.90 [32.87,45.04]
+0.0302 [-0.0188,+0.0746] | -0.0187 [-0.0814,+0.0463] | +0.0208 [-0.1346,+0.1405] | +0.0088 [-0.0581,+0.0596] | -0.93 [-1.50,-0.40] | -0.63 [-1.27,+0.07]
+0.1326 [+0.0910,+0.1731] | +0.2304 [+0.1611,+0.2943] | +0.2812 [+0.1607,+0.3982] | +0.1189 [+0.0689,+0.1819] | -1.87 [-2.59,-1.16] | -3.53 [-4.84,-1.99]
+0.0173 [-0.0022,+0.0359] | +0.0204 [-0.0065,+0.0476] | +0.0104 [-0.0441,+0.0889] | +0.0044 [-0.0179,+0.0413] | -0.59 [-0.81,-0.33] | -0.74 [-1.22,-0.30]
-0.0005 [-0.0148,+0.0176] | -0.0042 [-0.0251,+0.0162] | -0.0417 [-0.1277,+0.0346] | -0.0176 [-0.0573,+0.0143] | +0.04 [-0.07,+0.15] | -0.13 [-0.26,-0.00]
+0.1797 [+0.1310,+0.2280] | +0.2280 [+0.1480,+0.2950] | +0.2710 [+0.1300,+0.3980] | +0.1150 [+0.0520,+0.1750] | -3.35 [-4.40,-2.31] | -5.04 [-6.70,-2.90]
"""
_EARLY = """
0.595 [0.574,0.615] | 0.141 [0.119,0.169] | 0.168 [0.141,0.195] | 0.160 [0.144,0.176] | 14.55 [13.89,15.26] | 25.47 [23.69,27.21]
0.684 [0.655,0.712] | 0.209 [0.165,0.260] | 0.262 [0.206,0.325] | 0.250 [0.213,0.282] | 13.66 [13.00,14.33] | 24.40 [22.62,26.01]
0.687 [0.665,0.713] | 0.213 [0.174,0.257] | 0.269 [0.214,0.329] | 0.257 [0.217,0.290] | 13.32 [12.68,13.97] | 24.17 [22.39,25.86]
0.696 [0.671,0.724] | 0.228 [0.178,0.282] | 0.267 [0.218,0.332] | 0.254 [0.218,0.290] | 13.27 [12.66,13.90] | 24.17 [22.44,25.84]
0.702 [0.678,0.729] | 0.227 [0.185,0.275] | 0.273 [0.220,0.334] | 0.261 [0.230,0.294] | 13.31 [12.69,13.94] | 24.16 [22.41,25.84]
+0.0890 [+0.0552,+0.1188] | +0.0676 [+0.0365,+0.1059] | +0.0944 [+0.0500,+0.1406] | +0.0900 [+0.0489,+0.1207] | -0.90 [-1.20,-0.57] | -1.07 [-1.33,-0.83]
+0.0036 [-0.0131,+0.0214] | +0.0036 [-0.0204,+0.0338] | +0.0067 [-0.0268,+0.0468] | +0.0064 [-0.0260,+0.0405] | -0.33 [-0.47,-0.21] | -0.23 [-0.34,-0.13]
+0.0083 [-0.0006,+0.0180] | +0.0158 [-0.0009,+0.0332] | -0.0025 [-0.0208,+0.0181] | -0.0023 [-0.0200,+0.0162] | -0.06 [-0.12,+0.00] | -0.00 [-0.06,+0.06]
+0.0063 [-0.0006,+0.0128] | -0.0018 [-0.0132,+0.0111] | +0.0067 [-0.0086,+0.0228] | +0.0064 [-0.0082,+0.0219] | +0.04 [+0.01,+0.07] | -0.01 [-0.03,+0.02]
+0.1072 [+0.0700,+0.1440] | +0.0860 [+0.0480,+0.1290] | +0.1050 [+0.0560,+0.1590] | +0.1010 [+0.0560,+0.1410] | -1.24 [-1.55,-0.93] | -1.31 [-1.61,-1.01]
"""
_LATE = """
0.595 [0.573,0.613] | 0.353 [0.306,0.398] | 0.419 [0.358,0.473] | 0.152 [0.137,0.164] | 26.72 [24.11,29.52] | 46.09 [40.90,51.63]
0.587 [0.560,0.616] | 0.329 [0.284,0.385] | 0.343 [0.281,0.434] | 0.125 [0.105,0.147] | 26.56 [24.03,29.28] | 45.14 [40.25,49.63]
0.789 [0.768,0.809] | 0.646 [0.587,0.693] | 0.808 [0.737,0.852] | 0.294 [0.269,0.319] | 22.57 [20.76,24.51] | 39.37 [35.50,42.70]
0.804 [0.784,0.821] | 0.669 [0.614,0.713] | 0.832 [0.763,0.877] | 0.303 [0.277,0.326] | 22.12 [20.38,23.98] | 38.73 [35.00,42.03]
0.807 [0.788,0.825] | 0.672 [0.619,0.716] | 0.836 [0.769,0.874] | 0.304 [0.276,0.327] | 22.09 [20.36,23.95] | 38.70 [34.96,42.02]
-0.0079 [-0.0402,+0.0279] | -0.0242 [-0.0583,+0.0131] | -0.0753 [-0.1392,+0.0182] | -0.0274 [-0.0534,+0.0059] | -0.16 [-0.66,+0.28] | -0.95 [-1.71,-0.21]
+0.2021 [+0.1759,+0.2322] | +0.3165 [+0.2780,+0.3449] | +0.4644 [+0.3821,+0.5253] | +0.1689 [+0.1296,+0.2019] | -3.99 [-4.77,-3.25] | -5.78 [-7.23,-4.21]
+0.0145 [+0.0098,+0.0198] | +0.0232 [+0.0165,+0.0314] | +0.0243 [+0.0115,+0.0371] | +0.0088 [+0.0042,+0.0133] | -0.45 [-0.58,-0.35] | -0.64 [-0.85,-0.46]
+0.0031 [+0.0003,+0.0059] | +0.0032 [-0.0005,+0.0066] | +0.0035 [-0.0070,+0.0091] | +0.0013 [-0.0025,+0.0031] | -0.03 [-0.05,-0.01] | -0.03 [-0.07,-0.00]
+0.2118 [+0.1850,+0.2390] | +0.3190 [+0.2790,+0.3480] | +0.4170 [+0.3340,+0.4750] | +0.1520 [+0.1190,+0.1800] | -4.63 [-5.50,-3.78] | -7.39 [-9.02,-5.41]
"""
_REPLAYED = {
    "daily": (0.641, 0.303, 0.352, 0.176, 23.29, 38.97),
    "hourly": (0.769, 0.531, 0.639, 0.320, 18.87, 35.05),
    "minute": (0.779, 0.551, 0.662, 0.332, 18.57, 34.40),
}


def flights(task: Task = "binary") -> BacktestResult:
    """The flights study as a backtest would return it."""
    return with_recommendation(_flights(task))


def _flights(task: Task) -> BacktestResult:
    return BacktestResult(
        model="late" if task == "binary" else "delay_minutes",
        task=task,
        headline=METRICS[task][0],
        higher_is_better={name: HIGHER[name] for name in METRICS[task]},
        min_lift={name: MIN_LIFT[name] for name in METRICS[task]},
        positive_rate=0.199 if task == "binary" else None,
        levels=_levels(_ALL, task, curves=task == "binary"),
        comparisons=_comparisons(_ALL, task),
        slices=[
            SliceResult(
                "before 08:00",
                "scheduled before 08:00 New York time",
                16_311,
                _levels(_EARLY, task),
                _comparisons(_EARLY, task),
            ),
            SliceResult(
                "17:00 or later",
                "scheduled at 17:00 or later",
                31_326,
                _levels(_LATE, task),
                _comparisons(_LATE, task),
            ),
            SliceResult(
                "cold start",
                "route and carrier with fewer than 10 departures in the last 30 days",
                959,
                _levels(_COLD, task),
                _comparisons(_COLD, task),
                note="under 1 % of rows: intervals are wide",
            ),
        ],
        audit=AuditResult(
            checks_run=["label rows", "strong feature"],
            checks_not_run=[CheckNotRun("static joins", "no static table")],
        ),
        split=_split(),
        seconds={"features": 21.4, "training": 38.9, "total": 63.2},
        definitions=_DEFINITIONS,
        fingerprint="b3f1c0a97d5e24c86f0d1be2a4977c35e8d6",
        versions={
            "headwater": "0.1.0",
            "python": "3.11.7",
            "polars": "1.35.2",
            "numpy": "2.3.5",
            "lightgbm": "4.6.0",
        },
        assumptions=[
            (
                "The past would have been the same had the model acted on these scores: no one "
                "rebooked, no crew was moved."
            ),
            "Airlines, passengers and competitors do not adapt to fresher scores.",
            (
                "Features arrive as promised; production ages are longer on bad days. Measure them "
                "and replay with measured(ages)."
            ),
        ],
        estimator="LightGBM (learning_rate 0.08, 48 leaves, 130 rounds)",
        encoded={"carrier": 16, "origin": 3, "dest": 105},
        baseline=BASELINE,
        labels="flights",
        label="late" if task == "binary" else "delay",
    )


def _levels(table: str, task: Task, *, curves: bool = False) -> list[LevelResult]:
    rows = [_estimates(line) for line in table.strip().splitlines()[:5]]
    return [
        LevelResult(
            name=name,
            kind=kind,
            describes=describes,
            age_seconds=age,
            metrics={metric: row[metric] for metric in METRICS[task]},
            coverage=1.0,
            replayed=dict(zip(_COLUMNS, _REPLAYED[name], strict=True))
            if name in _REPLAYED and table is _ALL
            else {},
            curves=_curves(row["auc"].value) if curves else None,
        )
        for (name, kind, describes, age), row in zip(_LEVELS, rows, strict=True)
    ]


def _comparisons(table: str, task: Task) -> list[Comparison]:
    names = [name for name, *_ in _LEVELS]
    steps = [*pairwise(names), (names[0], names[-1])]
    rows = dict(
        zip(steps, (_estimates(line) for line in table.strip().splitlines()[5:]), strict=True)
    )
    pairs = combinations(names, 2)
    return [
        _pair(pair, metric, _of_pair(rows, names, pair, metric))
        for pair in pairs
        for metric in METRICS[task]
    ]


def _of_pair(
    rows: dict[tuple[str, str], dict[str, Estimate]],
    names: Sequence[str],
    pair: tuple[str, str],
    metric: str,
) -> Estimate:
    """A row of the study; of a pair that it lacks, the sum of its steps, whose intervals are added
    as if they were independent.
    """
    if pair in rows:
        return rows[pair][metric]
    steps = [
        rows[step][metric]
        for step in pairwise(names[names.index(pair[0]) : names.index(pair[1]) + 1])
    ]
    value = sum(step.value for step in steps)
    below, above = (
        math.hypot(*(end(step) for step in steps))
        for end in (lambda s: s.value - s.low, lambda s: s.high - s.value)
    )
    return Estimate(value, value - below, value + above)


def _pair(step: tuple[str, str], metric: str, raw: Estimate) -> Comparison:
    gain = raw if HIGHER[metric] else Estimate(-raw.value, -raw.high, -raw.low)
    mde = 2.8 * (gain.high - gain.low) / 3.92
    primary = step[0] == BASELINE and metric in (METRICS["binary"][0], METRICS["regression"][0])
    verdict: Verdict = (
        verdict_of(gain.low, gain.high, MIN_LIFT[metric]) if primary else "not judged"
    )
    return Comparison(
        *step, metric, gain.value, gain.low, gain.high, mde, verdict, _sentence(gain, verdict, mde)
    )


def _sentence(gain: Estimate, verdict: Verdict, mde: float) -> str:
    interval = f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
    match verdict:
        case "not judged":
            return interval
        case "negligible":
            return f"{VERDICT_WORDS[verdict]}: {interval}"
        case "inconclusive":
            return (
                f"{VERDICT_WORDS[verdict]}: {interval}, at most {gain.high:+.3f}; a lift of "
                f"{mde:.3f} would have been detected"
            )
        case _:
            return f"{verdict} of {interval}"


def _estimates(line: str) -> dict[str, Estimate]:
    cells = [
        [float(number) for number in re.findall(r"[-+]?[\d.]+", cell)] for cell in line.split("|")
    ]
    return {name: Estimate(*numbers) for name, numbers in zip(_COLUMNS, cells, strict=True)}


def _curves(auc: float, rate: float = 0.199) -> Curves:
    """Curves of two normal score distributions whose AUC is `auc`."""
    normal = NormalDist()
    distance = math.sqrt(2) * normal.inv_cdf(auc)
    cuts = [4.5 - step * 7.5 / 119 for step in range(120)]
    recall = [1 - normal.cdf(cut - distance) for cut in cuts]
    alarms = [
        rate * hit + (1 - rate) * (1 - normal.cdf(cut))
        for hit, cut in zip(recall, cuts, strict=True)
    ]
    scores = [_posterior((bin_ - 4.5) / 2.2, distance, rate) for bin_ in range(10)]
    return Curves(
        recall=recall,
        precision=[rate * hit / share for hit, share in zip(recall, alarms, strict=True)],
        predicted=scores,
        observed=[score * (1 + 0.06 * math.sin(9 * score)) for score in scores],
    )


def _posterior(x: float, distance: float, rate: float) -> float:
    odds = rate / (1 - rate) * math.exp(distance * x - distance**2 / 2)
    return odds / (1 + odds)


def _split(
    parts: Sequence[tuple[str, int, int, int]] = (
        ("left out", 0, 8, 861),
        ("train", 8, 243, 448),
        ("test", 243, 365, 899),
    ),
) -> TimeSplit:
    weekly = (1.02, 1.03, 1.03, 1.03, 0.82, 0.99, 1.04)
    days = [
        (str(date(2013, 1, 1) + timedelta(day)), round(rows * weekly[day % 7]), part)
        for part, start, end, rows in parts
        for day in range(start, end)
    ]
    cancelled = [
        (day, 28 if part == "train" else 22, "left out")
        for day, _, part in days
        if part != "left out"
    ]
    return TimeSplit(
        train_start="2013-01-09T05:00:00Z",
        split="2013-09-01T04:00:00Z",
        test_end="2014-01-01T05:00:00Z",
        train_rows=105_396,
        test_rows=109_619,
        left_out={
            "before the windows are warm": 6_889,
            "label is null": 9_430,
            "label not yet known at the split": 214,
        },
        label_delay_seconds={"p50": 13_260.0, "p90": 23_400.0, "p99": 31_500.0, "max": 93_600.0},
        rows_per_day=sorted([*days, *cancelled]),
    )


_DEFINITIONS = """\
model late: binary, label late15 = arr_delay > 15, asked 60 min before scheduled departure
feature service late_v1 (118 features, 9 read no history)
  departures by origin | carrier, origin | origin, dest    count, mean(delay), mean(late)    1h 3h 1d 7d
  arrivals by dest                                         count, mean(delay), mean(late)    1h 3h 1d 7d
  tail by tailnum                                          last(delay), since_last           3d
  queue by origin                                          open_count, open_age              6h
  weather by origin                                        last(temp, wind_speed, precip, visib), ttl 3h
  request: hour(scheduled_at), distance, carrier"""
