"""Rows of the labels' own table: refused, flagged when it runs, or no one's fault."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

import headwater as hw
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


def test_the_later_timestamps_of_a_whole_table_are_refused():
    # not the labels' table, so nothing but its own columns can tell
    other = TRIPS.filter(pl.col("trip") % 2 == 0)
    with pytest.raises(
        LeakError,
        match=r"these timestamps come later than a row is known \(due_at\): 'left_at' \(in 100.0% of rows\), 'there_at'",
    ):
        _audit(_model(_view(other, select=None)))


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


def test_a_moment_that_really_comes_later_is_taken_at_its_word():
    found = _one(
        _audit(_model(_view(TRIPS, [hw.mean("wait")], at="left_at", select=["line", "wait"])))
    )
    assert (found.severity, found.columns) == ("question", ["wait"])
    assert found.share > 0.5
    assert found.evidence.endswith(
        "columns read from them: 'wait'. They are said to be known at 'left_at'"
    )


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
