"""Synthetic visits to a shop, by the rules stated here: shown items and clicks.

    python data.py FOLDER        writes FOLDER/clicks.parquet and FOLDER/impressions.parquet

- 600 items lie in 12 categories; each has three companions in its category, that people look at
  after it.
- A user likes two categories. Half of the visits are for one of these, half for any other; the
  visit keeps to its category.
- A visit is two to eight requests, half a minute to two minutes apart. A request shows 20 items:
  some popular, some of the category, some companions of the item that was clicked last, the rest by
  chance; in random order.
- One item of a request is clicked at most: rarely any, more likely one of the visit's category,
  most likely a companion of the item before.
- A fifth of the users come for the first time in the last week.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

BEGIN, DAY = datetime(2024, 3, 1, tzinfo=UTC), 86_400
ITEMS, CATEGORIES, SHOWN = 600, 12, 20


def tables(users: int = 400, days: int = 24, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The clicks, one row each, and the impressions, one row an item that was shown."""
    rng = np.random.default_rng(seed)
    category = rng.integers(0, CATEGORIES, ITEMS)
    of = [np.flatnonzero(category == c) for c in range(CATEGORIES)]
    companions = np.array([rng.choice(of[category[i]], 3) for i in range(ITEMS)])
    appeal = rng.zipf(1.6, ITEMS).clip(1, 60).astype(float)
    popular = np.argsort(-appeal)[:60]
    liked = rng.integers(0, CATEGORIES, (users, 2))
    first = np.where(rng.random(users) < 0.2, days - 7, 0)

    visits = [
        (user, float(t))
        for user in range(users)
        for t in rng.uniform(first[user], days, rng.poisson(0.35 * (days - first[user])))
    ]
    clicks: list[tuple[int, int, int, int, int | None, int, float]] = []
    shown: list[tuple[int, int, int, int, float]] = []
    request = 0
    for session, (user, day) in enumerate(sorted(visits, key=lambda visit: visit[1])):
        wanted = (
            int(rng.choice(liked[user])) if rng.random() < 0.5 else int(rng.integers(CATEGORIES))
        )
        t, last = day * DAY, None
        for _ in range(int(rng.integers(2, 9))):
            offer = [
                *rng.choice(popular, 6),
                *rng.choice(of[wanted], 5),
                *rng.integers(0, ITEMS, 9),
            ]
            if last is not None:
                offer[-3:] = companions[last]
            items = rng.permutation(np.unique(offer))[:SHOWN]
            shown += [(request, session, user, int(item), t) for item in items]
            chance = 0.002 * np.sqrt(appeal[items]) + 0.06 * (category[items] == wanted)
            if last is not None:
                chance += 0.2 * np.isin(items, companions[last])
            drawn = np.flatnonzero(rng.random(len(items)) < chance)
            if len(drawn):
                item, after = int(items[drawn[0]]), t + float(rng.uniform(2, 15))
                clicks.append((request, session, user, item, last, int(category[item]), after))
                last = item
            t += float(rng.uniform(30, 120))
            request += 1
    frame = pl.DataFrame(
        clicks,
        schema=["request", "session", "user", "item", "previous_item", "category", "clicked_at"],
        orient="row",
    )
    seen = pl.DataFrame(
        shown, schema=["request", "session", "user", "item", "shown_at"], orient="row"
    )
    return _written(frame, "clicked_at").with_row_index("event_id").with_columns(
        pl.col("event_id").cast(pl.Int64)
    ), _written(seen, "shown_at")


def _written(frame: pl.DataFrame, at: str) -> pl.DataFrame:
    """With names instead of numbers, and timestamps in UTC."""
    names = {
        name: name[0]
        for name in ("item", "previous_item", "category", "session", "user")
        if name in frame.columns
    } | {"request": "r"}
    names["previous_item"] = "i"
    start = int(BEGIN.timestamp() * 1e6)
    return frame.with_columns(
        *[
            pl.format(letter + "{}", pl.col(name)).alias(name)
            for name, letter in names.items()
            if name in frame.columns
        ],
        (pl.lit(start) + (pl.col(at) * 1e6).cast(pl.Int64))
        .cast(pl.Datetime("us", "UTC"))
        .alias(at),
    ).sort(at)


def write(folder: Path, **sizes: int) -> None:
    """Write both tables."""
    folder.mkdir(parents=True, exist_ok=True)
    clicks, impressions = tables(**sizes)
    clicks.write_parquet(folder / "clicks.parquet")
    impressions.write_parquet(folder / "impressions.parquet")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "data"))
