"""Will a loan be paid back? Asked when a customer applies; batch features do, but the answer must
be made on request.
"""

import headwater as hw

nightly = hw.batch("1d", at="02:00", delay="3h")

statements = hw.Source(
    "statements", history=hw.parquet("data/statements.parquet"), timestamp_field="closed_at"
)
payments = hw.Source(
    "payments", history=hw.parquet("data/payments.parquet"), timestamp_field="paid_at"
)
inquiries = hw.Source(
    "inquiries", history=hw.parquet("data/inquiries.parquet"), timestamp_field="asked_at"
)
applications = hw.parquet("data/applications.parquet")

record = hw.FeatureView(
    "record",
    source=statements,
    keys=["customer"],
    freshness=nightly,
    windows=["90d", "360d"],
    features=[
        hw.mean("used_share"),
        hw.mean("missed", name="missed_share"),
        hw.last("used_share"),
        hw.count(),
    ],
)
spending = hw.FeatureView(
    "spending",
    source=payments,
    keys=["customer"],
    freshness=nightly,
    windows=["1d", "30d"],
    features=[hw.count(), hw.sum("amount")],
)
elsewhere = hw.FeatureView(
    "elsewhere",
    source=inquiries,
    keys=["customer"],
    freshness=nightly,
    windows=["7d", "90d"],
    features=[hw.count()],
)


@hw.request_feature
def burden(amount: float, income: float) -> float:
    """How much of a year's income is asked for."""
    return amount / income


credit = hw.Model(
    "credit",
    task="binary",
    features=hw.FeatureService(
        "credit_v1",
        [
            record,
            spending,
            elsewhere,
            burden,
            hw.RequestField("amount", float),
            hw.RequestField("income", float),
        ],
    ),
    labels=hw.Labels(
        "default",
        table=applications,
        timestamp_field="applied_at",
        label="defaulted",
        known_at_field="settled_at",
    ),
)
levels = {
    "scored nightly": hw.Level(nightly, predictions=hw.precomputed(nightly, keys=["customer"])),
    "on request, nightly": hw.Level(nightly),
    "on request, hourly": hw.Level(hw.batch("1h", delay="15m")),
    "on request, live": hw.Level(hw.streaming("2s")),
}
project = hw.Project(
    "credit", [credit], levels=levels, evaluation=hw.Evaluation(split="2023-01-15T00:00Z")
)

if __name__ == "__main__":
    hw.backtest(credit, project.levels, project.evaluation).write_html("report.html")
