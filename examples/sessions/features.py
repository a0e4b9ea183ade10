"""Which of the items will be clicked? Lists made at night, lists ranked on request, and what this
visit has looked at so far.
"""

import headwater as hw

nightly, live = hw.batch("1d", delay="3h"), hw.streaming("1s")
clicks = hw.Source(
    "clicks",
    history=hw.parquet("data/clicks.parquet"),
    timestamp_field="clicked_at",
    id_field="event_id",
    select=["event_id", "request", "session", "user", "item", "previous_item", "category"],
)

popular = hw.FeatureView(
    "popular",
    source=clicks,
    keys=[],
    windows=["1d"],
    freshness=nightly,
    features=[hw.top_k("item", k=100)],
)
item = hw.FeatureView(
    "item",
    source=clicks,
    keys=["item"],
    windows=["1d", "7d"],
    freshness=nightly,
    features=[hw.count(), hw.last("category")],
)
user = hw.FeatureView(
    "user",
    source=clicks,
    keys=["user"],
    windows=["21d"],
    freshness=nightly,
    features=[hw.count(), hw.top_k("category", k=2)],
)
session = hw.FeatureView(
    "session",
    source=clicks,
    keys=["session"],
    windows=["30m"],
    freshness=live,
    features=[hw.count(), hw.last("item", "category"), hw.last_n("category", k=5)],
)
next_items = hw.FeatureView(
    "next_items",
    source=clicks,
    keys=["previous_item"],
    windows=["21d"],
    freshness=nightly,
    features=[hw.top_k("item", k=30)],
)
covisited = next_items.alias("covisited", keys={"previous_item": session["last_item_30m"]})


@hw.request_feature
def covisit_rank(item: str, after: list[str] = covisited["top_k_item_21d"]) -> int | None:
    """How often this item was clicked right after the last one of the visit, as a rank."""
    return after.index(item) if item in after else None


@hw.request_feature
def same_category(
    mine: str | None = item["last_category_7d"], theirs: str | None = session["last_category_30m"]
) -> int | None:
    """Whether the item lies where this visit looked last."""
    return None if mine is None or theirs is None else int(mine == theirs)


@hw.request_feature
def liked_category(
    mine: str | None = item["last_category_7d"], liked: list[str] = user["top_k_category_21d"]
) -> int | None:
    """Whether the item lies where this user usually looks."""
    return None if mine is None else int(mine in liked)


feed = hw.Model(
    "feed",
    task=hw.Ranking(
        group="request",
        item="item",
        candidates=[popular["top_k_item_1d"], covisited["top_k_item_21d"]],
    ),
    features=hw.FeatureService(
        "feed_v1",
        [
            item["count_1d"],
            item["count_7d"],
            user["count_21d"],
            session["count_30m"],
            covisit_rank,
            same_category,
            liked_category,
        ],
    ),
    labels=hw.Labels(
        "clicked",
        table=hw.parquet("data/impressions.parquet"),
        timestamp_field="shown_at",
        label=hw.outcome(clicks, hw.count(), keys=["request", "item"], within="30m"),
    ),
)
levels = {
    "lists made nightly": hw.Level(nightly, predictions=hw.precomputed(nightly, keys=["user"])),
    "ranked on request": hw.Level(nightly),
    "session live": hw.Level(),  # as defined
    "all live": hw.Level(live),
}
evaluation = hw.Evaluation(split="2024-03-15T00:00Z", metrics=["ndcg@10", "recall@5"])
project = hw.Project("feed", [feed], levels=levels, evaluation=evaluation)

if __name__ == "__main__":
    hw.backtest(feed, project.levels, project.evaluation).write_html("report.html")
