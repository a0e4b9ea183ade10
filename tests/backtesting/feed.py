"""A made-up shop whose users click what they clicked before in the session, and the popular items
of the day.
"""

import datetime as dt

import numpy as np
import polars as pl

import headwater as hw

START = dt.datetime(2024, 3, 4, tzinfo=dt.UTC)
NIGHTLY, LIVE = hw.batch("1d", delay="3h"), hw.streaming("1s")


def times(seconds):
    return (
        pl.Series(np.rint(np.asarray(seconds) * 1e6).astype(np.int64)).cast(pl.Duration("us"))
        + START
    )


def shop(seed=0, *, days=14, sessions=60, items=60, shown=8):
    """Sessions of a few clicks, each on an item of the session's category or on one in fashion, and
    lists shown before each click.

    clicks: request, session, user, item, previous_item, category, clicked_at, event_id.
    impressions: request, session, user, previous_item, item, shown_at.
    """
    rng = np.random.default_rng(seed)
    category = np.arange(items) % 6
    born = np.where(np.arange(items) < items * 0.8, -1, rng.integers(0, days, items))
    clicks, shows, request = [], [], 0
    for day in range(days):
        fashion = rng.choice(np.flatnonzero(born < day), 5, replace=False)
        alive = np.flatnonzero(born <= day)
        for one in range(sessions):
            user, session, likes = (
                int(rng.integers(0, 40 + 4 * day)),
                f"s{day}_{one}",
                int(rng.integers(0, 6)),
            )
            at, previous = day * 86_400 + float(rng.random() * 80_000), None
            for _ in range(int(rng.integers(2, 6))):
                mine = alive[category[alive] == likes]
                item = int(rng.choice(mine if rng.random() < 0.75 else fashion))
                others = rng.choice(alive[alive != item], shown - 1, replace=False)
                shown_now = rng.permutation([item, *others])
                shows += [
                    (f"r{request}", session, f"u{user}", previous, f"i{candidate}", at)
                    for candidate in shown_now
                ]
                clicks.append(
                    (
                        f"r{request}",
                        session,
                        f"u{user}",
                        f"i{item}",
                        previous,
                        f"c{category[item]}",
                        at + 20,
                        f"e{request}",
                    )
                )
                previous, at, request = f"i{item}", at + 60, request + 1
    of_click = [
        "request",
        "session",
        "user",
        "item",
        "previous_item",
        "category",
        "clicked_at",
        "event_id",
    ]
    of_show = ["request", "session", "user", "previous_item", "item", "shown_at"]
    made = (
        pl.DataFrame(clicks, schema=of_click, orient="row"),
        pl.DataFrame(shows, schema=of_show, orient="row"),
    )
    return tuple(
        frame.with_columns(times(frame[at]).alias(at))
        for frame, at in zip(made, ("clicked_at", "shown_at"), strict=True)
    )


def feed(clicks, impressions, candidates=None, members=None):
    """The model of a feed: as a user would write it, on these tables."""
    source = hw.Source("clicks", history=clicks, timestamp_field="clicked_at", id_field="event_id",
                       select=["request", "session", "user", "item", "previous_item", "category"])  # fmt: skip
    popular = hw.FeatureView(
        "popular",
        source=source,
        keys=[],
        freshness=NIGHTLY,
        windows=["1d"],
        features=[hw.top_k("item", k=20)],
    )
    item = hw.FeatureView(
        "item",
        source=source,
        keys=["item"],
        freshness=NIGHTLY,
        windows=["1h", "7d"],
        features=[hw.count()],
    )
    user = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        freshness=NIGHTLY,
        windows=["30d"],
        features=[hw.count(), hw.top_k("category", k=3)],
    )
    session = hw.FeatureView("session", source=source, keys=["session"], freshness=LIVE, windows=["30m"],
                             features=[hw.count(), hw.last("item"), hw.last_n("category", k=10)])  # fmt: skip
    next_items = hw.FeatureView(
        "next_items",
        source=source,
        keys=["previous_item"],
        freshness=NIGHTLY,
        windows=["30d"],
        features=[hw.top_k("item", k=10)],
    )
    covisited = next_items.alias("covisited", keys={"previous_item": session["last_item_30m"]})

    @hw.request_feature
    def covisit_rank(item: str, after: list[str] = covisited["top_k_item_30d"]) -> int | None:
        return after.index(item) if after and item in after else None

    if candidates is None:
        candidates = [popular["top_k_item_1d"], covisited["top_k_item_30d"]]
    return hw.Model("feed",
        task=hw.Ranking(group="request", item="item", candidates=candidates),
        features=hw.FeatureService("feed_v1", members or [item, user, session, covisit_rank]),
        labels=hw.Labels("clicked", table=impressions, timestamp_field="shown_at",
                         label=hw.outcome(source, hw.count(), keys=["request", "item"], within="30m")))  # fmt: skip


LEVELS = {
    "lists made nightly": hw.Level(NIGHTLY, predictions=hw.precomputed(NIGHTLY, keys=["user"])),
    "ranked on request": hw.Level(NIGHTLY),
    "session live": hw.Level(),
    "all live": hw.Level(LIVE),
}
