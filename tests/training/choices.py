"""A made-up shop: a catalogue that grows, and a log of the item that each request chose."""

import datetime as dt

import numpy as np
import polars as pl

import headwater as hw

START = dt.datetime(2024, 3, 4, tzinfo=dt.UTC)
NIGHTLY, LIVE = hw.batch("1d"), hw.streaming("1s")
DAY = 86_400


def times(seconds):
    return (
        pl.Series(np.rint(np.asarray(seconds) * 1e6).astype(np.int64)).cast(pl.Duration("us"))
        + START
    )


def shop(seed=0, *, days=12, requests=50, items=40, choose=1, by_id="i{}".format):
    """catalogue: item, quality, at. log: request, taste, item, chosen_at, chosen; items of higher
    quality are chosen more often.

    A fifth of the items is born during the log. `choose` items are chosen in each request.
    """
    rng = np.random.default_rng(seed)
    born = np.where(np.arange(items) < items * 0.8, -1.0, rng.integers(0, days, items)) * DAY
    quality = rng.normal(size=items)
    catalogue = pl.DataFrame(
        {"item": [by_id(n) for n in range(items)], "quality": quality, "at": times(born)}
    )
    rows = []
    for request in range(days * requests):
        t, taste = (request // requests + rng.random()) * DAY, rng.normal()
        alive = np.flatnonzero(born < t)
        chance = np.exp(1.5 * quality[alive] * (1 + 0.5 * taste))
        chosen = rng.choice(alive, min(choose, len(alive)), replace=False, p=chance / chance.sum())
        rows += [(f"r{request}", taste, by_id(int(item)), t) for item in chosen]
    frame = pl.DataFrame(rows, schema=["request", "taste", "item", "t"], orient="row")
    return catalogue, frame.with_columns(
        times(frame["t"]).alias("chosen_at"), chosen=pl.lit(1)
    ).drop("t").sort("chosen_at")


def ranker(
    catalogue,
    log,
    negatives=hw.evaluation.NegativeSampling(8),  # noqa: B008
    estimator=None,
    label="chosen",
    members=(),
):
    """The model of a shop on these tables; candidates are all items that are known."""
    items = hw.Source("items", history=catalogue, timestamp_field="at", select=["item", "quality"])
    choices = hw.Source(
        "choices",
        history=log.filter(pl.col(label) > 0),
        timestamp_field="chosen_at",
        select=["item"],
        known_after="1m",
    )
    every = hw.FeatureView(
        "catalogue",
        source=items,
        keys=[],
        features=[hw.collect_set("item", max_size=1000)],
        freshness=NIGHTLY,
    )
    item = hw.FeatureView(
        "item", source=items, keys=["item"], features=[hw.last("quality")], freshness=NIGHTLY
    )
    sold = hw.FeatureView(
        "sold",
        source=choices,
        keys=["item"],
        features=[hw.count()],
        windows=["7d"],
        freshness=NIGHTLY,
    )

    @hw.request_feature
    def fits(taste: float, quality: float | None = item["last_quality"]) -> float | None:
        return None if quality is None else taste * quality

    return hw.Model(
        "shop",
        features=hw.FeatureService("shop_v1", [item, sold, fits, *members]),
        estimator=estimator,
        labels=hw.Labels(
            "choice", table=log, timestamp_field="chosen_at", label=label, known_after="1m"
        ),
        task=hw.Ranking("request", "item", [every["collect_set_item"]], negatives),
    )


def every_candidate(catalogue, log):
    """The log with a row for each candidate of last night, chosen or not: what full training trains
    on.
    """
    cut = pl.col("chosen_at").dt.truncate("1d")
    known = log.group_by("request").agg(
        pl.col("chosen_at").min(), pl.col("taste").first(), wanted=pl.col("item")
    )
    pairs = known.join(catalogue.select("item", "at"), how="cross").filter(pl.col("at") < cut)
    return (
        pairs.with_columns(chosen=pl.col("item").is_in(pl.col("wanted")).cast(pl.Int32))
        .drop("wanted", "at")
        .sort("chosen_at", "item")
    )
