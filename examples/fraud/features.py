"""Is this payment fraud? Which helps more: fresher features, or outcomes that are known sooner?"""

from datetime import datetime

import polars as pl

import headwater as hw

table = hw.parquet("data/payments.parquet")
payments = hw.Source(
    "payments",
    history=table,
    timestamp_field="paid_at",
    id_field="payment",
    select=["payment", "card", "terminal", "amount"],
)
# Whether a payment was fraud is known when its card's owner complains: a week later.
disputes = hw.Source(
    "disputes",
    history=table,
    timestamp_field="paid_at",
    known_after="7d",
    select=["card", "terminal", "is_fraud"],
)

nightly = hw.batch("1d", delay="4h")
live = hw.streaming("1s")
windows = ["1h", "1d", "7d", "30d"]
card = hw.FeatureView(
    "card",
    source=payments,
    keys=["card"],
    windows=windows,
    freshness=nightly,
    features=[hw.count(), hw.mean("amount"), hw.max("amount")],
)
terminal = hw.FeatureView(
    "terminal",
    source=payments,
    keys=["terminal"],
    windows=windows,
    freshness=nightly,
    features=[hw.count(), hw.mean("amount")],
)


def risk(name: str, key: str) -> hw.FeatureView:
    """The share of fraud among the known outcomes of this key: without the week that is not known
    yet, or as soon as it is known.
    """
    return hw.FeatureView(
        name,
        source=disputes,
        keys=[key],
        windows=["8d", "14d", "30d"],
        freshness=nightly,
        features=[hw.count(), hw.mean("is_fraud")],
    )


@hw.request_feature
def amount_ratio(amount: float, usual: float | None = card["mean_amount_30d"]) -> float | None:
    """The amount against what the card usually pays."""
    return amount / usual if usual else None


@hw.request_feature
def hour(paid_at: datetime) -> int:
    """The hour of the day."""
    return paid_at.hour


card_risk, terminal_risk = risk("card_risk", "card"), risk("terminal_risk", "terminal")
fraud = hw.Model(
    "fraud",
    task="binary",
    default=0.0,
    features=hw.FeatureService(
        "fraud_v1",
        [
            card,
            terminal,
            card_risk,
            terminal_risk,
            amount_ratio,
            hour,
            hw.RequestField("amount", float),
        ],
    ),
    labels=hw.Labels(
        "disputed",
        table=table,
        filter=pl.col("paid_at") >= pl.datetime(2018, 5, 8, time_zone="UTC"),  # windows fill before
        timestamp_field="paid_at",
        select=["card", "terminal", "amount", "paid_at", pl.col("is_fraud").alias("disputed")],
        label="disputed",
        known_after="7d",
    ),
)
levels = {
    "nightly, known in a week": hw.Level(nightly),
    "nightly, known in a day": hw.Level(nightly, known_after={disputes: "1d"}),
    "live, known in a week": hw.Level(live),
    "live, known in a day": hw.Level(live, known_after={disputes: "1d"}),
}
evaluation = hw.Evaluation(
    split="2018-07-01T00:00Z", metrics=["average_precision", "precision@1%", "recall@1%", "auc"]
)
project = hw.Project("fraud", [fraud], levels=levels, evaluation=evaluation)

if __name__ == "__main__":
    hw.backtest(fraud, project.levels, project.evaluation).write_html("report.html")
