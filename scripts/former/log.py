"""The log of events that both versions read: histories, chunks of a stream with copies, requests.

No event leaves a window within half an hour, so that an answer stays what it is while both versions
are run, one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

USERS, SHOPS, ITEMS = 12, 5, 9
AGES = ((0, 1_500), (4_000, 79_000), (90_000, 590_000), (620_000, 900_000))
"""Seconds; windows are of an hour, a day and a week, the hop of the last one is an hour."""
MOMENT = pl.Datetime("us", "UTC")
SCHEMA = {
    "at": MOMENT,
    "id": pl.String,
    "user": pl.String,
    "shop": pl.Int64,
    "amount": pl.Float64,
    "n": pl.Int64,
    "item": pl.String,
    "ok": pl.Boolean,
    "until": MOMENT,
}


class Log:
    """Events up to `now`, by a seed: as tables, and in chunks as a stream brings them. Amounts are
    quarters, so that their sums are exact in whichever order a stream adds them.
    """

    def __init__(self, folder: Path, seed: int, events: int, now: datetime) -> None:
        self.folder, self.now = folder, now
        self.random = np.random.default_rng(seed)
        folder.mkdir(parents=True)
        self.purchases, self.visits = self._events("p", events), self._events("v", events // 4)
        for name, rows in (("purchases", self.purchases), ("visits", self.visits)):
            table = pl.DataFrame(rows, schema=SCHEMA, orient="row")
            table.write_parquet(folder / f"{name}.parquet")
        self._requests(events // 4).write_parquet(folder / "labels.parquet")

    def chunks(self, rows: Sequence[tuple], count: int, seed: int) -> list[bytes]:
        """JSON lines as a stream brings them: out of order, with copies and a few broken lines."""
        random = np.random.default_rng(seed)
        order = random.permutation(len(rows))
        again = random.choice(order, len(rows) // 20)
        lines = [self._line(rows[i]) for i in [*order, *again]]
        lines += [b"{no json", b'{"at": "never", "id": "x"}']
        cuts = np.linspace(0, len(lines), count + 1).astype(int)
        return [b"".join(line + b"\n" for line in lines[a:b]) for a, b in pairwise(cuts)]

    def _line(self, row: tuple) -> bytes:
        named = dict(zip(SCHEMA, row, strict=True))
        plain = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in named.items()}
        return json.dumps(plain).encode()

    def _events(self, letter: str, count: int) -> list[tuple]:
        r = self.random
        low, high = np.array(AGES)[r.integers(0, len(AGES), count)].T
        ages = r.uniform(low, high).round(6)
        return [
            (
                at := self.now - timedelta(seconds=float(ages[i])),
                f"{letter}{i}",
                f"u{r.integers(USERS)}",
                int(r.integers(SHOPS)),
                None if r.random() < 0.05 else float(np.round(r.lognormal(3, 1) * 4)) / 4,
                int(r.integers(-9, 50)),
                None if r.random() < 0.05 else f"item-{r.integers(ITEMS)}",
                bool(r.random() < 0.5),
                at + timedelta(seconds=int(r.integers(1, 10**6))),
            )
            for i in range(count)
        ]

    def _requests(self, count: int) -> pl.DataFrame:
        r = self.random
        asked = [self.now - timedelta(seconds=int(s)) for s in r.integers(9_000, 900_000, count)]
        return pl.DataFrame(
            {
                "asked": asked,
                "user": [f"u{i}" for i in r.integers(0, USERS + 1, count)],
                "shop": r.integers(0, SHOPS + 1, count),
                "price": np.round(r.lognormal(3, 1, count), 2),
                "bought": r.integers(0, 2, count),
            },
            schema_overrides={"asked": MOMENT},
        )


def now() -> datetime:
    """The present, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)
