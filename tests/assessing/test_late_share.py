"""The share of predictions that came too late, from a serving log."""

import dataclasses

import polars as pl
import pytest

from headwater.assessing.late_share import late_share
from headwater.journal.serving_log_rows import LATENCY, PREDICTION, PREDICTION_HOW, REQUEST
from headwater.testing.examples import churn

MODEL = dataclasses.replace(churn(), latency_budget="50ms")


def served(n=2000, slow=0, defaults=0, precomputed=0, rows=1):
    how = (
        ["default"] * defaults
        + ["precomputed"] * precomputed
        + ["on_request"] * (n - defaults - precomputed)
    )
    took = [10_000] * (n - slow) + [60_000] * slow
    frame = pl.DataFrame(
        {
            REQUEST: [str(k) for k in range(n)],
            PREDICTION: [0.5] * n,
            PREDICTION_HOW: how,
            LATENCY: took,
        }
    )
    return pl.concat([frame] * rows)


@pytest.mark.parametrize(
    ("log", "share"),
    [
        (served(slow=20), 0.01),
        (served(defaults=40), 0.02),
        (served(slow=20, defaults=40), 0.03),
        (served(slow=20, rows=3), 0.01),
        (served(4000, slow=20, precomputed=2000), 0.01),
    ],
    ids=["slow", "defaults", "both", "several rows a request", "looked up ones say nothing"],
)
def test_the_share(log, share):
    assert late_share(MODEL, log).value == pytest.approx(share)
