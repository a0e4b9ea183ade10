"""Every reason for which an event counts or does not, planted and found."""

from datetime import datetime

import polars as pl
import pytest

import headwater as hw
from headwater.jobs.materialize import materialize_view
from headwater.monitoring.explain import explain_feature
from headwater.online.view_reader import OnlineView
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
