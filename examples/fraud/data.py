"""Made-up card payments with three kinds of fraud, by rules that are stated here.

    python data.py FOLDER        writes FOLDER/payments.parquet

The rules are those of the simulator in the Fraud Detection Handbook (Le Borgne, Siblini, Lebichot
and Bontempi, 2022, chapter 3):

- Cards and terminals lie on a square of 100 by 100; a card pays at terminals within a distance of 5
  (here 7, as there are fewer).
- A card makes a Poisson number of payments a day, its mean between 0 and 4. Amounts are normal
  around the card's own mean, between 5 and 100, with half of it as deviation; times of day are
  normal around noon.
- A payment of more than 220 is fraud, so that the obvious can be found.
- Each day some terminals are compromised: all their payments are fraud for 28 days.
- Each day some cards are stolen: for 14 days, a third of their payments are five times as large,
  and fraud.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

BEGIN = datetime(2018, 4, 1, tzinfo=UTC)
DAY = 86_400  # seconds


def payments(
    cards: int = 2_000,
    terminals: int = 4_000,
    days: int = 120,
    *,
    reach: float = 7.0,
    seed: int = 0,
) -> pl.DataFrame:
    """One row a payment: payment, card, terminal, paid_at, amount, is_fraud, kind (0 genuine, 1
    amount, 2 terminal, 3 card).
    """
    rng = np.random.default_rng(seed)
    home, location = rng.uniform(0, 100, (cards, 2)), rng.uniform(0, 100, (terminals, 2))
    near = [np.flatnonzero(((location - position) ** 2).sum(1) < reach**2) for position in home]
    a_day, usual = rng.uniform(0, 4, cards), rng.uniform(5, 100, cards)

    card, day = np.divmod(
        np.repeat(np.arange(cards * days), rng.poisson(np.repeat(a_day, days))), days
    )
    second = np.round(rng.normal(DAY / 2, 20_000, len(card))).astype(np.int64)
    amount = rng.normal(usual[card], usual[card] / 2)
    amount = np.round(np.where(amount < 0, rng.uniform(0, 2 * usual[card]), amount), 2)
    choice = rng.random(len(card))
    kept = (second > 0) & (second < DAY) & np.array([len(n) > 0 for n in near])[card]
    card, day, second, amount, choice = (
        values[kept] for values in (card, day, second, amount, choice)
    )
    terminal = np.array(
        [
            near[c][int(u * len(near[c]))]
            for c, u in zip(card.tolist(), choice.tolist(), strict=True)
        ]
    )
    order = np.lexsort((card, day * DAY + second))
    card, terminal, amount, day, second = (
        values[order] for values in (card, terminal, amount, day, second)
    )

    kind = np.where(amount > 220, 1, 0)
    for start in range(days):
        for bad in rng.choice(terminals, max(1, terminals // 5_000), replace=False):
            kind[(terminal == bad) & (day >= start) & (day < start + 28)] = 2
    for start in range(days):
        for stolen in rng.choice(cards, max(1, 3 * cards // 5_000), replace=False):
            rows = np.flatnonzero((card == stolen) & (day >= start) & (day < start + 14))
            rows = rng.choice(rows, len(rows) // 3, replace=False)
            amount[rows] *= 5
            kind[rows] = 3
    moment = (int(BEGIN.timestamp()) + day * DAY + second) * 1_000_000
    return pl.DataFrame(
        {
            "payment": np.arange(len(card)),
            "card": card,
            "terminal": terminal,
            "paid_at": pl.Series(moment).cast(pl.Datetime("us", "UTC")),
            "amount": np.round(amount, 2),
            "is_fraud": kind > 0,
            "kind": kind,
        }
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "data")
    folder.mkdir(parents=True, exist_ok=True)
    payments().write_parquet(folder / "payments.parquet")
