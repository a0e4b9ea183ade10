"""Plans and applies that would have others write a stream than those who wrote what a store holds
of it.
"""

import pytest

import headwater as hw
from headwater.errors import UsageError
from tests.catalog.shop import model, source, view

REDIS = "redis://127.0.0.1:1/0"  # its URL is read, and nothing is opened
IDS = {"id_field": "id", "select": ["user", "amount", "id"]}
PARTITION = {**IDS, "writers": "partition"}
CHANGES = [(IDS, PARTITION), (PARTITION, IDS), ({}, IDS), (IDS, {}), ({}, {"writers": "one"})]


def project(*, streamed=True, topic="clicks", **rules):
    schema = {
        "user": str,
        "friend": str,
        "amount": float,
        "page": str,
        "id": str,
        "at": hw.definitions.connectors.datetime,
    }
    stream = hw.kafka(topic, servers="127.0.0.1:1", schema=schema)
    clicks = source(**{"select": ["user", "amount"], **rules}, stream=stream)
    given = {"freshness": hw.streaming("2s")} if streamed else {}
    return hw.Project("shop", [model([view(source=clicks, **given)])])


@pytest.mark.parametrize(
    ("before", "after"), CHANGES, ids=lambda rules: "-".join(map(str, rules)) or "without ids"
)
def test_a_change_of_who_writes_is_refused_with_the_steps(place, before, after):
    hw.apply(project(**before), place, store=REDIS)
    planned = hw.plan(project(**after), place, store=REDIS)
    (why,) = planned.rewritten.values()
    assert "source 'clicks' is written by" in why
    assert "Give it writers=" in why
    assert (
        "its state again: give the source another name, or ingest into a store with another prefix="
        in why
    )
    assert f"✗ refused: {why}" in str(planned)
    with pytest.raises(UsageError) as caught:
        hw.apply(project(**after), place, store=REDIS)
    assert why in str(caught.value)
    assert hw.plan(project(**before), place, store=REDIS).changes == ()  # nothing was written
    assert hw.apply(project(**after), place, store=REDIS, allow_breaking=True).applied == 2
    assert hw.plan(project(**after), place, store=REDIS).rewritten == {}


def test_the_advice_is_taken(place):
    hw.apply(project(), place, store=REDIS)
    assert (
        "Give it writers='partition'"
        in hw.plan(project(**IDS), place, store=REDIS).rewritten["clicks"]
    )
    assert hw.apply(project(**PARTITION), place, store=REDIS).applied == 2


@pytest.mark.parametrize(
    ("before", "after", "store"),
    [
        (IDS, PARTITION, "lmdb:online"),
        (IDS, {**IDS, "writers": "one"}, REDIS),
        (IDS, {**PARTITION, "topic": "other"}, REDIS),
        ({**IDS, "streamed": False}, {**PARTITION, "streamed": False}, REDIS),
        ({**IDS, "streamed": False}, PARTITION, REDIS),
    ],
    ids=[
        "one process writes LMDB",
        "one writer by both",
        "another topic has its own state",
        "no stream is read",
        "none was read",
    ],
)
def test_what_has_no_state_of_others_is_applied(place, before, after, store):
    hw.apply(project(**before), place, store=store)
    assert hw.plan(project(**after), place, store=store).rewritten == {}
    hw.apply(project(**after), place, store=store)
    assert hw.plan(project(**after), place, store=store).changes == ()


def test_the_store_of_the_environment_counts(place, monkeypatch):
    monkeypatch.setenv("HEADWATER_STORE", REDIS)
    hw.apply(project(**IDS), place)
    with pytest.raises(UsageError, match="is written by each partition's own writer"):
        hw.apply(project(**PARTITION), place)


@pytest.mark.parametrize(
    ("rules", "who"),
    [
        ({}, "each partition has a writer, in any process of the consumer group"),
        (IDS, "one process writes; further ones stand by"),
        (PARTITION, "each partition has a writer, in any process of the consumer group"),
        ({"writers": "one"}, "one process writes; further ones stand by"),
    ],
    ids=str,
)
def test_a_plan_says_who_writes_and_what_ids_need(place, rules, who):
    planned = hw.plan(project(**rules), place, store=REDIS)
    assert f"  source clicks: {who}\n" in str(planned)
    assert ("clicks" in planned.ids) == ("id_field" in rules)
    assert all(f"  source clicks: {words}" in str(planned) for words in planned.ids.values())
    assert hw.plan(project(**rules), place, store="lmdb:online").writers == {}
