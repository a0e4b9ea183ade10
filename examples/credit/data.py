"""Made-up bank data with a stated rule: who does not pay a loan back.

    python data.py FOLDER        writes FOLDER/statements.parquet, payments.parquet,
                                 inquiries.parquet, applications.parquet

The rule, so that the verdict can be judged:

- 20,000 customers have a discipline that changes slowly (a month's value is 0.97 of the last one
  and some noise).
- Each month's statement says how much of the limit is used and whether a payment was missed; both
  follow from discipline.
- Customers pay by card several times a week. What they pay says nothing of their discipline.
- A credit bureau tells of its customers' inquiries elsewhere, one in ten weeks each; those in the
  last 90 days raise the risk a little.
- One applicant in ten is new to the bank, which has heard nothing of them. An application names the
  amount and the income.
- Default follows from discipline, the amount against the income, and inquiries, and is known a year
  later.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

CUSTOMERS, MONTHS, APPLICATIONS = 20_000, 36, 40_000
BEGIN = datetime(2021, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000  # microseconds


def tables(seed: int = 0) -> dict[str, pl.DataFrame]:
    """The four tables by name."""
    rng = np.random.default_rng(seed)
    discipline = np.empty((CUSTOMERS, MONTHS))
    discipline[:, 0] = rng.normal(size=CUSTOMERS)
    for month in range(1, MONTHS):
        discipline[:, month] = 0.97 * discipline[:, month - 1] + rng.normal(
            scale=0.24, size=CUSTOMERS
        )
    # the month in which a customer joins
    since = np.where(rng.random(CUSTOMERS) < 1 / 6, rng.integers(6, MONTHS, CUSTOMERS), 0)

    customer, month = np.nonzero(np.arange(MONTHS) >= since[:, None])
    mine = discipline[customer, month]
    used = 1 / (1 + np.exp(mine + rng.normal(scale=0.7, size=len(mine))))
    missed = rng.random(len(mine)) < 1 / (1 + np.exp(2.5 + 1.5 * mine))
    closing = rng.integers(0, 28, CUSTOMERS)[customer]
    statements = pl.DataFrame(
        {
            "customer": customer,
            "closed_at": _moment((month + 1) * 30 + closing),
            "used_share": used,
            "missed": missed,
        }
    )

    payer = rng.integers(0, CUSTOMERS, 600_000)
    paid = rng.random(len(payer)) * (MONTHS + 2) * 30
    known = paid >= since[payer] * 30
    payments = pl.DataFrame(
        {
            "customer": payer[known],
            "paid_at": _moment(paid[known]),
            "amount": np.round(rng.lognormal(3.2, 0.8, int(known.sum())), 2),
        }
    )

    asker = rng.integers(0, CUSTOMERS, CUSTOMERS * 15)
    applied = rng.random(len(asker)) * (MONTHS + 2) * 30
    heard = applied >= since[asker] * 30
    asker, applied = asker[heard], applied[heard]
    inquiries = pl.DataFrame({"customer": asker, "asked_at": _moment(applied)})

    new = np.flatnonzero(since)  # they join with their application
    who = np.concatenate([rng.integers(0, CUSTOMERS, APPLICATIONS), new])
    day = np.concatenate(
        [rng.uniform(180, MONTHS * 30, APPLICATIONS), since[new] * 30 - rng.uniform(0, 3, len(new))]
    )
    here = (day >= since[who] * 30) | (np.arange(len(who)) >= APPLICATIONS)
    who, day = who[here], day[here]
    order = np.argsort(asker * 10_000.0 + applied)
    places = np.searchsorted(
        (asker * 10_000.0 + applied)[order],
        np.stack([who * 10_000.0 + day - 90, who * 10_000.0 + day]),
    )
    recent = places[1] - places[0]
    income = rng.lognormal(10.4, 0.4, len(who))
    amount = rng.lognormal(9.2, 0.7, len(who))
    true = discipline[who, np.minimum(day // 30, MONTHS - 1).astype(int)]
    risk = -3.2 - 1.1 * true + 3 * np.log1p(amount / income) + 0.25 * recent
    applications = pl.DataFrame(
        {
            "customer": who,
            "applied_at": _moment(day),
            "settled_at": _moment(day + 365),
            "income": np.round(income),
            "amount": np.round(amount),
            "defaulted": rng.random(len(who)) < 1 / (1 + np.exp(-risk)),
        }
    )
    return {
        "statements": statements,
        "payments": payments,
        "inquiries": inquiries,
        "applications": applications.sort("applied_at"),
    }


def write(folder: Path, seed: int = 0) -> None:
    """Write a parquet file a table."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in tables(seed).items():
        frame.write_parquet(folder / f"{name}.parquet")


def _moment(days: np.ndarray) -> pl.Series:
    start = int(BEGIN.timestamp()) * 1_000_000
    return pl.Series(start + (np.asarray(days, np.float64) * DAY).astype(np.int64)).cast(
        pl.Datetime("us", "UTC")
    )


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "data"))
