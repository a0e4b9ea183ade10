"""What each rule finds, and what it lets pass."""

import re
from pathlib import Path

import polars as pl
import pytest

import headwater as hw
from headwater.catalog.id_memory import ID_MEMORY
from headwater.catalog.lint import RULES, SCHEMA, lints
from headwater.definitions.project import queryable
from tests.catalog.shop import http, model, project, source, view

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


def asked():
    made = source()
    made.history.__dict__["queryable"] = True
    return made


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
    "whole days that are totals": (
        [view(source=source(history=DAYS, known_after="1d"), windows=["7d"])],
        set(),
    ),
    "whole days that are exact": ([view(source=source(history=DAYS, known_after="0s"))], set()),
    "a streaming view": ([live()], set()),
    "on_request() of files": ([view(freshness=hw.on_request())], {("on-request", "view user")}),
    "on_request() without windows": (
        [view(freshness=hw.on_request(), windows=None, ttl="7d")],
        {("on-request", "view user")},
    ),
    "on_request() of what can be queried": (
        [view(freshness=hw.on_request(), source=asked())],
        set(),
    ),
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
    "a batch of enriched events": (
        [view(name="chained", source=hw.enrich(source(), "rated", [view()]))],
        set(),
    ),
    "a stream of corrections": (
        [
            live(
                source=streamed(**CHANGES), features=[hw.count(), hw.max("amount")], windows=["90d"]
            )
        ],
        set(),
    ),
    "a stream of corrections in a window that is long": (
        [live(source=streamed(**CHANGES), windows=["91d"])],
        {("images-kept", "view user")},
    ),
    "a stream of corrections for ever": (
        [live(source=streamed(**CHANGES), windows=None, keys=[])],
        {("images-kept", "view user")},
    ),
    "a batch of corrections": ([view(source=source(**CHANGES), windows=["91d"])], set()),
    "a stream windowed by known_at": (
        [live(source=streamed(known_after="5m", window_on="known_at"))],
        {("known-windows", "view user")},
    ),
    "a batch windowed by known_at": (
        [view(source=source(known_after="5m", window_on="known_at"))],
        set(),
    ),
    "a third party without a history": ([http(history=None)], {("not-in-training", "http ip")}),
    "a third party with one": ([http()], set()),
    "secrets in clear": (
        [http(url="http://ip.example/risk", headers={"Authorization": hw.env("IP_TOKEN")})],
        {("plain-http", "http ip")},
    ),
    "secrets to this machine": (
        [http(url="http://localhost:80/risk", headers={"Authorization": hw.env("IP_TOKEN")})],
        set(),
    ),
    "nothing secret in clear": ([http(url="http://ip.example/risk")], set()),
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
    "a window longer than the delay": ([view(source=source(known_after="59m"))], set()),
    "an offset window longer than the delay": (
        [view(source=source(known_after="90m"), windows=[hw.window("1h", offset="1h")])],
        set(),
    ),
    "a stream without ids": ([live(source=streamed(id_field=None))], {("no-id", "source clicks")}),
    "ids of a week": ([live(source=streamed(id_horizon="7d"))], set()),
    "ids of more than a week": (
        [live(source=streamed(id_horizon="8d"))],
        {("long-id-horizon", "source clicks")},
    ),
    "ids of more than a week in a batch": (
        [view(source=source(id_field="id", id_horizon="8d"))],
        set(),
    ),
    "a feature that nothing reads": (
        [USER["count_1h"], USER["count_1d"]],
        {("unread", "view user")},
    ),
    "features that an alias reads": (
        [USER["count_1h"], USER["count_1d"], USER.alias("friend", keys={"user": "friend"})],
        set(),
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
    "two views at two paces": ([view(), view(name="more", freshness=hw.batch("1h"))], set()),
    "two views of other windows": ([view(), view(name="more", windows=["7d"])], set()),
    "a lifetime": ([view(windows=None)], {("kept-for-ever", "view user")}),
    "a lifetime with a ttl": ([view(windows=None, ttl="90d")], set()),
    "a lifetime without keys": ([view(windows=None, keys=[])], set()),
    "every value for a month": (
        [view(features=[hw.mode("amount"), hw.count().by("large")], windows=["30d"])],
        set(),
    ),
    "every value for longer": (
        [view(features=[hw.mode("amount"), hw.count().by("large")], windows=["31d"])],
        {("many-values", "view user")},
    ),
    "extremes of strings": (
        [texts("seen", features=[hw.min("page"), hw.max("amount")])],
        {("text-extremes", "view seen")},
    ),
    "extremes of numbers": ([texts("seen", features=[hw.max("amount")])], set()),
    "extremes of what cannot be read": ([view(features=[hw.max("amount")])], set()),
}


@pytest.mark.filterwarnings("ignore:.*not longer than the delay")
@pytest.mark.parametrize(("features", "expected"), FOUND.values(), ids=FOUND)
def test_a_rule_finds_what_it_looks_for(features, expected):
    made = features() if callable(features) else features
    assert {
        (lint.rule, lint.subject)
        for lint in lints(made if isinstance(made, hw.Project) else project(*made))
    } == expected


def test_every_rule_is_planted():
    assert {rule for _, found in FOUND.values() for rule, _ in found} == set(RULES)


def test_the_refused_name_what_they_refuse():
    found = lints(project(live(source=streamed(known_after="5m", window_on="known_at"))))
    assert [lint.severity for lint in found] == ["refused"]
    assert "source clicks has window_on='known_at'" in found[0].message
    assert "timestamp_field" in found[0].remedy


def test_a_shared_source_is_told_of_once(tmp_path):
    one, other = (
        view(name=n, source=KEPT, freshness=STREAM, windows=[w])
        for n, w in (("one", "1h"), ("other", "1d"))
    )
    made = hw.plan(project(one, other), tmp_path / "catalog.sqlite")
    assert str(made).count("has no stream to ingest, and one, other are streaming") == 1


def test_many_of_one_kind_are_told_in_one_line(tmp_path):
    one, other = (
        view(name=n, freshness=hw.on_request(), windows=[w])
        for n, w in (("one", "1h"), ("other", "1d"))
    )
    made = hw.plan(project(one, other), tmp_path / "catalog.sqlite")
    assert "refused: view one, view other: on_request()" in str(made)
    assert len(made.refused) == 2


def test_no_file_and_no_frame_can_be_queried_for_a_key():
    assert not queryable(source())
    assert not queryable(source(history=pl.DataFrame({"a": [1]})))
    assert queryable(asked())


def test_the_page_lists_every_rule():
    page = (Path(__file__).resolve().parents[2] / "docs" / "catalog.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([a-z-]+)` \| (refused|warning) \|", page, re.MULTILINE))
    assert listed == {rule: severity for rule, (severity, _) in RULES.items()} | {
        SCHEMA: "refused",
        ID_MEMORY: "refused",
    }


def test_two_models_share_a_view():
    assert (
        lints(
            project(
                models=[
                    model([USER["count_1h"], USER["count_1d"]]),
                    model([USER], name="late", service="late_v1"),
                ]
            )
        )
        == ()
    )
