"""What HttpFeatures may say, and what it refuses."""

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
    "another scheme": ({"url": "ftp://ip.example"}, "give http:// or https://"),
    "a field in the host": ({"url": "https://{ip_address}/risk"}, "give http:// or https://"),
    "a secret in the url": ({"url": "https://me:hunter2@ip.example"}, "holds a user or a password"),
    "a header's value": ({"headers": {"X": "hunter2\n"}}, "header 'X' is neither"),
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
