from datetime import UTC, datetime

import polars as pl

import headwater as hw

times = {"timestamp": [datetime(2026, 1, 1, tzinfo=UTC)]}
frame = pl.DataFrame({"user": ["u1"], "card": ["c1"], "left": [1], **times})
orders, refunds = (
    hw.Source(name, history=frame, timestamp_field="timestamp", select=["user", "card"])
    for name in ("orders", "refunds")
)
view = hw.FeatureView(
    "user",
    source=orders,
    keys=["user"],
    windows=["7d"],
    features=[hw.count()],
    freshness=hw.batch("1d"),
)
labels = hw.Labels(
    "leaving", table=frame, timestamp_field="timestamp", label="left", known_after="7d"
)
model = hw.Model(
    "churn", task="binary", features=hw.FeatureService("churn_v1", [view]), labels=labels
)
card = hw.FeatureView(
    "card",
    source=orders,
    keys=["card"],
    windows=["7d"],
    features=[hw.count()],
    freshness=hw.batch("1d"),
)
fraud = hw.Model(
    "fraud", task="binary", features=hw.FeatureService("fraud_v1", [card]), labels=labels
)
nightly = hw.batch("1d")
