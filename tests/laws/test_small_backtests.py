"""A backtest of few rows, blocks, classes, days or refits gives a verdict, or says why there is
none.
"""

from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import numpy as np
import polars as pl
from hypothesis import event, example, given

import headwater as hw
from headwater.errors import HeadwaterError

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
ONE_BLOCK = {  # of rows after the split, at the usual refits
    "rows": 200,
    "days": 2,
    "unit": 86_400,
    "users": 2,
    "refits": hw.evaluation.Refits(),
    "seed": 0,
}


def backtested(rows, days, unit, users, refits, split, task, seed):
    """A backtest of so many payments at times that are multiples of `unit` seconds; `split` is the
    share of the days that trains.
    """
    random = np.random.default_rng(seed)
    at = random.random(rows) * days * 86_400 // unit * unit
    x = random.normal(size=rows)
    paid = pl.DataFrame(
        {
            "user": random.integers(0, users, rows),
            "x": x,
            "binary": random.random(rows) < 1 / (1 + np.exp(-x)),
            "regression": x + random.normal(size=rows),
            "at": pl.Series(at * 1e6).cast(pl.Duration("us")) + BEGIN,
        }
    )
    nightly = hw.batch("1d")
    view = hw.FeatureView(
        "payments",
        source=hw.Source("paid", history=paid, timestamp_field="at", select=["user", "x"]),
        keys=["user"],
        freshness=nightly,
        windows=["7d"],
        features=[hw.count(), hw.mean("x")],
    )
    model = hw.Model(
        "small",
        task=task,
        features=hw.FeatureService("small", [view, hw.RequestField("x", float)]),
        labels=hw.Labels("labels", table=paid, timestamp_field="at", label=task, known_after="5m"),
    )
    levels = {"none": hw.never(), "nightly": nightly, "live": hw.streaming("1s")}
    evaluation = hw.Evaluation(split=BEGIN + timedelta(days=days * split), refits=refits)
    return hw.backtest(model, levels, evaluation)


@given(
    rows=st.sampled_from([1, 5, 30, 300]),
    days=st.sampled_from([1, 2, 20, 120]),
    unit=st.sampled_from([86_400, 3_600, 1]),
    users=st.sampled_from([1, 2, 50]),
    refits=st.sampled_from([hw.evaluation.Refits(), 0, 1, 2]),
    split=st.sampled_from([0.1, 0.5, 0.9, 0.99]),
    task=st.sampled_from(["binary", "regression"]),
    seed=st.integers(0, 99),
)
@example(**ONE_BLOCK, split=0.5, task="regression")
@example(**ONE_BLOCK, split=0.5, task="binary")
def test_a_small_set_gets_a_verdict_or_a_reason(**case):
    try:
        result = backtested(**case)
    except HeadwaterError as error:
        event(type(error).__name__)
        return
    assert str(result)
    assert result.table()
    for step in result.result.comparisons:
        assert np.isfinite(step.delta) or np.isnan(step.low)
