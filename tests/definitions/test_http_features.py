"""What HttpFeatures may say, and what it refuses."""

import datetime as dt

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DefinitionError

GIVEN = {
    "url": "https://ip.example/v1/risk",
    "request": {"ip_address": str},
    "response": {"score": float},
}
LOG = hw.Source("ip_log", history=hw.parquet("archive/ip"), timestamp_field="fetched_at")
VISITS = hw.Source(
    "visits",
    history=hw.parquet("visits.parquet"),
    timestamp_field="at",
    select=["country", "ip_address"],
)


def ip(**more):
    given = GIVEN | more
    return hw.HttpFeatures(given.pop("name", "ip"), **given)


def view(**more):
    given = {
        "source": VISITS,
        "keys": ["country"],
        "features": [hw.count()],
        "windows": ["1d"],
        "freshness": hw.streaming("2s"),
    } | more
    return hw.FeatureView(given.pop("name", "country"), **given)


REFUSED = {
    "a name": ({"name": "ip__x"}, "third-party features is named 'ip__x'"),
    "no url": ({"url": "ip.example/risk"}, "give http:// or https://"),
    "another scheme": ({"url": "ftp://ip.example"}, "give http:// or https://"),
    "a field in the host": ({"url": "https://{ip_address}/risk"}, "give http:// or https://"),
    "a field that is not asked": (
        {"url": "https://ip.example/{ip_adress}"},
        "place for 'ip_adress'.*did you mean 'ip_address'",
    ),
    "a secret in the url": ({"url": "https://me:hunter2@ip.example"}, "holds a user or a password"),
    "a space in the url": (
        {"url": "https://ip.example/a b"},
        "give it with percent-encoded spaces",
    ),
    "no request": ({"request": {}}, "request is {}"),
    "a request's type": ({"request": {"ip_address": list}}, "request: 'ip_address' has the type"),
    "a response's type": (
        {"response": {"score": "float"}},
        "response: 'score' has the type 'float'",
    ),
    "a response's name": (
        {"response": {"risk.score": float}},
        "response: a column is named 'risk.score'",
    ),
    "a response's place": (
        {"response": {"score": ("risk..score", float)}},
        "the path of 'score' is 'risk..score'",
    ),
    "a header's name": ({"headers": {"X Y": "a"}}, "'X Y' is not a header name"),
    "a header's value": ({"headers": {"X": "hunter2\n"}}, "header 'X' is neither"),
    "a fallback of no column": (
        {"fallback": {"skore": 1.0}},
        "fallback names 'skore'.*did you mean 'score'",
    ),
    "a fallback's type": (
        {"fallback": {"score": "high"}},
        "the fallback of 'score' is 'high'; give float",
    ),
    "a fallback that is NaN": (
        {"fallback": {"score": float("nan")}},
        "the fallback of 'score' is nan",
    ),
    "a timeout": ({"timeout": "soon"}, "timeout is 'soon'"),
    "no timeout": ({"timeout": "0s"}, "timeout is '0s'; give a positive duration"),
    "no breaker": ({"breaker": "0s"}, "breaker is '0s'; give a positive duration"),
    "retries": ({"retries": -1}, "retries is -1; give an integer from 0 to 10"),
    "concurrency": ({"concurrency": 0}, "concurrency is 0"),
    "entries": ({"cache_entries": True}, "cache_entries is True"),
    "a method": ({"method": "PUT"}, "method is 'PUT'"),
    "idempotent": ({"idempotent": "yes"}, "idempotent is 'yes'"),
    "stale without a cache": ({"stale_while_revalidate": "1m"}, "needs cache="),
    "a history": ({"history": hw.parquet("ip")}, "give a Source of earlier answers"),
    "a history without a field": ({"history": VISITS}, "source 'visits', has no 'score'"),
}


@pytest.mark.parametrize(("more", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(more, said):
    with pytest.raises(DefinitionError, match=said) as told:
        ip(**more)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    ("more", "same"),
    [
        ({"url": "https://ip.example/v2/risk"}, False),
        ({"method": "POST"}, False),
        ({"request": {"ip_address": str, "n": int}}, False),
        ({"response": {"score": ("risk", float)}}, False),
        ({"response": {"score": ("score", float)}}, True),
        ({"fallback": {"score": 1.0}}, False),
        ({"fallback": {"score": None}}, True),
        ({"history": LOG}, False),
        ({"headers": {"Authorization": hw.env("IP_TOKEN")}}, True),
        (
            {
                "timeout": "1s",
                "cache": "1h",
                "stale_while_revalidate": "1h",
                "retries": 3,
                "concurrency": 1,
                "breaker": None,
            },
            True,
        ),
    ],
)
def test_the_fingerprint_is_of_what_answers_mean(more, same):
    assert (ip(**more) == ip()) is same
    assert (hw.FeatureService("s", [ip(**more)]) == hw.FeatureService("s", [ip()])) is same
    assert (ip(**more)["score"] == ip()["score"]) is same


def test_a_view_without_a_third_party_has_the_fingerprint_that_it_had():
    """What was applied and trained before stays what it is."""
    assert (
        view(source=hw.Source("visits", history=hw.parquet("v"), timestamp_field="at")).fingerprint
        == "1d81c9d0b8fec34b"
    )


def test_a_service_names_the_columns_and_asks_for_the_fields():
    features = hw.FeatureService("s", [view(), ip(response={"score": float, "country": str})])
    assert features.feature_names == ("country__count_1d", "ip__score", "ip__country")
    assert features.needed_by() == {
        "country": ["view 'country'"],
        "ip_address": ["third-party features 'ip'"],
    }
    assert [v.name for v in features.views] == ["country"]
    assert [http.name for http in features.http_features] == ["ip"]
    assert features.sources == (VISITS,)


def test_a_column_feeds_request_features_and_keys():
    one = ip(response={"score": float, "country": str}, history=LOG)

    @hw.request_feature
    def risky(amount: float, score: float | None = one["score"]) -> bool:
        return amount * (score or 0) > 10

    features = hw.FeatureService(
        "s", [risky, view().alias("from", keys={"country": one["country"]})]
    )
    assert features.http_features == (one,)
    assert [v.name for v in features.views_in_history] == ["ip", "from"]
    assert features.needed_by() == {
        "ip_address": ["third-party features 'ip'"],
        "amount": ["request feature 'risky'"],
    }
    with pytest.raises(DefinitionError, match="no column 'skore'; did you mean 'score'"):
        one["skore"]


def test_what_is_made_of_a_third_party_without_a_history_is_not_in_training():
    one = ip(response={"score": float, "country": str})

    @hw.request_feature
    def risky(score: float | None = one["score"]) -> bool:
        return (score or 0) > 10

    members = [
        view(),
        one,
        risky,
        view().alias("from", keys={"country": one["country"]}),
        hw.RequestField("amount", float),
    ]
    features = hw.FeatureService("s", members)
    assert features.not_in_training == ("ip__score", "ip__country", "risky", "from__count_1d")
    assert features.in_training.feature_names == ("country__count_1d", "amount")
    assert hw.FeatureService("t", [view()]).in_training.not_in_training == ()
    with pytest.raises(DefinitionError, match="no feature can be trained on"):
        _ = hw.FeatureService("u", [one]).in_training


def test_two_of_one_name_are_refused():
    with pytest.raises(DefinitionError, match="two features are named 'ip__score'"):
        hw.FeatureService("s", [ip(), ip(method="POST")])
    with pytest.raises(DefinitionError, match="two views are named 'ip'"):
        hw.FeatureService("s", [ip(), view(name="ip")])
    labels = hw.Labels(
        "l",
        table=pl.DataFrame({"t": [dt.datetime(2024, 5, 1, tzinfo=dt.UTC)], "y": [1]}),
        timestamp_field="t",
        label="y",
        known_after="1d",
    )
    models = [
        hw.Model(n, task="binary", labels=labels, features=hw.FeatureService(n, [one]))
        for n, one in (("a", ip()), ("b", ip(method="POST")))
    ]
    with pytest.raises(DefinitionError, match="two third-party features are named 'ip' and differ"):
        hw.Project("shop", models)
    assert hw.Project("shop", [models[0]]).views == ()


def test_events_are_enriched_only_with_what_a_history_says():
    with pytest.raises(
        DefinitionError,
        match="from a third party without history=, so past values are not known: ip__score",
    ):
        hw.enrich(VISITS, "rated", [ip()["score"]])
    assert hw.enrich(VISITS, "rated", [ip(history=LOG)["score"]]).columns >= {"ip__score"}


def test_a_level_leaves_third_parties_alone_that_it_does_not_name():
    one = ip(history=LOG)
    assert hw.Level(hw.batch("1d")).freshness(one.view) == hw.on_request()
    assert hw.Level({one: hw.never()}).freshness(one.view) == hw.never()
    assert hw.Level({view(): hw.never()}).freshness(one.view) == hw.on_request()
