"""A shop that is served: two feature services, a model that is trained, one that ranks, and a
source whose events are pushed.
"""

import dataclasses
import os
import socket
import threading
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import httpx
import numpy as np
import polars as pl

import headwater as hw
from headwater.jobs.materialize import materialize_view

# When the shop is asked, in the processes that a test starts too: a run may last until after the
# next cut.
ASKED_AT = datetime.fromisoformat(
    os.environ.setdefault("HEADWATER_TEST_ASKED_AT", datetime.now(UTC).isoformat())
)
NOW = ASKED_AT.replace(minute=0, second=0, microsecond=0)  # the last cut of the hourly views
AGO = [NOW - timedelta(hours=1, minutes=7 * i) for i in range(60)]
DAYS = [date(2024, 5, 1), date(2024, 5, 2)]
EVENTS = pl.DataFrame(
    {
        "user": [i % 5 for i in range(60)],
        "item": [f"i{i * i % 7}" for i in range(60)],
        "day": [DAYS[i % 2] for i in range(60)],
        "amount": [float(i) for i in range(60)],
        "at": AGO,
    }
)
hourly, nightly = hw.batch("1h"), hw.batch("1d")
visits = hw.Source("visits", history=EVENTS, timestamp_field="at")
clicks = hw.Source(
    "clicks", timestamp_field="at", stream=hw.push(schema={"user": int, "at": datetime})
)

user = hw.FeatureView(
    "user",
    source=visits,
    keys=["user"],
    windows=["2d"],
    freshness=hourly,
    features=[hw.count(), hw.mean("amount"), hw.last("item")],
)
item = hw.FeatureView(
    "item",
    source=visits,
    keys=["item"],
    windows=["2d"],
    freshness=hourly,
    features=[hw.count(), hw.max("amount")],
)
day = hw.FeatureView(
    "day", source=visits, keys=["day"], windows=["2d"], freshness=hourly, features=[hw.count()]
)
popular = hw.FeatureView(
    "popular",
    source=visits,
    keys=[],
    windows=["2d"],
    freshness=hourly,
    features=[hw.top_k("item", k=3)],
)
recent = hw.FeatureView(
    "recent",
    source=visits,
    keys=["user"],
    windows=["2d"],
    freshness=hourly,
    features=[hw.last_n("item", k=3)],
)
live = hw.FeatureView(
    "live",
    source=clicks,
    keys=["user"],
    windows=["1h"],
    freshness=hw.streaming("2s"),
    features=[hw.count()],
)


@hw.request_feature
def ratio(amount: float, usual: float | None = user["mean_amount_2d"]) -> float | None:
    return amount / usual if usual else None


@hw.request_feature
def hour(asked: datetime) -> int:
    return asked.hour


@hw.request_feature
def brittle(amount: float | None) -> float | None:
    return None if amount is None else 1 / amount


def labels(name, label, **columns):
    table = pl.DataFrame({"asked_at": AGO, label: [i % 3 == 0 for i in range(60)], **columns})
    return hw.Labels(name, table=table, timestamp_field="asked_at", label=label, known_after="1m")


MEMBERS = [user, ratio, hour, hw.RequestField("country", str)]
COLUMNS = {
    "user": EVENTS["user"],
    "amount": EVENTS["amount"],
    "asked": AGO,
    "country": ["no", "se"] * 30,
}
churn = hw.Model(
    "churn",
    task="binary",
    features=hw.FeatureService("churn_v1", MEMBERS),
    labels=labels("left", "gone", **COLUMNS),
)
plain = hw.Model(
    "plain",
    task="regression",
    features=hw.FeatureService("plain_v1", [user, day, brittle]),
    labels=labels("spent", "spent", **COLUMNS),
)
feed = hw.Model(
    "feed",
    task=hw.Ranking(
        group="request",
        item="item",
        candidates=[recent["last_n_item_2d"], popular["top_k_item_2d"]],
    ),
    features=hw.FeatureService("feed_v1", [user, item]),
    labels=labels(
        "clicked", "clicked", user=EVENTS["user"], item=EVENTS["item"], request=list(range(60))
    ),
)
watched = hw.Model(
    "watched",
    task="binary",
    features=hw.FeatureService("watched_v1", [live]),
    labels=labels("seen", "seen", user=EVENTS["user"]),
)
PROJECT = hw.Project(
    "shop",
    [churn, plain, feed],
    levels={"nightly": hw.Level(nightly), "never there": hw.Level(hw.batch("1d", at="03:00"))},
)
ROW = {"user": 1, "amount": 12.5, "asked": "2024-05-01T12:30:00+02:00", "country": "no"}


class Sum:
    """A model that adds up the numbers among its features."""

    version = "sum-1"

    def one(self, values):
        return float(sum(v for v in values if isinstance(v, int | float)))

    def score(self, frame):
        return np.array([self.one(row) for row in frame.iter_rows()])


MODELS = {"churn": Sum(), "plain": Sum(), "feed": Sum(), "watched": Sum()}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def filled(store, *views):
    """A store with the last cut of some views."""
    for view in views or (user, item, day, popular, recent):
        materialize_view(view, store, int(NOW.timestamp()) * 1_000_000)
    return store


@contextmanager
def asking(store, project=PROJECT, **options):
    """A client of the project, served, which is asked before the next cut, however late it is."""
    given = {"models": MODELS, "now": lambda: int(ASKED_AT.timestamp()) * 1_000_000, **options}
    own = {
        field.name: given.pop(field.name)
        for field in dataclasses.fields(hw.operations.ServeOptions)
        if field.name in given
    }
    serving = hw.operations.serve(
        project,
        store,
        listen=f"127.0.0.1:{free_port()}",
        options=hw.operations.ServeOptions(**own),
        **given,
    )
    with serving as url, httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        yield client


class Lines:
    """Where a log goes in a test."""

    def __init__(self):
        self.text, self.lock = "", threading.Lock()

    def write(self, text):
        with self.lock:
            self.text += text

    def flush(self):
        pass
