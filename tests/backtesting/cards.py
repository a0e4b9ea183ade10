"""A made-up month of payments: terminals are compromised for some days, and disputes are settled a
week later.
"""

import numpy as np
import polars as pl

import headwater as hw
from tests.backtesting.feed import times

NIGHT, LIVE = hw.batch("1d", delay="2h"), hw.streaming("2s")


def payments(seed=0, *, days=40, per_day=150, terminals=40, delay=7):
    """payment_id, card, terminal, amount, authorised_at, is_fraud, resolved_at: `delay` days
    later.
    """
    rng = np.random.default_rng(seed)
    n = days * per_day
    at = np.sort(rng.random(n)) * days * 86_400
    day, terminal = (at // 86_400).astype(int), rng.integers(0, terminals, n)
    starts = {(t, s) for t in range(terminals) for s in range(days) if rng.random() < 0.02}
    bad = np.array(
        [
            any((t, s) in starts for s in range(d - 8, d + 1))
            for t, d in zip(terminal, day, strict=True)
        ]
    )
    return pl.DataFrame(
        {
            "payment_id": [f"p{i}" for i in range(n)],
            "card": [f"c{c}" for c in rng.integers(0, 300, n)],
            "terminal": [f"t{t}" for t in terminal],
            "amount": rng.lognormal(3, 0.8, n),
            "authorised_at": times(at),
            "is_fraud": rng.random(n) < np.where(bad, 0.35, 0.01),
            "resolved_at": times(at + delay * 86_400),
        }
    )


def fraud(table, **rules):
    """The model as a user would write it, on these tables; with its views and the source of
    disputes.
    """
    made = hw.Source(
        "payments",
        history=table,
        timestamp_field="authorised_at",
        id_field="payment_id",
        select=["card", "terminal", "amount"],
    )
    disputes = hw.Source(
        "disputes",
        history=table,
        timestamp_field="authorised_at",
        known_at_field="resolved_at",
        select=["terminal", "is_fraud"],
    )
    card = hw.FeatureView(
        "card",
        source=made,
        keys=["card"],
        freshness=LIVE,
        windows=["10m", "1d", "30d"],
        features=[hw.count(), hw.mean("amount")],
    )
    terminal = hw.FeatureView(
        "terminal",
        source=disputes,
        keys=["terminal"],
        freshness=NIGHT,
        windows=["7d", "30d"],
        features=[hw.count(), hw.mean("is_fraud")],
    )
    labels = hw.Labels(
        "disputed",
        table=table,
        timestamp_field="authorised_at",
        label="is_fraud",
        known_at_field="resolved_at",
    )
    service = hw.FeatureService("fraud_v1", [card, terminal, hw.RequestField("amount", float)])
    return (
        hw.Model("fraud", task="binary", features=service, labels=labels, **rules),
        card,
        disputes,
    )
