"""Rows that cannot be used are counted and said, wherever features are computed of the others."""

import warnings
from datetime import UTC, datetime

import polars as pl
import pytest

import headwater as hw
from headwater.errors import HeadwaterWarning, RowsLeftOutWarning
from headwater.testing.naive import evaluate

KNOWN_RULES = [{"known_at_field": "known"}, {"known_after": "1h"}]


def at(hour, day=1):
    return datetime(2024, 1, day, hour, tzinfo=UTC)


def view_of(source, feature=None):
    features = [hw.count()] if feature is None else [feature]
    return hw.FeatureView(
        "v",
        source=source,
        keys=["k"],
        features=features,
        windows=["30d"],
        freshness=hw.on_request(),
    )


def asked(*moments):
    return pl.DataFrame({"k": [1] * len(moments), "timestamp": list(moments)})


def left_out(call):
    """What a call warns of, and what it returns."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made = call()
    return [w.message for w in said if isinstance(w.message, RowsLeftOutWarning)], made


# 02:30 was skipped in New York
NAIVE = pl.Series(
    ["2024-03-10 01:59", "2024-03-10 02:30", "2024-03-10 03:00", None]
).str.to_datetime()


def test_a_null_time_and_one_that_the_clocks_skipped_are_said():
    source = hw.Source(
        "s",
        history=pl.DataFrame({"k": [1] * 4, "at": NAIVE}),
        timestamp_field="at",
        timezone="America/New_York",
    )
    (said,), found = left_out(
        lambda: hw.get_historical_features(
            view_of(source), asked(datetime(2024, 3, 11, tzinfo=UTC))
        )
    )
    reason = "source s: no at, or a local time that the clocks of America/New_York skip"
    assert found["v__count_30d"].to_list() == [2]
    assert (said.left_out, found.left_out) == ({reason: 2}, {reason: 2})
    assert isinstance(said, HeadwaterWarning)
    assert str(said) == f"left out: 2 rows of {reason}. Filter them out, or fill the missing values"


@pytest.mark.parametrize("memory", [None, "100GB"])
@pytest.mark.parametrize("enriched", [False, True])
@pytest.mark.parametrize("rule", [{}, *KNOWN_RULES])
def test_every_way_of_reading_counts_the_same(rule, enriched, memory, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path))
    table = pl.DataFrame(
        {"k": [1, 1, 1, 1], "at": [at(1), None, at(3), at(4)], "known": [at(2), at(3), None, at(5)]}
    )
    source = hw.Source("s", history=table, timestamp_field="at", select=["k"], **rule)
    if enriched:
        source = hw.enrich(source, "e", [view_of(source)["count_30d"]], select=["k"])
    (said,), found = left_out(
        lambda: hw.get_historical_features(
            view_of(source), asked(at(20)), resources=hw.Resources(memory=memory)
        )
    )
    late = {"source s: no known, so never known": 1} if "known_at_field" in rule else {}
    assert said.left_out == found.left_out == {"source s: no at": 1} | late
    assert found["v__count_30d"].to_list() == [2 if late else 3]


def test_what_is_as_it_should_be_is_no_cause_for_a_warning():
    table = pl.DataFrame({"k": [1, 1, 1], "at": [at(1)] * 3, "id": [7, 7, 8]})
    source = hw.Source("s", history=table, timestamp_field="at", id_field="id")
    said, found = left_out(lambda: hw.get_historical_features(view_of(source), asked(at(20))))
    assert said == []
    assert found.left_out == {"source s: duplicate events": 1}
    (plain,) = [
        hw.get_historical_features(
            view_of(hw.Source("t", history=table, timestamp_field="at")), asked(at(20))
        )
    ]
    assert plain.left_out == {}


def test_labels_and_what_outcomes_are_counted_of_are_said_too(tmp_path):
    clicks = hw.Source(
        "clicks",
        history=pl.DataFrame({"k": [1, 1, 1], "at": [at(2, 2), None, None]}),
        timestamp_field="at",
    )
    table = pl.DataFrame({"k": [1, 1], "timestamp": [at(1, 2), None]})
    labels = hw.Labels(
        "l",
        table=table,
        timestamp_field="timestamp",
        label=hw.outcome(clicks, hw.count(), keys=["k"], within="1d"),
    )
    expected = {"labels: no timestamp": 1, "source clicks: no at": 2}
    (said,), found = left_out(lambda: hw.get_historical_features(view_of(clicks), labels))
    assert said.left_out == found.left_out == expected
    assert found.height == 1
    model = hw.Model(
        "m", task="regression", features=hw.FeatureService("fs", [view_of(clicks)]), labels=labels
    )
    made = hw.dataset(model, tmp_path / "rows.parquet", resources=hw.Resources(cache=False))
    # counted once, though labels and features are made of it
    assert made.manifest["left_out"] == expected


@pytest.mark.parametrize("rule", KNOWN_RULES)
@pytest.mark.parametrize("ids", [{}, {"id_field": "id"}])
def test_an_event_without_a_time_counts_nowhere_by_its_known_time_either(rule, ids):
    events = pl.DataFrame(
        {"k": [1, 1], "at": [at(1), None], "known": [at(2), at(3)], "v": [1, 2], "id": [1, 2]}
    )
    source = hw.Source(
        "s",
        history=events,
        timestamp_field="at",
        window_on="known_at",
        select=["k", "v"],
        **rule,
        **ids,
    )
    enriched = hw.enrich(
        source, "e", [view_of(source, hw.sum("v"))["sum_v_30d"]], select=["k", "v"]
    )
    ask = asked(at(20))
    for of in (source, enriched):
        view = view_of(of, hw.sum("v"))
        (said,), found = left_out(lambda view=view: hw.get_historical_features(view, ask))
        assert found["v__sum_v_30d"].to_list() == [1]
        assert said.left_out == {"source s: no at": 1}
    naive = evaluate(view_of(source, hw.sum("v")), events.to_dicts(), ask.to_dicts())
    assert naive[0]["v__sum_v_30d"].value == 1
