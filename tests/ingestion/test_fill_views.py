"""A streaming view that is new begins with the past: all of it, once."""

from contextlib import closing
from datetime import datetime

import polars as pl
import pytest

import headwater as hw
from headwater.errors import FencedError, StoreError, UsageError
from headwater.ingestion import fill_views as filling
from headwater.ingestion import past_events
from headwater.ingestion.ingest import IngestLimits, SourceIngestor
from headwater.monitoring.parity import check_view
from headwater.state.view_state import read_stream
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
)
from tests.stores.servers import serving

HOUR = 3600
WITH_ID = {"key": int, "amount": float, "at": datetime, "id": str}
SUMS = [hw.sum("amount"), hw.last_n("amount", k=3)]


def events(numbers, **more):
    """Of 5 keys, event n at second n."""
    return [
        {"key": n % 5, "at": n, "amount": 2.0**n, **({"id": f"e{n}"} if more.get("ids") else {})}
        for n in numbers
    ]


def rows(numbers):
    return frame([(n % 5, n, 2.0**n) for n in numbers], id=[f"e{n}" for n in numbers])


def values(view, store, second):
    from headwater.online.view_reader import OnlineView

    served = OnlineView(view, store).read(pl.DataFrame({"key": range(6)}), micros(second))
    return [s.to_list() for s in served.features], [s.to_list() for s in served.statuses]


@pytest.mark.slow
@pytest.mark.parametrize("rolled", [False, True])
@pytest.mark.parametrize("small", [False, True], ids=["at once", "in parts"])
def test_a_new_view_equals_one_that_was_there_from_the_start(
    rolled, small, either, tmp_path, clock, monkeypatch
):
    old = streaming_view(SUMS)
    flow = Flow([old], either, tmp_path)
    for n in range(0, 40, 4):
        flow.send(
            events(range(n, n + 4)),
            n + 4,
            partition=str(0 if not either.capabilities.multi_process else n % 3),
        )
        if rolled:
            flow.ingestor.roll(least=1)
    monkeypatch.setattr(past_events, "ROWS", 3 if small else 500_000)
    clock(40)
    new = streaming_view(SUMS, windows=["1h", "10s"], name="new")
    both = Flow([old, new], either, tmp_path)
    for partition in ("0",) if not either.capabilities.multi_process else ("0", "1", "2"):
        both.ingestor.writer(partition)
    assert [v[:1] for v in values(old, either, 40)] == [v[:1] for v in values(new, either, 40)]
    both.offset = 1000
    both.send(events(range(40, 44)), 45)
    for view in (old, new):
        assert check_view(view, either, tmp_path, at=micros(46)).mismatches == []
    assert (
        values(old, either, 46)[0][0]
        == values(new, either, 46)[0][0]
        == [sum(2.0**n for n in range(44) if n % 5 == k) for k in range(6)]
    )


@pytest.mark.services
def test_a_view_is_filling_until_every_partition_has_been_seeded(tmp_path, clock):
    with (
        serving(tmp_path / "redis") as server,
        closing(hw.operations.open_store(server.url)) as store,
    ):
        stream = hw.kafka("events", servers="127.0.0.1:1", schema=SCHEMA)
        old, new = (
            streaming_view(name=name, source={"stream": stream}) for name in ("view", "new")
        )
        flow = Flow([old], store, tmp_path)
        flow.send(events(range(5)), 10, partition="0")
        flow.send(events(range(5, 10)), 10, partition="1")
        both = Flow([old, new], store, tmp_path)
        assert read_stream(store, new.tiles_fingerprint, "events").seeded is None
        with pytest.raises(StoreError, match="is not filled yet"):
            values(new, store, 11)
        said = {
            v.view: v.state
            for v in hw.status(
                project_of(old, new), store=store, data_dir=tmp_path, at=at(11)
            ).views
        }
        assert said == {"view": "current", "new": "filling"}
        both.ingestor.writer("1")
        assert values(new, store, 11) == values(old, store, 11)


@pytest.mark.services
def test_a_writer_that_lost_its_partition_while_it_filled_views_writes_no_more(
    tmp_path, clock, monkeypatch
):
    """Between two parts the partition goes to another process, which goes on with the fill: each
    event counts once.
    """
    with (
        serving(tmp_path / "redis") as server,
        closing(hw.operations.open_store(server.url)) as store,
        closing(hw.operations.open_store(server.url)) as its,
    ):
        old, new = streaming_view(SUMS), streaming_view(SUMS, name="new")
        Flow([old], store, tmp_path).send(events(range(20)), 20)
        clock(20)
        monkeypatch.setattr(past_events, "ROWS", 4)
        first, other = (
            SourceIngestor(old.source, [old, new], s, tmp_path, IngestLimits())
            for s in (store, its)
        )
        add, parts = filling._added, []

        def interrupted(*given):
            parts.append(1)
            if len(parts) == 3:
                other.writer("0")
            return add(*given)

        monkeypatch.setattr(filling, "_added", interrupted)
        with pytest.raises(FencedError):
            first.writer("0")
        assert len(parts) == 3 + 3  # it goes on behind the two that were made
        assert values(new, store, 21) == values(old, store, 21)


@pytest.mark.services
def test_filling_is_given_up_between_two_parts(tmp_path, clock, monkeypatch):
    with (
        serving(tmp_path / "redis") as server,
        closing(hw.operations.open_store(server.url)) as store,
    ):
        old, new = streaming_view(SUMS), streaming_view(SUMS, name="new")
        Flow([old], store, tmp_path).send(events(range(20)), 20)
        clock(20)
        monkeypatch.setattr(past_events, "ROWS", 4)
        ingestor, add, parts = (
            SourceIngestor(old.source, [old, new], store, tmp_path, IngestLimits()),
            filling._added,
            [],
        )

        def revoked(*given):
            parts.append(1)
            ingestor.give_up([None])
            return add(*given)

        monkeypatch.setattr(filling, "_added", revoked)
        with pytest.raises(FencedError, match="was given to another process"):
            ingestor.writer("0")
        assert (len(parts), ingestor.writers) == (1, [])
        monkeypatch.setattr(filling, "_added", add)
        assert ingestor.writer("0") in ingestor.writers
        assert values(new, store, 21) == values(old, store, 21)


def test_a_history_of_many_parts_is_whole_before_the_first_commit(
    either, tmp_path, clock, monkeypatch
):
    monkeypatch.setattr(past_events, "ROWS", 3)
    clock(20)
    view = streaming_view(SUMS, source={"history": rows(range(20)), "select": ["key", "amount"]})
    Flow([view], either, tmp_path).send([], 21)
    assert values(view, either, 21)[0][0] == [
        sum(2.0**n for n in range(20) if n % 5 == k) for k in range(6)
    ]


def test_the_history_before_the_stream_is_in_every_view_once(either, tmp_path, clock):
    """Two partitions, two views, one of them added later: the history is in each view once."""
    clock(20)
    source = {
        "history": rows(range(10)),
        "id_field": "id",
        "id_horizon": "1h",
        "select": ["key", "amount"],
    }
    views = [
        streaming_view(SUMS, schema=WITH_ID, source=source, name=name) for name in ("view", "later")
    ]
    expected = [sum(2.0**n for n in range(30) if n % 5 == k) for k in range(6)]
    first = Flow(views[:1], either, tmp_path)
    parts = ("0",) if not either.capabilities.multi_process else ("0", "1")
    for partition in parts:
        first.ingestor.writer(partition)
    # ten of them are in the history too
    first.send(events(range(5, 20), ids=True), 25, partition=parts[0])
    first.send(events(range(20, 30), ids=True), 35, partition=parts[-1])
    assert values(views[0], either, 40)[0][0] == expected
    clock(45)
    both = Flow(views, either, tmp_path)
    for partition in parts:
        both.ingestor.writer(partition)
    for view in views:
        assert values(view, either, 50)[0][0] == expected
        assert check_view(view, either, tmp_path, at=micros(50)).mismatches == []


def test_a_stream_without_ids_beside_a_history_is_approximate_until_the_longest_window_has_passed(
    store, tmp_path, clock
):
    clock(100)
    view = streaming_view(
        source={"history": rows(range(10)), "select": ["key", "amount"]}, windows=["10m", "1h"]
    )
    flow = Flow([view], store, tmp_path)
    project = project_of(view)
    seen = []
    for second in (101, 100 + HOUR - 1, 100 + HOUR + 200):
        flow.send([], second)
        served = hw.get_online_features(
            hw.FeatureService("s", [view]), [{"key": 1}], store=store, at=at(second), details=True
        )
        (said,) = hw.status(project, store=store, data_dir=tmp_path, at=at(second)).views
        seen.append((said.state, served["view__count_1h__stale"][0]))
    assert seen == [("approximate", True), ("approximate", True), ("current", False)]


def test_ingestion_that_kept_no_archive_says_that_a_new_view_is_incomplete(store, tmp_path, clock):
    old, new = streaming_view(), streaming_view(name="new")
    Flow([old], store, None).send(events(range(10)), 20)
    clock(30)
    Flow([old, new], store, None).send([], 31)
    said = {
        v.view: v.state
        for v in hw.status(project_of(old, new), store=store, data_dir=tmp_path, at=at(31)).views
    }
    assert said == {"view": "current", "new": "incomplete"}


def test_a_view_that_was_forgotten_is_made_anew_and_others_stay(either, tmp_path, clock):
    views = [streaming_view(SUMS), streaming_view(SUMS, name="other")]
    project = project_of(*views)
    flow = Flow(views, either, tmp_path)
    flow.send(events(range(10)), 20)
    before = values(views[0], either, 30)
    assert hw.operations.forget(project, ["view"], store=either) == {"view": 5}
    with pytest.raises(StoreError, match="not in the online store"):
        values(views[0], either, 30)
    assert values(views[1], either, 30) == before
    clock(30)
    Flow(views, either, tmp_path).ingestor.writer("0")
    assert values(views[0], either, 30) == values(views[1], either, 30) == before
    with pytest.raises(UsageError, match=r"no feature view 'vieww'.*'view'"):
        hw.operations.forget(project, ["vieww"], store=either)


def test_a_store_that_was_lost_begins_anew_from_its_archive_as_history(tmp_path, clock):
    """The recipe of the page on operations: the old archive is the history of a new one, and ids
    tell what both hold.
    """
    source = {"id_field": "id", "id_horizon": "1h", "select": ["key", "amount"]}
    first = streaming_view(SUMS, schema=WITH_ID, source=source)
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/lost?size=1GB")) as store:
        flow = Flow([first], store, tmp_path / "old")
        flow.send(events(range(20), ids=True), 25)
        flow.ingestor.roll(least=1)
    clock(30)
    again = streaming_view(
        SUMS,
        schema=WITH_ID,
        source=source | {"history": hw.parquet(tmp_path / "old" / "archive" / "events")},
    )
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/new?size=1GB")) as store:
        flow = Flow([again], store, tmp_path / "new")
        flow.send(events(range(5, 25), ids=True), 35)  # the stream holds less than all of it
        assert values(again, store, 40)[0][0] == [
            sum(2.0**n for n in range(25) if n % 5 == k) for k in range(6)
        ]
        assert check_view(again, store, tmp_path / "new", at=micros(40)).mismatches == []
