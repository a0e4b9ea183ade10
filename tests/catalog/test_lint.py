"""What each rule finds, and what it lets pass."""

import polars as pl
import pytest

import headwater as hw
from headwater.catalog.lint import lints
from tests.catalog.shop import http, project, source, view

STREAM = hw.streaming("2s")
KEPT = source(id_field="id")  # nothing to complain of, but that it has no stream yet
CHANGES = {"id_field": "id", "changes": "before", "known_at_field": "known"}


def streamed(**more):
    """A source that is streamed, without a complaint."""
    made = source(**({"id_field": "id"} | more))
    made.__dict__["stream"] = hw.kafka("clicks") if "kafka" in hw.__all__ else "a stream"
    return made


def live(**more):
    return view(**({"source": streamed(), "freshness": STREAM} | more))


def texts(name, **more):
    frame = pl.DataFrame(
        {"user": ["a"], "at": [0], "amount": [1.0], "page": ["x"]},
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    )
    return view(
        name=name,
        source=source(name=f"{name}_events", history=frame, select=["user", "amount", "page"]),
        **more,
    )


USER = view()
DAYS = pl.DataFrame(
    {
        "user": ["a"] * 30,
        "at": pl.Series(range(30)).cast(pl.Int64) * 86_400_000_000,
        "amount": [1.0] * 30,
        "page": ["x"] * 30,
    },
    schema_overrides={"at": pl.Datetime("us", "UTC")},
)

# the views that a model reads -> the findings for each definition
FOUND = {
    "a daily view": ([view()], set()),
    "whole days": ([view(source=source(history=DAYS))], {("coarse-timestamps", "source clicks")}),
    "a streaming view": ([live()], set()),
    "on_request() of files": ([view(freshness=hw.on_request())], {("on-request", "view user")}),
    "never() as a view's own": ([view(freshness=hw.never())], {("own-freshness", "view user")}),
    "measured() as a view's own": (
        [view(freshness=hw.measured(["1s"]))],
        {("own-freshness", "view user")},
    ),
    "a stream of enriched events": (
        [
            view(
                name="chained",
                source=hw.enrich(streamed(), "rated", [live()["count_1h"]]),
                freshness=STREAM,
            )
        ],
        {("enriched-stream", "view chained"), ("unread", "view user")},
    ),
    "a stream of corrections in a window that is long": (
        [live(source=streamed(**CHANGES), windows=["91d"])],
        {("images-kept", "view user")},
    ),
    "a stream windowed by known_at": (
        [live(source=streamed(known_after="5m", window_on="known_at"))],
        {("known-windows", "view user")},
    ),
    "a third party without a history": ([http(history=None)], {("not-in-training", "http ip")}),
    "a third party with one": ([http()], set()),
    "secrets in clear": (
        [http(url="http://ip.example/risk", headers={"Authorization": hw.env("IP_TOKEN")})],
        {("plain-http", "http ip")},
    ),
    "a call that is cut off": (
        project(http(timeout="80ms"), latency_budget="80ms"),
        {("cut-off", "http ip")},
    ),
    "a call that is not": (project(http(timeout="79ms"), latency_budget="80ms"), set()),
    "a stream without a stream": (
        [view(source=KEPT, freshness=STREAM)],
        {("no-stream", "source clicks")},
    ),
    "a batch without a history": (
        [view(source=source(history=None))],
        {("no-history", "view user")},
    ),
    "a window as long as the delay": (
        lambda: [view(source=source(known_after="1h"))],  # which warns when it is made
        {("within-delay", "view user")},
    ),
    "a stream without ids": ([live(source=streamed(id_field=None))], {("no-id", "source clicks")}),
    "ids of more than a week": (
        [live(source=streamed(id_horizon="8d"))],
        {("long-id-horizon", "source clicks")},
    ),
    "a feature that nothing reads": (
        [USER["count_1h"], USER["count_1d"]],
        {("unread", "view user")},
    ),
    "a feature that fills a key": (
        [
            (latest := view(name="home", features=[hw.last("user")], windows=None, ttl="7d")).alias(
                "mine", keys={}
            )["last_user"],
            view().alias("peer", keys={"user": latest["last_user"]}),
        ],
        set(),
    ),
    "two views that could be one": (
        [view(), view(name="more", features=[hw.max("amount")])],
        {("twins", "view more")},
    ),
    "a lifetime": ([view(windows=None)], {("kept-for-ever", "view user")}),
    "every value for longer": (
        [view(features=[hw.mode("amount"), hw.count().by("large")], windows=["31d"])],
        {("many-values", "view user")},
    ),
    "extremes of strings": (
        [texts("seen", features=[hw.min("page"), hw.max("amount")])],
        {("text-extremes", "view seen")},
    ),
}


@pytest.mark.filterwarnings("ignore:.*not longer than the delay")
@pytest.mark.parametrize(("features", "expected"), FOUND.values(), ids=FOUND)
def test_a_rule_finds_what_it_looks_for(features, expected):
    made = features() if callable(features) else features
    assert {
        (lint.rule, lint.subject)
        for lint in lints(made if isinstance(made, hw.Project) else project(*made))
    } == expected


def test_the_refused_name_what_they_refuse():
    found = lints(project(live(source=streamed(known_after="5m", window_on="known_at"))))
    assert [lint.severity for lint in found] == ["refused"]
    assert "source clicks has window_on='known_at'" in found[0].message
    assert "timestamp_field" in found[0].remedy
