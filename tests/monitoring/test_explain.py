"""Every reason for which an event counts or does not, planted and found."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DefinitionError, UsageError
from headwater.ingestion.source_ingestor import IngestLimits
from headwater.jobs.materialize import materialize_view
from headwater.monitoring.explain import explain_feature, typed_keys
from headwater.monitoring.parity import check_view
from headwater.online.view_reader import OnlineView
from headwater.stores import keyspace
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
CUT = 5 * HOUR


def reasons(found):
    """By amount, the first words of each event's reason."""
    return {row["amount"]: row["why"].split(":")[0] for row in found.events.to_dicts()}


def history(rows):
    """Rows of (amount, second, known, id, flag, passes); the key is 1."""
    made = frame(
        [(1, second, amount) for amount, second, *_ in rows],
        known=[at(known) for _, _, known, *_ in rows],
    )
    return made.with_columns(
        pl.Series("id", [i for *_, i, _, _ in rows]),
        pl.Series("flag", [f for *_, f, _ in rows], dtype=pl.Boolean),
        pl.Series("passes", [p for *_, p in rows]),
    )


PLANTED = [
    (1.0, CUT - 100, CUT - 100, 1, True, True),
    (2.0, CUT - 90, CUT + 300, 2, True, True),
    (3.0, CUT - 80, CUT + 301, 3, True, True),
    (4.0, CUT, CUT, 4, True, True),
    (5.0, CUT - HOUR, CUT - HOUR, 5, True, True),
    (6.0, CUT - HOUR - 60, CUT - HOUR, 6, True, True),
    (7.0, CUT - 70, CUT - 20, 1, True, True),
    (8.0, CUT - 60, CUT - 60, 8, True, False),
    (9.0, CUT - 50, CUT - 50, 9, False, True),
    (None, CUT - 40, CUT - 40, 10, True, True),
]
EXPECTED = {
    1.0: "it counts",
    2.0: "it counts",
    3.0: "late",
    4.0: "outside",
    5.0: "it counts",
    6.0: "outside",
    7.0: "duplicate",
    8.0: "filtered",
    9.0: "filtered",
    None: "filtered",
}


def planted_view(**more):
    source = {
        "known_at_field": "known",
        "id_field": "id",
        "filter": pl.col("passes"),
        "select": ["key", "amount", "flag"],
    }
    features = [hw.sum("amount", where="flag"), hw.count()]
    return view_of(
        history(PLANTED),
        freshness=hw.batch("1h", delay="10m", wait="5m"),
        features=features,
        source=source,
        **more,
    )


@pytest.mark.parametrize("past", [False, True], ids=["now", "a past time"])
def test_each_reason_of_a_batch_view(past, store, clock):
    view = planted_view()
    materialize_view(view, store, micros(CUT + 300))
    clock(CUT + 601)
    found = explain_feature(
        view,
        "sum_amount_where_flag_1h",
        {"key": 1},
        store,
        None,
        at=micros(CUT + 600) if past else None,
    )
    assert reasons(found) == EXPECTED
    assert (at(CUT), at(CUT + 300)) == (found.T, found.K)
    assert (found.offline, found.status, found.served) == (8.0, "present", not past)
    assert found.online == (None if past else 8.0)
    said = {row["amount"]: row["why"] for row in found.events.to_dicts()}
    assert said[3.0] == "late: it became known after 2024-05-01 05:05:00.000000, which is K"
    assert said[4.0].startswith("outside: it happened at or after 2024-05-01 05:00:00")
    assert said[6.0].startswith("outside: it happened before 2024-05-01 04:00:00")
    assert said[8.0] == "filtered: the source's filter leaves it out"
    assert said[9.0] == "filtered: where='flag' is not true"
    assert said[None] == "filtered: amount is null"
    assert found.events["counts"].to_list()[:4] == [True, True, True, False]


def test_the_copy_that_counted_may_be_of_another_key(store):
    events = frame([(2, 10, 1.0), (1, 20, 2.0)], id=["a", "a"])
    view = view_of(events, freshness=hw.batch("1h"), source={"id_field": "id"})
    materialize_view(view, store, micros(HOUR))
    found = explain_feature(view, "sum_amount_1h", {"key": 1}, store, None, at=micros(HOUR))
    assert reasons(found) == {2.0: "duplicate"}
    assert found.offline == 0


def test_what_was_corrected_or_deleted(store):
    images = frame(
        [(1, 10, 5.0), (1, 10, 5.0), (1, 10, 7.0), (1, 20, 1.0), (1, 20, 1.0), (1, 30, 2.0)],
        id=[1, 1, 1, 2, 2, 3],
        before=[False, True, False, False, True, False],
        known=[at(s) for s in (10, HOUR + 1, HOUR + 1, 20, 30, 30)],
    )
    source = {"id_field": "id", "changes": "before", "known_at_field": "known"}
    view = view_of(images, freshness=hw.batch("1h"), windows=["1d"], source=source)
    materialize_view(view, store, micros(HOUR))
    first = explain_feature(view, "sum_amount_1d", {"key": 1}, store, None, at=micros(HOUR))
    assert first.offline == 7.0  # 5 and 2: the correction is not known
    counted = first.events.filter("counts")["amount"].to_list()
    assert sorted(counted) == [2.0, 5.0]
    materialize_view(view, store, micros(2 * HOUR))
    second = explain_feature(view, "sum_amount_1d", {"key": 1}, store, None, at=micros(2 * HOUR))
    assert second.offline == 9.0
    assert sorted(second.events.filter("counts")["amount"].to_list()) == [2.0, 7.0]
    assert {
        (row["amount"], row["why"]) for row in second.events.filter(~pl.col("counts")).to_dicts()
    } == {
        (5.0, "corrected: K knows a later version of it"),
        (1.0, "deleted, as K knows"),
        (5.0, "corrected: it takes an event back, or changes nothing"),
        (1.0, "corrected: it takes an event back, or changes nothing"),
    }


def test_events_by_the_time_they_were_known(store):
    events = frame([(1, 100, 1.0), (1, HOUR - 10, 2.0)], known=[at(HOUR - 5), at(HOUR + 5)])
    source = {"known_at_field": "known", "window_on": "known_at", "select": ["key", "amount"]}
    view = view_of(
        events, freshness=hw.batch("1h", delay="10m", wait="10m"), windows=["10m"], source=source
    )
    materialize_view(view, store, micros(HOUR + 600))
    found = explain_feature(view, "sum_amount_10m", {"key": 1}, store, None, at=micros(HOUR + 600))
    assert (reasons(found), found.offline) == ({1.0: "it counts", 2.0: "outside"}, 1.0)


def test_only_the_rows_of_the_key_are_read(store, tmp_path, monkeypatch):
    path = tmp_path / "events.parquet"
    frame([(n % 1000, n, 1.0) for n in range(20_000)]).write_parquet(path)
    select = [(pl.col("key") + 5).alias("key"), "amount"]
    view = view_of(
        hw.parquet(path), freshness=hw.batch("1d"), source={"select": select}, windows=["1d"]
    )
    materialize_view(view, store, micros(86_400))
    heights, real = [], pl.LazyFrame.collect
    monkeypatch.setattr(
        pl.LazyFrame,
        "collect",
        lambda self, **more: (heights.append((made := real(self, **more)).height), made)[1],
    )
    found = explain_feature(view, "count_1d", {"key": 7}, store, None, at=micros(86_400))
    assert (found.offline, max(heights)) == (20, 20)


SCHEMA = {"key": int, "amount": float, "at": datetime, "flag": bool, "id": int, "passes": bool}


def event(amount, second, ident, flag=True, passes=True, key=1):
    return {"key": key, "amount": amount, "at": second, "id": ident, "flag": flag, "passes": passes}


@pytest.fixture
def streamed(store, tmp_path, clock):
    source = {"id_field": "id", "filter": pl.col("passes"), "select": ["key", "amount", "flag"]}
    view = streaming_view(
        [hw.sum("amount", where="flag"), hw.count()], schema=SCHEMA, source=source
    )
    flow = Flow([view], store, tmp_path)
    now = CUT
    flow.send(
        [
            event(1.0, now - 100, 1),
            event(5.0, now - HOUR, 5),
            event(6.0, now - HOUR - 61, 6),
            event(9.0, now - 50, 9, flag=False),
        ],
        now,
    )
    flow.send(
        [event(None, now - 40, 10), event(7.0, now - 30, 1), event(8.0, now - 20, 8, passes=False)],
        now,
    )
    return view, flow


STREAMED = {
    1.0: "it counts",
    5.0: "it counts",
    6.0: "outside",
    9.0: "filtered",
    None: "filtered",
    7.0: "duplicate",
    8.0: "filtered",
}


def test_each_reason_of_a_streaming_view(streamed, store, tmp_path, clock):
    view, flow = streamed
    clock(CUT + 1)
    found = explain_feature(view, "sum_amount_where_flag_1h", {"key": 1}, store, tmp_path)
    assert (reasons(found), found.online, found.offline) == (STREAMED, 6.0, 6.0)
    flow.send([event(2.0, CUT - 10, 2), event(4.0, CUT + 3, 4)], CUT + 2)
    for roll in (False, True):
        if roll:
            flow.ingestor.roll(least=1)
        past = explain_feature(
            view, "sum_amount_where_flag_1h", {"key": 1}, store, tmp_path, at=micros(CUT + 1)
        )
        assert (reasons(past), past.online, past.offline) == (STREAMED | {2.0: "late"}, None, 6.0)
    flow.send([], CUT + 4)
    clock(CUT + 4)
    found = explain_feature(view, "sum_amount_where_flag_1h", {"key": 1}, store, tmp_path)
    assert (reasons(found), found.online, found.offline) == (
        STREAMED | {2.0: "it counts", 4.0: "it counts"},
        12.0,
        12.0,
    )


def test_what_the_filter_of_a_stream_leaves_out(streamed, store, tmp_path, clock):
    """It is shown with its reason, of the key alone, and no call that makes values finds it, in
    files or not yet.
    """
    view, flow = streamed
    flow.send(
        [event(30.0, CUT - 5, 30, passes=False, key=2), event(31.0, CUT - 5, 31, passes=None)],
        CUT + 1,
    )
    clock(CUT + 1)
    for rolled in (False, True):
        if rolled:
            flow.ingestor.roll(least=1)
        found = explain_feature(view, "sum_amount_where_flag_1h", {"key": 1}, store, tmp_path)
        whys = {
            r["amount"]: r["why"]
            for r in found.events.to_dicts()
            if r["why"] == "filtered: the source's filter leaves it out"
        }
        assert (set(whys), found.online, found.offline) == ({8.0, 31.0}, 6.0, 6.0)
        assert check_view(view, store, tmp_path, at=micros(CUT + 1)).mismatches == []
    files = {
        folder: [pl.read_parquet(p) for p in (tmp_path / folder).rglob("*.parquet")]
        for folder in ("archive", "filtered")
    }
    amounts = {
        folder: {amount for rows in found for amount in rows["amount"]}
        for folder, found in files.items()
    }
    assert amounts == {"archive": {1.0, 5.0, 6.0, 9.0, None}, "filtered": {8.0, 30.0, 31.0}}


def test_filtered_rows_are_kept_as_long_as_one_says(store, tmp_path, clock):
    view = streaming_view(
        schema=SCHEMA, source={"filter": pl.col("passes"), "select": ["key", "amount"]}
    )
    day = 86_400
    flow = Flow([view], store, tmp_path, limits=IngestLimits(filtered="2d"))
    for n in (1, 2, 3, 4):
        flow.send(
            [event(float(n), n * day, n, passes=False), event(10.0 * n, n * day, n)], n * day + 1
        )
        flow.ingestor.roll(least=1)
    clock(4 * day + 1)
    found = explain_feature(view, "sum_amount_1h", {"key": 1}, store, tmp_path)
    assert {r["amount"] for r in found.events.to_dicts() if r["why"].startswith("filtered")} == {
        2.0,
        3.0,
        4.0,
    }
    assert len(list((tmp_path / "archive").rglob("*.parquet"))) == 4
    assert len(list((tmp_path / "filtered" / "events").glob("headwater_date=*"))) == 3


@pytest.mark.parametrize("kept", [True, False])
def test_filtered_rows_that_one_does_not_want(kept, store, tmp_path):
    view = streaming_view(
        schema=SCHEMA, source={"filter": pl.col("passes"), "select": ["key", "amount"]}
    )
    flow = Flow(
        [view],
        store,
        tmp_path if kept else None,
        limits=IngestLimits(filtered="0s" if kept else "30d"),
    )
    (made,) = flow.send([event(1.0, 10, 1, passes=False), event(2.0, 10, 2)], 20)
    assert made.counts["filtered"] == 1
    assert list(store.scan(keyspace.FILTERED)) == []


def test_what_was_committed_behind_counts_as_it_does_in_the_store(store, tmp_path, clock):
    """A reader that is behind says so in K; what it has committed counts nevertheless."""
    view = streaming_view()
    flow = Flow([view], store, tmp_path)
    flow.send([{"key": 1, "at": 50, "amount": 1.0}], 60)
    flow.send([{"key": 1, "at": 80, "amount": 2.0}], 96, known=75)
    clock(97)
    found = explain_feature(view, "sum_amount_1h", {"key": 1}, store, tmp_path)
    assert (found.online, found.offline, found.K) == (3.0, 3.0, at(75))
    assert reasons(found) == {1.0: "it counts", 2.0: "it counts"}


def test_what_is_committed_after_the_value_was_read_is_late(store, tmp_path, clock, monkeypatch):
    view = streaming_view()
    flow, read = Flow([view], store, tmp_path), OnlineView.read
    flow.send([{"key": 1, "at": 50, "amount": 1.0}], 60)
    clock(60)

    def read_and_go_on(self, keys, t):
        served = read(self, keys, t)
        flow.send([{"key": 1, "at": 51, "amount": 2.0}], 60)  # at the same moment
        return served

    monkeypatch.setattr(OnlineView, "read", read_and_go_on)
    found = explain_feature(view, "sum_amount_1h", {"key": 1}, store, tmp_path)
    assert (found.online, found.offline, reasons(found)) == (
        1.0,
        1.0,
        {1.0: "it counts", 2.0: "late"},
    )


def test_refused_records_say_why(store, tmp_path, clock):
    view = streaming_view()
    flow = Flow([view], store, tmp_path)
    flow.send(
        [{"key": 1, "at": 50, "amount": 1.0}, {"key": 1, "at": 10 * 86400, "amount": 2.0}], 60
    )
    clock(60)
    found = explain_feature(view, "sum_amount_1h", {"key": 1}, store, tmp_path)
    assert {r["amount"]: r["why"] for r in found.events.to_dicts()} == {
        1.0: "it counts",
        2.0: "refused: at is more than 1d after it was received",
    }


def test_queues(store):
    events = frame([(1, 10, 1.0), (1, 20, 2.0), (1, 30, 3.0)]).with_columns(
        pl.Series("until", [at(HOUR - 1), at(HOUR), None])
    )
    view = view_of(
        events,
        freshness=hw.batch("1h"),
        features=[hw.open_count(until="until")],
        source={"select": ["key", "amount", "until"]},
    )
    materialize_view(view, store, micros(HOUR))
    found = explain_feature(view, view.outputs[0].name, {"key": 1}, store, None, at=micros(HOUR))
    whys = {r["timestamp"].second: r["why"].split(":")[0] for r in found.events.to_dicts()}
    assert found.offline == 2
    assert whys == {10: "ended", 20: "it counts", 30: "it counts"}


def test_what_is_served_is_what_is_explained(streamed, store, tmp_path, clock):
    view, _ = streamed
    clock(CUT + 1)
    service = hw.FeatureService("all", [view])
    served = hw.get_online_features(service, [{"key": 1}, {"key": 2}], store=store, at=at(CUT + 1))
    for place, key in enumerate((1, 2)):
        for feature in view.feature_names:
            found = hw.operations.explain(
                project_of(view), feature, {"key": key}, store=store, data_dir=tmp_path
            )
            assert found.online == found.offline == served[feature][place]


def test_a_view_without_keys(store, tmp_path, clock):
    view = streaming_view(keys=[])
    flow = Flow([view], store, tmp_path)
    flow.send([{"key": 1, "at": 50, "amount": 1.0}, {"key": 2, "at": 51, "amount": 2.0}], 60)
    clock(60)
    found = explain_feature(view, "sum_amount_1h", {}, store, tmp_path)
    assert (found.online, found.offline, found.events.height) == (3.0, 3.0, 2)
    assert found.tiles["events"].sum() == 2
    batch = view_of(frame([(1, 10, 1.0), (2, 20, 2.0)]), freshness=hw.batch("1h"), keys=[])
    materialize_view(batch, store, micros(HOUR))
    assert (
        explain_feature(batch, "sum_amount_1h", {}, store, tmp_path, at=micros(HOUR)).offline == 3.0
    )


def test_without_a_store_the_history_alone_is_explained():
    view = planted_view()
    found = explain_feature(
        view, "sum_amount_where_flag_1h", {"key": 1}, None, None, at=micros(CUT + 600)
    )
    assert (reasons(found), found.offline) == (EXPECTED, 8.0)


def test_names_that_there_are_not(store):
    view = planted_view()
    project = project_of(view)
    with pytest.raises(UsageError, match=r"no feature 'view__cuont_1h'.*'view__count_1h'"):
        hw.operations.explain(project, "view__cuont_1h", {"key": 1}, store=store)
    with pytest.raises(DefinitionError, match="count_1h"):
        explain_feature(view, "cuont_1h", {"key": 1}, store, None)
    for keys in ({"kee": 1}, {}, {"key": 1, "more": 2}):
        with pytest.raises(UsageError, match=r"has the keys \['key'\]"):
            hw.operations.explain(project, "view__count_1h", keys, store=store, at=at(CUT + 600))
    with pytest.raises(UsageError, match=r"no key 'kee'.*'key'"):
        typed_keys(project, "view__count_1h", {"kee": "1"})
    with pytest.raises(UsageError, match="'key' is Int64, and 'one' is not"):
        typed_keys(project, "view__count_1h", {"key": "one"})
    with pytest.raises(
        UsageError,
        match=r"no value for 'key', of the keys of feature view 'view'; explain view__count_1h key=VALUE",
    ):
        typed_keys(project, "view__count_1h", {})


def test_keys_of_all_types_from_texts(store):
    values = {
        "word": ["a b=c,d"],
        "whole": [-3],
        "large": pl.Series([2**64 - 1], dtype=pl.UInt64),
        "flag": [False],
        "day": [date(2024, 5, 1)],
        "moment": [datetime(2024, 5, 1, 12, tzinfo=UTC)],
        "kind": pl.Series(["x"], dtype=pl.Enum(["x", "y"])),
    }
    events = pl.DataFrame(values).with_columns(at=pl.lit(at(10)), amount=pl.lit(1.0))
    view = view_of(
        events, freshness=hw.batch("1h"), keys=list(values), source={"select": [*values, "amount"]}
    )
    texts = {
        "word": "a b=c,d",
        "whole": "-3",
        "large": str(2**64 - 1),
        "flag": "false",
        "day": "2024-05-01",
        "moment": "2024-05-01T12:00:00Z",
        "kind": "x",
    }
    project = project_of(view)
    keys = typed_keys(project, "view__count_1h", texts)
    materialize_view(view, store, micros(HOUR))
    assert (
        hw.operations.explain(project, "view__count_1h", keys, store=store, at=at(HOUR)).offline
        == 1
    )
    for wrong in (
        {"day": "May"},
        {"moment": "2024-05-01T12:00:00"},
        {"flag": "yes"},
        {"large": "-1"},
        {"kind": "z"},
    ):
        with pytest.raises(UsageError, match=f"the key '{next(iter(wrong))}' is "):
            typed_keys(project, "view__count_1h", texts | wrong)


@pytest.mark.parametrize("horizon", ["1h", "7d"])
def test_an_archive_without_ids_beside_a_history_that_the_stream_goes_on_from(
    horizon, store, tmp_path, clock
):
    """An id_field is added: what the archive holds of the history too counts once, here as where it
    is served.
    """
    columns = {"key": int, "amount": float, "at": datetime, "id": str}
    before = frame([(1, n, 2.0**n) for n in range(5)], id=[f"e{n}" for n in range(5)])
    rules = {"history": before, "select": ["key", "amount"]}
    first = streaming_view(schema=columns, source=rules)
    second = streaming_view(
        schema=columns, source=rules | {"id_field": "id", "id_horizon": horizon}
    )
    clock(10)
    Flow([first], store, tmp_path).send(
        [{"key": 1, "at": n, "amount": 2.0**n, "id": f"e{n}"} for n in range(3, 8)], 12
    )
    clock(20)
    Flow([second], store, tmp_path).send([{"key": 1, "at": 8, "amount": 2.0**8, "id": "e8"}], 20)
    found = explain_feature(second, "sum_amount_1h", {"key": 1}, store, tmp_path)
    assert (found.online, found.offline) == (2.0**9 - 1, 2.0**9 - 1)
    assert found.events.filter(~pl.col("counts"))["why"].str.starts_with("duplicate").to_list() == [
        True,
        True,
    ]
