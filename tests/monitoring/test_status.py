"""Status: each way in which a stream or a view can stand, planted."""

from contextlib import closing

import pytest

import headwater as hw
from headwater.errors import StoreError
from headwater.jobs.materialize import materialize_view
from headwater.state.view_state import State, encoded, schema_bytes
from headwater.stores import keyspace
from tests.flow import (
    SCHEMA,
    Flow,
    at,
    clock,  # noqa: F401
    frame,
    home,  # noqa: F401
    micros,
    project_of,
    store,  # noqa: F401
    streaming_view,
    view_of,
)
from tests.stores.servers import serving

HOUR = 3600


def views_of(store, second, *views):
    return {
        v.view: v
        for v in hw.status(
            project_of(*views), store=store, data_dir=store_folder(store), at=at(second)
        ).views
    }


def store_folder(store):
    return getattr(store, "folder", None)


def event(second, key=1, **more):
    return {"key": key, "at": second, "amount": 1.0, **more}


def test_a_batch_view_from_absent_to_stale(store):
    events = frame([(1, 10, 1.0), (2, HOUR + 10, 1.0)])
    view = view_of(events, freshness=hw.batch("1h", delay="10m"))
    on_request = view_of(events, freshness=hw.on_request(), name="asked")
    seen = []
    for second in (HOUR, 2 * HOUR + 599, 2 * HOUR + 600):
        found = views_of(store, second, view, on_request)
        seen.append((found["view"].state, found["view"].age, found["view"].T, found["view"].keys))
        assert (found["asked"].state, found["asked"].age) == ("not stored", None)
        if second == HOUR:
            materialize_view(view, store, micros(HOUR))
    assert seen == [
        ("absent", None, None, 0),
        ("current", float(HOUR + 599), micros(HOUR), 1),
        ("stale", float(HOUR + 600), micros(HOUR), 1),
    ]
    materialize_view(view, store, micros(2 * HOUR + 600))
    found = views_of(store, 2 * HOUR + 600, view)["view"]
    assert (found.state, found.age, found.keys) == ("current", 600.0, 2)
    assert found.bytes > 0


def test_a_streaming_view_from_absent_to_stale(store, tmp_path, clock):
    view = streaming_view()
    assert views_of(store, 10, view)["view"].state == "absent"
    state = State("view", schema_bytes({}))
    store.commit({keyspace.stream_state(view.tiles_fingerprint): encoded(state)}, {})
    assert views_of(store, 10, view)["view"].state == "filling"
    Flow([view], store, tmp_path).send([event(5)], 10)
    seen = [
        (found.state, found.age, found.keys)
        for s in (12, 12.5)
        for found in views_of(store, s, view).values()
    ]
    assert seen == [("current", 2.0, 1), ("stale", 2.5, 1)]


def test_what_became_of_records_is_counted(store, tmp_path, clock):
    view = streaming_view()
    flow = Flow([view], store, tmp_path)
    flow.send(
        [event(5), event(6), event(50), {"key": None, "at": 7, "amount": 1.0}, event(3 * 86400)], 20
    )
    flow.send([event(1), {"key": 3}, {"key": "x", "at": 8}], 21)
    for rolled in (False, True):
        if rolled:
            flow.ingestor.roll(least=1)
        (stream,) = hw.status(project_of(view), store=store, data_dir=tmp_path, at=at(30)).streams
        assert (stream.source, stream.partition, stream.commits, stream.held, stream.archived) == (
            "events",
            None,
            2,
            1,
            3,
        )
        assert (stream.counts["accepted"], stream.counts["late"], stream.counts["records"]) == (
            3,
            1,
            8,
        )
        assert dict(stream.dead)["no key of any view"] == 1
        assert dict(stream.dead)["at is more than 1d after it was received"] == 1
        assert sum(stream.dead.values()) == 4
        assert (stream.behind(micros(30)), stream.latest) == (9.0, micros(6))
    flow.send([], 51)
    (stream,) = hw.status(project_of(view), store=store, data_dir=tmp_path, at=at(60)).streams
    assert (stream.held, stream.archived, stream.counts["released"]) == (0, 4, 1)


@pytest.mark.services
def test_each_partition_of_a_source_of_several_writers(tmp_path, clock):
    with (
        serving(tmp_path / "redis") as server,
        closing(hw.operations.open_store(server.url)) as store,
    ):
        view = streaming_view(
            source={"stream": hw.kafka("events", servers="127.0.0.1:1", schema=SCHEMA)}
        )
        flow = Flow([view], store, tmp_path)
        flow.send([event(5)], 10, partition="a-b")
        flow.send([event(6), event(7, key=2)], 20, partition="7")
        found = hw.status(project_of(view), store=store, data_dir=tmp_path, at=at(30))
        assert [
            (s.partition, s.behind(found.now), s.counts["accepted"], s.archived)
            for s in found.streams
        ] == [
            ("7", 10.0, 2, 2),
            ("a-b", 20.0, 1, 1),
        ]
        (one,) = found.views
        assert (one.state, one.age) == ("stale", 20.0)
        assert found.to_dict()["views"][0]["state"] == "stale"


def test_where_there_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="there is no online store"):
        hw.status(project_of(streaming_view()), store=f"lmdb:{tmp_path}/none")


@pytest.mark.parametrize(
    ("told", "line"),
    [(None, ""), ("compared", ""), ("not compared: no right", "with that of its broker: no right")],
)
def test_whether_the_wall_clock_is_compared_with_that_of_the_broker(told, line, store, tmp_path):
    from rich.console import Console

    from headwater.cli.status import _table

    view = streaming_view()
    Flow([view], store, tmp_path).send([{"key": 1, "at": 5, "amount": 1.0}], 10)
    if told is not None:
        store.commit({keyspace.broker_clock("events"): told.encode()}, {})
    found = hw.status(project_of(view), store=store, data_dir=tmp_path, at=at(10))
    assert [stream["clock"] for stream in found.to_dict()["streams"]] == [told]
    console = Console(width=200)
    with console.capture() as capture:
        console.print(_table(found))
    assert ("the wall clock is not compared" in capture.get()) == bool(line)
    assert line in capture.get()
