"""What a plan says of planted changes: before, after, and what follows."""

import json

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DefinitionError
from tests.catalog.shop import LARGE, http, model, project, source, view

STREAM = hw.streaming("2s")
USER = view()
KEYED = source(select=["user", "friend", "amount", LARGE])


def rated(**more):
    return hw.enrich(source(), "rated", [view(**more)])


@hw.request_feature
def cents(amount: float) -> int:
    return round(amount * 100)


def otherwise():
    @hw.request_feature
    def cents(amount: float) -> int:
        return round(amount * 1000)

    return cents


B, X = "backfill", "breaking"

# before, after -> the effect on each definition that changes, and strings in the plan
CHANGES = {
    "a window": (
        project(),
        project(view(windows=["2h", "1d"])),
        {"view user": {B, X}, "service churn_v1": set()},
        [
            "features removed: count_1h, mean_amount_1h",
            "features added: count_2h, mean_amount_2h",
            "model churn reads user__count_1h, user__mean_amount_1h, which would be gone",
        ],
    ),
    "one more feature": (
        project(),
        project(view(features=[hw.count(), hw.mean("amount"), hw.max("amount")])),
        {"view user": {B}, "service churn_v1": set()},
        ["features added: max_amount_1h, max_amount_1d"],
    ),
    "another url": (
        project(USER, http()),
        project(USER, http(url="https://other.example/risk")),
        {"http ip": {X}},
        [
            "url: https://ip.example/risk → https://other.example/risk",
            "model churn reads ip__score, which would be requested differently",
        ],
    ),
    "a third party is asked no more": (
        project(USER, http()),
        project(USER),
        {"http ip": {X}, "source ip_log": set(), "service churn_v1": set()},
        ["model churn reads ip__score, of a third party that is not called any more"],
    ),
    "another meaning under the same name": (
        project(view(features=[hw.mean("amount", name="spent")])),
        project(view(features=[hw.sum("amount", name="spent")])),
        {"view user": {B, X}},
        [
            (
                "feature spent_1h: mean(amount) over 1h, in steps of 1m → sum(amount) over 1h, in "
                "steps of 1m"
            ),
            "would mean something else",
        ],
    ),
    "other keys": (
        project(view(source=KEYED)),
        project(view(source=KEYED, keys=["user", "friend"])),
        {"view user": {B, X}},
        [
            "keys: user → user, friend",
            (
                "user__count_1h, user__count_1d, user__mean_amount_1h, user__mean_amount_1d, which "
                "would be of other keys"
            ),
        ],
    ),
    "a ttl, which needs the time of the last event": (
        project(),
        project(view(ttl="7d")),
        {"view user": {B}},
        ["ttl: none → 7d"],
    ),
    "batch to streaming": (
        project(),
        project(view(freshness=STREAM)),
        {"view user": {B}},
        [
            "freshness: batch every 1d UTC, delay 4h → streaming 2s",
            "rebuilt for the stream, seeded from history",
        ],
    ),
    "another lag": (
        project(view(freshness=STREAM)),
        project(view(freshness=hw.streaming("1m"))),
        {"view user": set()},
        ["freshness: streaming 2s → streaming 1m", "the stored state stays"],
    ),
    "a filter": (
        project(),
        project(view(source=source(filter=pl.col("amount") > 0))),
        {"source clicks": set(), "view user": {B, X}},
        [
            'filter: none → [(col("amount")) > (dyn int: 0)]',
            "its source clicks has another filter",
            "which would count other events",
        ],
    ),
    "what a column is made of": (
        project(view(features=[hw.count(), hw.mean("large")])),
        project(
            view(
                features=[hw.count(), hw.mean("large")],
                source=source(select=["user", "amount", (pl.col("amount") > 20).alias("large")]),
            )
        ),
        {"source clicks": set(), "view user": {B, X}},
        [
            (
                'select large: [(col("amount")) > (dyn int: 10)].alias("large") → '
                '[(col("amount")) > (dyn int: 20)].alias("large")'
            ),
            "its source clicks has another select",
            (
                "model churn reads user__mean_large_1h, user__mean_large_1d, which would be made "
                "of other values"
            ),
        ],
    ),
    "another fill of an alias": (
        project(USER, USER.alias("friend", keys={"user": "friend"})),
        project(USER, USER.alias("friend", keys={"user": "buddy"})),
        {"view friend": {X}},
        ["request_keys user: friend → buddy", "of other keys"],
    ),
    "a view that is gone": (
        project(USER, view(name="more")),
        project(),
        {"view more": {X}, "service churn_v1": set()},
        [
            (
                "model churn reads more__count_1h, more__count_1d, more__mean_amount_1h, "
                "more__mean_amount_1d, of a view that is removed"
            )
        ],
    ),
    "the body of a request feature": (
        project(USER, cents),
        project(USER, otherwise()),
        {"service churn_v1": {X}},
        [
            "feature cents: differs in what cents(amount) -> int does not show",
            "model churn reads cents, which would mean something else",
        ],
    ),
    "a model that is gone, with what only it read": (
        project(models=[model(), model([view(name="other")], name="late", service="late_v1")]),
        project(models=[model()]),
        {"view other": set(), "service late_v1": set(), "model late": set()},
        ["model late", "stays live until it is applied with allow_destroy (--allow-destroy)"],
    ),
    "what events are enriched with": (
        project(view(name="chained", source=rated(windows=["1h"]))),
        project(view(name="chained", source=rated(windows=["2h"]))),
        {"source rated": set(), "view chained": {B, X}, "view user": {B}},
        ["features: ", "its source rated has another history"],
    ),
}


@pytest.mark.parametrize(("before", "after", "expected", "said"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_told(before, after, expected, said, tmp_path):
    catalog = tmp_path / "catalog.sqlite"
    hw.apply(before, catalog)
    made = hw.plan(after, catalog)
    found = {
        f"{c.kind} {c.name}": {B} & {B * c.needs_backfill} | {X} & {X * bool(c.breaking)}
        for c in made.changes
    }
    assert found == expected
    text = str(made)
    blamed = {c.name for c in made.changes for detail in c.details if "its source" in detail}
    assert not blamed or any(key.startswith("source ") for key in expected), (
        "a source is blamed that did not change"
    )
    assert [part for part in said if part not in text] == []
    assert set(made.needs_backfill) == {
        key.split()[1] for key, what in expected.items() if B in what
    }
    json.dumps(made.to_dict(), allow_nan=False)


def test_a_model_of_another_project_is_broken_too(tmp_path):
    catalog = tmp_path / "catalog.sqlite"
    hw.apply(project(), catalog)
    hw.apply(
        project(name="fraud", models=[model([USER["count_1h"]], name="fraud", service="fraud_v1")]),
        catalog,
    )
    made = hw.plan(project(view(windows=["1d"])), catalog)
    assert any(
        "model fraud of project fraud reads user__count_1h, which would be gone" in said
        for said in made.breaking
    )


def test_another_project_s_view_of_the_same_name_is_another_view(tmp_path):
    catalog = tmp_path / "catalog.sqlite"
    hw.apply(project(view(windows=["1h"])), catalog)
    hw.apply(project(view(windows=["1h", "7d"]), name="fraud", models=None), catalog)
    assert all(
        "fraud" not in said for said in hw.plan(project(view(windows=["1d"])), catalog).breaking
    )


def test_two_services_of_one_name_are_refused(tmp_path):
    two = hw.Project("shop", [model(), model([USER["count_1h"]], name="late")])
    with pytest.raises(DefinitionError, match="two feature services are named 'churn_v1'"):
        hw.plan(two, tmp_path / "catalog.sqlite")


def test_secrets_of_a_connector_are_not_kept(tmp_path):
    class Broker:
        schema = None

        def __repr__(self):
            return "Broker(password='hunter2')"

    class Topic(Broker):
        def __str__(self):
            return "the topic clicks"

    for broker, said in ((Broker(), b"Broker"), (Topic(), b"the topic clicks")):
        events = source()
        events.__dict__["stream"] = broker
        hw.apply(project(view(source=events)), tmp_path / "catalog.sqlite")
        kept = (tmp_path / "catalog.sqlite").read_bytes()
        assert b"hunter2" not in kept
        assert said in kept
