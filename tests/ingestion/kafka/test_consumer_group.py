"""The consumer group of a source, which is of one store; and what ingestion and doctor say of a
topic's settings.
"""

from contextlib import closing
from datetime import datetime

import headwater as hw
from headwater.ingestion.consumer_group import group_of
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
