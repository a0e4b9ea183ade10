"""Boundaries that other systems document: Tecton's effective times and leading edge, Chronon's
label offsets, Feathr's join.
"""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.kernel.as_of import as_of
from headwater.training.label_rows import read_labels

MICROSECOND, DAY = timedelta(microseconds=1), timedelta(days=1)
TIME = pl.Datetime("us", "UTC")


@pytest.fixture(scope="module")
def facts(shared):
    file = shared / "golden" / "handwritten_boundaries.json"
    if not file.is_file():
        pytest.skip(f"needs {file.name} in the folder {file.parent.name} of {shared.name}")
    return json.loads(file.read_text(encoding="utf-8"))


def micros(moment):
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / MICROSECOND)


def asked(feature, events, rows, freshness, *, window=None):
    """The feature of each row; events and rows are tuples (key, time, value...) and (key, time)."""
    history = pl.DataFrame(
        events, schema={"key": pl.Int64, "at": TIME, "value": pl.Float64}, orient="row"
    )
    source = hw.Source("events", history=history, timestamp_field="at")
    windows = None if window is None else [hw.window(window, hop="1us")]
    view = hw.FeatureView(
        "view",
        source=source,
        keys=["key"],
        features=[feature],
        windows=windows,
        freshness=freshness,
    )
    requests = pl.DataFrame(rows, schema={"key": pl.Int64, "timestamp": TIME}, orient="row")
    return hw.get_historical_features(view, requests)[view.feature_names[0]].to_list()


# ---------------------------------------------------------------- Tecton


def test_an_effective_timestamp_is_the_first_moment_at_which_a_batch_counts_the_event(facts):
    cases = facts["tecton_effective_timestamp"]["cases"]
    assert len(cases) == 4
    for case in cases:
        happened, visible = (
            datetime.fromisoformat(case[name]) for name in ("feature_ts", "first_visible")
        )
        every, delay = (
            timedelta(seconds=case[name]) for name in ("batch_schedule_s", "data_delay_s")
        )
        freshness = hw.batch(every, delay=delay)
        moments = [visible - MICROSECOND, visible, visible + every - MICROSECOND]
        assert asked(hw.count(), [(1, happened, 0.0)], [(1, t) for t in moments], freshness) == [
            0,
            1,
            1,
        ], case
        every_second = np.arange(micros(happened), micros(visible) + 1, 1_000_000)
        counts = as_of(freshness, every_second)[0] > micros(happened)
        # at no second before does T lie after the event
        assert every_second[counts].tolist() == [micros(visible)], case


def leading_edge(facts):
    """The documented example, its event at 02:32 put onto the watermark at 02:31, as its own table
    counts it.
    """
    case = facts["tecton_aggregation_leading_edge"]
    watermark, request = (
        datetime.fromisoformat(case[name]) for name in ("stream_high_watermark", "request_time")
    )
    times = [datetime.fromisoformat(at) for at, _ in case["events"]]
    assert watermark + timedelta(minutes=1) in times
    events = [
        (1, watermark if at == watermark + timedelta(minutes=1) else at, float(v))
        for at, (_, v) in zip(times, case["events"], strict=True)
    ]
    return events, watermark, request, timedelta(seconds=case["window_s"]), case["doc_says"]


def test_a_late_stream_ends_its_window_at_the_wall_clock(facts):
    """Only K falls behind, not T: the window's last half hour is there, and empty."""
    events, watermark, request, window, says = leading_edge(facts)
    late = hw.streaming(request - watermark)
    assert asked(hw.sum("value"), events, [(1, request)], late, window=window) == [
        says["WALL_CLOCK_TIME"]
    ]


def test_the_latest_event_time_is_a_request_at_the_watermark(facts):
    """Tecton before 1.0 moved T back as well. Its window is inclusive, so the moment to ask is just
    after the watermark.
    """
    events, watermark, request, window, says = leading_edge(facts)
    after = [(1, watermark + MICROSECOND)]
    longer = window + MICROSECOND
    assert asked(hw.sum("value"), events, after, hw.on_request(), window=longer) == [
        says["LATEST_EVENT_TIME"]
    ]
    # a job that computes every minute and publishes as late as the stream moves T back too; its cut
    # leaves the event on it out
    job = hw.batch("1m", delay=request - watermark)
    assert asked(hw.sum("value"), events, [(1, request)], job, window=window) == [
        says["LATEST_EVENT_TIME"] - 1
    ]


# ---------------------------------------------------------------- Chronon


@pytest.mark.parametrize(("start", "end"), [(30, 1), (7, 7), (3, 2)])
def test_label_offsets_are_a_rule_of_knowing_and_a_filter(facts, start, end):
    """The rows that a label day joins back to: [day - start, day - end], inclusive. The end is when
    the label is known.

    That it is too old to be joined, the start, is a filter on the rows.
    """
    assert (
        "[ds_label - left_start_offset, ds_label - left_end_offset], inclusive both ends"
        in facts["chronon_label_join"]["rule"]
    )
    day, first = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
    days = [first + i * DAY for i in range(90)]
    labels = hw.Labels(
        "labels",
        table=pl.DataFrame({"ds": days, "y": [1.0] * len(days)}, schema_overrides={"ds": TIME}),
        timestamp_field="ds",
        label="y",
        known_after=end * DAY,
        filter=pl.col("ds") >= day - start * DAY,
    )
    requests = read_labels(labels)
    joined = [
        d
        for d, known in zip(requests.frame["ds"], requests.known_at, strict=True)
        if known <= micros(day)
    ]
    assert joined == [day - back * DAY for back in range(start, end - 1, -1)]


# ---------------------------------------------------------------- Feathr


def test_the_closest_value_of_the_past_same_day_included(facts):
    """Feathr's join is inclusive, [.., day]: asked just after the day's start. At the start itself
    the day's own row does not count.
    """
    case = facts["feathr_pit_doc"]
    day = {
        text: datetime.strptime(f"2024/{text} +0000", "%Y/%m/%d %z")
        for text in ("05/01", "05/02", "05/03")
    }
    events = [(key, day[text], value) for key, value, text in case["features"]]
    rows = [(key, day[text]) for _, key, text in case["labels"]]
    latest = hw.last("value")
    inclusive = asked(
        latest, events, [(key, at + MICROSECOND) for key, at in rows], hw.on_request()
    )
    assert [[row[0], value] for row, value in zip(case["labels"], inclusive, strict=True)] == case[
        "expected"
    ]
    assert asked(latest, events, rows, hw.on_request()) == [None, None, 0.1, 0.4, 0.1]
