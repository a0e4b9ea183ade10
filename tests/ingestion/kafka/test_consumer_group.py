"""The consumer group of a source, which is of one store; and what ingestion and doctor say of a
topic's settings.
"""

import json
from contextlib import closing
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

import headwater as hw
from headwater.assessing import doctor as module
from headwater.ingestion.consumer_group import group_of
from headwater.ingestion.ingest import ingest
from headwater.stores.backup import restore
from headwater.stores.keyspace import developing, identified, identity, scoped

SCHEMA = {"key": int, "amount": float, "at": datetime}


def source_of(topic="payments", servers="localhost:9092", **given):
    return hw.Source(
        "events",
        timestamp_field="at",
        stream=hw.kafka(topic, servers=servers, schema=SCHEMA, **given),
    )


def open_store(folder, name):
    return closing(hw.operations.open_store(f"lmdb:{folder / name}?size=100MB"))


def test_each_store_project_and_environment_has_a_group_of_its_own(tmp_path):
    source = source_of()
    with open_store(tmp_path, "production") as production:
        scoped(production, "shop", write=True)
    with (
        open_store(tmp_path, "a") as a,
        open_store(tmp_path, "b") as b,
        open_store(tmp_path, "c") as c,
    ):
        first = scoped(a, "shop", write=True)
        assert group_of(first, source) is None
        groups = [
            group_of(store, source, write=True) for store in (first, scoped(b, "shop", write=True))
        ]
        groups.append(group_of(scoped(a, "fraud", write=True, shared=True), source, write=True))
        c.commit({b"mdevelopment": b"env1"}, {})
        development = developing(
            scoped(c, "shop", write=True), "shop", f"lmdb:{tmp_path / 'production'}"
        )
        groups.append(group_of(development, source, write=True))
        assert len(set(groups)) == 4, groups
        assert all(group.startswith("headwater-events-") for group in groups)
        assert group_of(first, source) == group_of(first, source, write=True) == groups[0]
        named = source_of(group="payments-team")
        assert group_of(first, named) == "payments-team"
        assert group_of(development, named) == "payments-team-development-env1"
        development.store.production.store.close()


def test_a_restored_backup_is_another_store(tmp_path):
    with open_store(tmp_path, "a") as store:
        mine = identified(store)
        assert mine == identified(store) == identity(store)
        store.backup(tmp_path / "backup")
    restore(tmp_path / "backup", f"lmdb:{tmp_path / 'b'}?size=100MB")
    with open_store(tmp_path, "b") as copy:
        assert identity(copy) == ""
        assert identified(copy) != mine


def project_of(source):
    view = hw.FeatureView(
        "card",
        source=source,
        keys=["key"],
        windows=["1h"],
        features=[hw.count()],
        freshness=hw.streaming("2s"),
    )
    table = hw.parquet("none.parquet")
    labels = hw.Labels(
        "labels", table=table, timestamp_field="at", label="amount", known_after="1h"
    )
    return hw.Project(
        "shop",
        [hw.Model("m", task="regression", features=hw.FeatureService("s", [view]), labels=labels)],
    )


def ingested(project, store, folder):
    with closing(hw.operations.open_store(store)) as opened:
        ingest(project, opened, data_dir=folder, once=True)


def counts(store):
    with closing(hw.operations.open_store(store, readonly=True)) as opened:
        from headwater.state.view_state import progresses

        return {
            name: done.counts.get("accepted")
            for name, done in progresses(scoped(opened, "shop"), "events").items()
        }


def warnings(project, store):
    found = module._streams(SimpleNamespace(project=project, store=store))
    return [each for each in found if each.health == "warning"]


@pytest.mark.slow
def test_a_group_of_another_name_reads_on_from_the_stored_offsets_and_doctor_sees_who_shares_one(
    broker, tmp_path
):
    """A group that was named and no longer is; and two stores that are told to share a group."""
    topic = broker.topic(2)

    def produce(n):
        for p in (0, 1):
            broker.produce(
                topic,
                [
                    json.dumps(
                        {"key": 1, "amount": 1.0, "at": datetime.now(UTC).isoformat()}
                    ).encode()
                ]
                * n,
                p,
            )

    produce(5)
    a, b = (f"lmdb:{tmp_path / name}?size=100MB" for name in "ab")
    named = project_of(source_of(topic, broker.servers, group="headwater-events"))
    ingested(named, a, tmp_path / "archive")
    produce(2)
    now = project_of(source_of(topic, broker.servers))
    ingested(now, a, tmp_path / "archive")
    assert counts(a) == {b"": 14}
    ingested(now, b, tmp_path / "archive-b")
    assert counts(b) == {b"": 14}  # none of the first store's partitions are missing
    assert warnings(now, a) == warnings(now, b) == []

    together = project_of(source_of(topic, broker.servers, group="headwater-events"))
    produce(1)
    ingested(together, b, tmp_path / "archive-b")
    (warned,) = warnings(together, a)
    assert "another online store" in warned.evidence
    assert "leave group= out" in warned.remedy
