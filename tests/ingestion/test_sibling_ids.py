"""A copy of an event that comes by another partition: after partitions were added, and in a child of a closed partition."""

import contextlib
import threading
from collections import Counter
from datetime import datetime

import pytest

import headwater as hw
import headwater_aws
from headwater.ingestion.stream_group import StreamGroup
from headwater.online_stores import keyspace
from tests.flow import Flow, clock, micros, streaming_view  # noqa: F401 (a fixture)
from tests.online_stores.durable_stores import durable_store
from tests.online_stores.servers import clustered

HOUR = 3600
SCHEMA = {"id": int, "key": int, "amount": float, "at": datetime}


@pytest.fixture(params=["redis", "cluster", "postgres"])
def store(request, tmp_path):
    with contextlib.ExitStack() as stack:
        if request.param == "cluster":
            url = f"redis+cluster://127.0.0.1:{stack.enter_context(clustered(tmp_path / 'cluster'))[0].port}"
        else:
            url = stack.enter_context(durable_store(request.param, tmp_path))
        yield stack.enter_context(contextlib.closing(hw.operations.open_store(url)))


def flow_of(store, folder, stream=None):
    rules = {"stream": stream or hw.kafka("events", schema=SCHEMA), "timezone": "UTC", "id_field": "id", "id_horizon": "1h"}
    return Flow([streaming_view(source=rules)], store, folder)


def event(number):
    return {"id": number, "key": 1, "amount": 1.0, "at": 0}


def counts(committed):
    return [(one.counts.get("accepted", 0), one.counts.get("copies", 0)) for one in committed]


def group(store, flow, **more):
    return StreamGroup(store, flow.ingestor.acceptance.source.name, **more)


def test_partitions_share_ids_after_a_growth(store, tmp_path, clock):
    flow = flow_of(store, tmp_path)
    group(store, flow).counted(2)
    assert counts(flow.send([event(1), event(2)], now=10)) == [(2, 0)]
    assert counts(flow.send([event(3)], now=11, partition="1")) == [(1, 0)]
    clock(20)
    group(store, flow).counted(3)
    assert counts(flow.send([event(2), event(4)], now=21, partition="1")) == [(1, 1)]  # of a partition that was there before
    assert counts(flow.send([event(1), event(4), event(5)], now=22, partition="2")) == [(1, 2)]  # of the new one
    assert counts(flow.send([event(5), event(6)], now=23)) == [(1, 1)]  # first accepted by the new one
    flow_again = flow_of(store, tmp_path)
    flow_again.offset = flow.offset
    assert counts(flow_again.send([event(6), event(3)], now=24, partition="2")) == [(0, 2)]
    later = 25 * HOUR  # id_horizon, and as long as an event may be held
    clock(20 + later)
    assert counts(flow_again.send([event(9)], now=21 + later, partition="1")) == [(1, 0)]
    assert counts(flow_again.send([event(9)], now=22 + later, partition="2")) == [(1, 0)]  # equal ids share a partition again


def test_partitions_share_the_ids_of_events_that_were_held_at_a_growth(store, tmp_path, clock):
    flow = flow_of(store, tmp_path)
    group(store, flow).counted(2)
    later = {**event(1), "at": 9 * HOUR}
    assert counts(flow.send([later], now=10)) == [(0, 0)]
    clock(20)
    group(store, flow).counted(3)
    flow.send([], now=9 * HOUR + 1)
    clock(9 * HOUR + 2)
    assert counts(flow.send([later], now=9 * HOUR + 2, partition="2")) == [(0, 1)]


def test_writers_that_commit_at_once_accept_an_event_once(store, tmp_path, clock):
    flows = [flow_of(store, tmp_path) for _ in range(3)]
    group(store, flows[0]).counted(2)
    clock(1)
    group(store, flows[0]).counted(3)
    accepted, lock = [], threading.Lock()

    def write(number):
        for batch in range(10):
            some = flows[number].send([event(batch * 10 + n) for n in range(10)], now=2 + batch, partition=str(number))
            with lock:
                accepted.append(counts(some)[0])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done[0] for done in accepted) == 100
    assert sum(done[1] for done in accepted) == 200


def test_a_child_has_the_ids_of_the_partitions_that_it_comes_from(store, tmp_path, clock):
    flow = flow_of(store, tmp_path, headwater_aws.kinesis("events", schema=SCHEMA))
    flow.send([event(1)], now=10, partition="a")
    flow.send([event(2)], now=10, partition="b")
    shards = group(store, flow)
    shards.descend("c", ["a", "b"])
    assert counts(flow.send([event(1), event(2), event(3)], now=11, partition="c")) == [(1, 2)]
    shards.descend("d", ["c"])
    assert counts(flow.send([event(1), event(3), event(4)], now=12, partition="d")) == [(1, 2)]
    assert counts(flow.send([event(1)], now=10 + HOUR, partition="d")) == [(1, 0)]  # its horizon has passed


def test_a_child_has_the_ids_of_events_that_a_partition_holds(store, tmp_path, clock):
    """Whether these are released before their copies come or after."""
    flow = flow_of(store, tmp_path, headwater_aws.kinesis("events", schema=SCHEMA))
    early, late = {**event(1), "at": 100}, {**event(2), "at": 1000}
    flow.send([early, late], now=10, partition="a")
    group(store, flow).descend("c", ["a"])
    assert counts(flow.send([early, event(1)], now=11, partition="c")) == [(0, 1)]
    released = Counter()
    for one in flow.ingestor.commit([], micros(101)):
        released.update(one.counts)
    assert (released["released"], released["copies"]) == (1, 1)
    flow_again = flow_of(store, tmp_path, headwater_aws.kinesis("events", schema=SCHEMA))
    flow_again.offset = flow.offset
    assert counts(flow_again.send([early, late], now=102, partition="c")) == [(0, 1)]
    flow_again.ingestor.writer("a")
    for one in flow_again.ingestor.commit([], micros(1001)):
        released.update(one.counts)
    assert (released["released"], released["copies"]) == (2, 2)


def test_a_source_with_corrections_goes_on_after_a_growth_and_a_split(store, tmp_path, clock):
    """See test_shared_changes."""
    flow = flow_of(store, tmp_path)
    group(store, flow).counted(2)
    group(store, flow, corrected=True).counted(3)
    group(store, flow, corrected=True).descend("c", ["a", "b"])
    assert [value for _, value in store.scan(keyspace.TURN)] == [keyspace.FIRST_TURN]
