"""Compiled code stays within its arrays: interpreted, where an index beyond an end is an error, it
answers as it does compiled.
"""

import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import headwater as hw
from tests.laws.streams import TIME

ROOT = Path(__file__).resolve().parents[2]
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
FEATURES = [
    *(
        hw.count(),
        hw.sum("x", "n"),
        hw.mean("x"),
        hw.min("x"),
        hw.max("n"),
        hw.var("x"),
        hw.std("n"),
        hw.first("word"),
        hw.last("x"),
    ),
    *(
        hw.latest("word", "x", name="both"),
        hw.since_last(),
        hw.open_count(until="until"),
        hw.open_age(until="until"),
    ),
    *(
        hw.first_n("n", k=2),
        hw.last_n("x", k=3),
        hw.last_n("word", k=2, distinct=True),
        hw.count_distinct("word"),
    ),
    *(
        hw.approx_percentile("x", q=0.9),
        hw.mode("word"),
        hw.top_k("word", k=2),
        hw.collect_set("n", max_size=3),
        hw.min_by("n", "x"),
    ),
    *(
        hw.max_by("word", "n"),
        hw.decayed_sum("x", half_life="10m"),
        hw.decayed_mean("x", half_life="10m"),
        hw.fraction("flag"),
    ),
    *(
        hw.ratio("x", "n"),
        hw.sum("x", name="by_word").by("word", max_keys=2),
        hw.mean("x", where="flag", name="of_flagged"),
    ),
]


def answers():
    """What training computes of every function, over windows that slide and overlap, as text."""
    chance = random.Random(4)
    events = [
        {
            "key": chance.choice("abc"),
            "at": NOON - timedelta(seconds=chance.randint(0, 9000)),
            "x": chance.choice([None, chance.randint(-4, 9) / 4]),
            "n": chance.choice([None, chance.randint(1, 5)]),
            "word": chance.choice([None, "p", "q", "r"]),
            "flag": chance.choice([True, False, None]),
            "until": NOON - timedelta(seconds=chance.randint(-3000, 3000)),
        }
        for _ in range(160)
    ]
    table = pl.DataFrame(
        events, schema_overrides={"at": TIME, "until": TIME, "x": pl.Float64, "n": pl.Int64}
    )
    asked = [
        {
            "key": chance.choice("abcd"),
            "timestamp": NOON - timedelta(seconds=chance.randint(-9000, 9000)),
        }
        for _ in range(60)
    ]
    source = hw.Source(
        "events",
        history=table,
        timestamp_field="at",
        select=["key", "x", "n", "word", "flag", "until"],
    )
    windows = ["10m", "1h", hw.window("30m", offset="10m"), hw.window("lifetime")]
    view = hw.FeatureView(
        "v",
        source=source,
        keys=["key"],
        features=FEATURES,
        windows=windows,
        freshness=hw.on_request(),
    )
    found = [
        hw.get_historical_features(
            view,
            pl.DataFrame(asked, schema_overrides={"timestamp": TIME}),
            level=level,
            statuses=True,
        )
        for level in (None, hw.batch("15m"), hw.streaming("20s"))
    ]
    return [[[text(value) for value in row] for row in frame.rows()] for frame in found]


def text(value):
    """A value with nine digits: a compiler may add three numbers at once, and a sum of squares ends
    elsewhere then.
    """
    if isinstance(value, dict):
        return {str(key): text(one) for key, one in value.items()}
    if isinstance(value, list):
        return [text(one) for one in value]
    return f"{value:.9g}" if isinstance(value, float) else repr(value)


@pytest.mark.slow
def test_interpreted_kernels_answer_as_compiled_ones_and_leave_no_array():
    command = [sys.executable, "-m", "tests.laws.test_kernels"]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    interpreted = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": paths}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=interpreted
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == answers()


if __name__ == "__main__":
    print(json.dumps(answers()))
