"""Status: each way in which a stream or a view can stand, planted."""

import headwater as hw
from headwater.jobs.materialize import materialize_view
from tests.flow import (
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
