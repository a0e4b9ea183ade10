"""Levels that the timestamps of the data cannot tell from the staler one get no verdict."""

import polars as pl
import pytest

import headwater as hw
from headwater.reports import to_html, to_notebook
from headwater.reports.resolution_words import lines
from tests.backtesting import world as w

LEVELS = {**w.LEVELS, "instant": hw.Level(hw.on_request())}


def backtest(made, *views):
    members = [*views, hw.RequestField("amount", float)]
    return w.judge(w.model(made, members=members), LEVELS, resamples=100)


@pytest.fixture(scope="module")
def made():
    return w.world(days=40, per_day=60)


def view(name, history, **rules):
    source = hw.Source(name, history=history, timestamp_field="at", select=["machine", "state", "mood"], **rules)
    return hw.FeatureView(
        name, source=source, keys=["machine"], features=[hw.mean("state")], windows=["2d"], freshness=w.LEVELS["daily"].features
    )


def states(result):
    return {level.level: level.state for level in result.measurable}


def test_days_cannot_tell_hourly_from_daily(made):
    days = made.events.with_columns(pl.col("at").dt.truncate("1d"))
    result = backtest(made, view("days", days, known_after="1d"))
    assert states(result) == {"daily": "measurable", "hourly": "not measurable", "instant": "not measurable"}
    for from_, to in (("daily", "hourly"), ("hourly", "instant")):
        step = w.step(result, from_, to)
        assert (step.verdict, step.verdict_words) == ("not measurable", "cannot be measured")
        assert "have a resolution of one day" in step.sentence
    for page in (to_html(result), to_notebook(result), repr(hw_table(result)), str(result.to_dict())):
        assert "not measurable" in page
        assert "instant adds no lift" not in page
    assert "no lift worth having" not in result.verdict


def hw_table(result):
    from headwater.reports.result_table import to_table

    return to_table(result)


def test_a_view_with_fine_stamps_measures_in_part(made):
    days = made.events.with_columns(pl.col("at").dt.truncate("1d"))
    result = backtest(made, view("days", days, known_after="1d"), w.by_machine(made.events))
    assert states(result) == {"daily": "measurable", "hourly": "partly measurable", "instant": "partly measurable"}
    (hourly,) = [level for level in result.measurable if level.level == "hourly"]
    assert ([v.view for v in hourly.views], [v.view for v in hourly.other_views]) == (["machine"], ["days"])
    assert "by machine alone, and not by days" in lines(result)[0]
    assert w.step(result, "daily", "hourly").verdict != "not measurable"


def test_fine_stamps_measure_every_level(made):
    jitter = made.events.with_columns(pl.col("at") + pl.duration(milliseconds=pl.int_range(pl.len()) % 59_999))
    result = backtest(made, view("fine", jitter))
    assert set(states(result).values()) == {"measurable"}
    assert lines(result) == []


def test_undeclared_days_are_asked_about_and_exact_ones_are_not(made):
    days = made.events.with_columns(pl.col("at").dt.truncate("1d"))
    asked, exact = backtest(made, view("days", days)), backtest(made, view("days", days, known_after="0s"))
    (question,) = [finding for finding in asked.audit.questions if finding.check == "coarse timestamps"]
    assert 'known_after="1d"' in question.message
    assert not [finding for finding in exact.audit.questions if finding.check == "coarse timestamps"]
    assert states(exact)["hourly"] == "measurable"


def test_levels_that_touch_no_event_are_not_asked_about(made):
    result = w.judge(w.model(made), {"a": hw.Level(hw.never()), "b": hw.Level(hw.never())}, resamples=50)
    assert result.resolutions == []
    assert result.measurable == []
