"""A small shop for pages whose examples need a project: payments of cards, its definitions, and the
files of a project.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

import headwater as hw

FEATURES = """
import headwater as hw

payments = hw.Source(
    "payments", history=hw.parquet("payments.parquet"), stream=hw.push(), timestamp_field="paid_at", id_field="payment_id",
    select=["card", "amount"],
)
card = hw.FeatureView(
    "card", source=payments, keys=["card"], freshness=hw.batch("1h"), windows=["1d", "30d"], features=[hw.count(), hw.mean("amount")]
)
labels = hw.Labels("disputed", table=hw.parquet("payments.parquet"), timestamp_field="paid_at", label="is_fraud", known_after="1d")
fraud = hw.Model("fraud", task="binary", features=hw.FeatureService("fraud_v1", [card]), labels=labels)
project = hw.Project("shop", [fraud], levels={"daily": hw.batch("1d"), "hourly": hw.batch("1h")})
"""


def payments(rows=1_500):
    """Payments of thirty days up to now; those of an hour with many payments of the card are fraud
    more often.
    """
    random = np.random.default_rng(0)
    seconds = np.sort(random.uniform(0, 30 * 86_400, rows))
    card = random.integers(0, 20, rows)
    recent = np.array(
        [
            ((card == who) & (seconds < at) & (seconds > at - 86_400)).sum()
            for who, at in zip(card, seconds, strict=True)
        ]
    )
    at = pl.Series(seconds * 1e6).cast(pl.Duration("us")) + (datetime.now(UTC) - timedelta(days=30))
    return pl.DataFrame(
        {
            "payment_id": np.arange(rows),
            "card": [f"c{who}" for who in card],
            "amount": random.exponential(40, rows).round(2),
            "paid_at": at,
            "is_fraud": (random.uniform(size=rows) < 0.05 + 0.1 * recent).astype(int),
        }
    )


def project_files():
    """Write payments.parquet and features.py into the working folder, and return the module's
    names.
    """
    payments().write_parquet("payments.parquet")
    Path("features.py").write_text(FEATURES, encoding="utf-8")
    names = {"pl": pl, "hw": hw}
    exec(FEATURES, names)
    return names
