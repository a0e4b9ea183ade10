"""Levels that the timestamps of the data cannot tell from the staler one get no verdict."""

import dataclasses
import io

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
    source = hw.Source(
        name, history=history, timestamp_field="at", select=["machine", "state", "mood"], **rules
    )
    return hw.FeatureView(
        name,
        source=source,
        keys=["machine"],
        features=[hw.mean("state")],
        windows=["2d"],
        freshness=w.LEVELS["daily"].features,
    )


def states(result):
    return {level.level: level.state for level in result.measurable}


def test_days_cannot_tell_hourly_from_daily(made):
    days = made.events.with_columns(pl.col("at").dt.truncate("1d"))
    result = backtest(made, view("days", days, known_after="1d"))
    assert states(result) == {
        "daily": "measurable",
        "hourly": "not measurable",
        "instant": "not measurable",
    }
    for from_, to in (("daily", "hourly"), ("hourly", "instant")):
        step = w.step(result, from_, to)
        assert (step.verdict, step.verdict_words) == ("not measurable", "cannot be measured")
        assert "have a resolution of one day" in step.sentence
    for page in (
        to_html(result),
        to_notebook(result),
        repr(hw_table(result)),
        str(result.to_dict()),
    ):
        assert "not measurable" in page
        assert "instant adds no lift" not in page
    assert "no lift worth having" not in result.verdict


def hw_table(result):
    from headwater.reports.result_table import to_table

    return to_table(result)


def test_a_view_with_fine_stamps_measures_in_part(made):
    days = made.events.with_columns(pl.col("at").dt.truncate("1d"))
    result = backtest(made, view("days", days, known_after="1d"), w.by_machine(made.events))
    assert states(result) == {
        "daily": "measurable",
        "hourly": "partly measurable",
        "instant": "partly measurable",
    }
    (hourly,) = [level for level in result.measurable if level.level == "hourly"]
    assert ([v.view for v in hourly.views], [v.view for v in hourly.other_views]) == (
        ["machine"],
        ["days"],
    )
    assert "by machine alone, and not by days" in lines(result)[0]
    assert w.step(result, "daily", "hourly").verdict != "not measurable"


def test_fine_stamps_measure_every_level(made):
    jitter = made.events.with_columns(
        pl.col("at") + pl.duration(milliseconds=pl.int_range(pl.len()) % 59_999)
    )
    result = backtest(made, view("fine", jitter))
    assert set(states(result).values()) == {"measurable"}
    assert lines(result) == []


def test_undeclared_days_are_asked_about_and_exact_ones_are_not(made):
    days = made.events.with_columns(pl.col("at").dt.truncate("1d"))
    asked, exact = (
        backtest(made, view("days", days)),
        backtest(made, view("days", days, known_after="0s")),
    )
    (question,) = [
        finding for finding in asked.audit.questions if finding.check == "coarse timestamps"
    ]
    assert 'known_after="1d"' in question.message
    assert not [
        finding for finding in exact.audit.questions if finding.check == "coarse timestamps"
    ]
    assert states(exact)["hourly"] == "measurable"


def test_levels_that_touch_no_event_are_not_asked_about(made):
    result = w.judge(
        w.model(made), {"a": hw.Level(hw.never()), "b": hw.Level(hw.never())}, resamples=50
    )
    assert result.resolutions == []
    assert result.measurable == []


# ---- requests on a grid


def judged_at(made, every, ladder=None, **rules):
    """The verdicts on requests whose times were rounded down; amounts keep their order."""
    rows = made.rows.with_columns(pl.col("asked").dt.truncate(every))
    of = w.model(w.World(made.events, rows))
    of = dataclasses.replace(of, labels=w.labels(rows, **rules))
    return hw.backtest(of, ladder or LEVELS, hw.Evaluation(metrics=["auc"], resamples=100)).result


def test_whole_days_of_requests_measure_daily_alone(made):
    result = judged_at(made, "1d")
    assert states(result) == {
        "daily": "measurable",
        "hourly": "not measurable",
        "instant": "not measurable",
    }
    step = w.step(result, "daily", "hourly")
    assert step.verdict == "not measurable"
    assert (
        "the request times 'asked' of labels 'outcomes' have a resolution of one day"
        in step.sentence
    )
    (question,) = [line for line in lines(result) if line.startswith("question: the request times")]
    assert "exact_times=True" in question
    for page in (to_html(result), to_notebook(result)):
        assert "exact_times=True" in page


def test_levels_that_coincide_at_the_rounded_time_are_not_called_equal(made):
    """At midnight a daily job without a delay knows as much as the instant level; in the evening it
    does not.
    """
    ladder = {"daily": hw.Level(hw.batch("1d")), "instant": hw.Level(hw.on_request())}
    result = judged_at(made, "1d", ladder)
    assert states(result) == {"instant": "not measurable"}
    assert w.step(result, "daily", "instant").verdict == "not measurable"


def test_exact_times_are_taken_as_they_are(made):
    result = judged_at(made, "1d", exact_times=True)
    assert states(result)["hourly"] == "measurable"
    assert result.request_times is None


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ("1h", {"daily": "measurable", "hourly": "measurable", "instant": "not measurable"}),
        ("1m", {"daily": "measurable", "hourly": "measurable", "instant": "measurable"}),
        ("1s", {"daily": "measurable", "hourly": "measurable", "instant": "measurable"}),
    ],
)
def test_finer_requests_measure_more(made, every, expected):
    jitter = made.events.with_columns(
        pl.col("at") + pl.duration(milliseconds=pl.int_range(pl.len()) % 59_999)
    )
    result = judged_at(w.World(jitter, made.rows), every)
    assert states(result) == expected
    assert (result.request_times is None) == ("not measurable" not in expected.values())


def test_requests_of_whole_minutes_tell_the_minute_from_the_instant_level(made):
    jitter = made.events.with_columns(
        pl.col("at") + pl.duration(milliseconds=pl.int_range(pl.len()) % 59_999)
    )
    ladder = {
        "hourly": LEVELS["hourly"],
        "minute": hw.Level(hw.batch("1m", delay="60s")),
        "instant": LEVELS["instant"],
    }
    result = judged_at(w.World(jitter, made.rows), "1m", ladder)
    assert states(result) == {"minute": "measurable", "instant": "measurable"}


# ---- attribution


def attributed(made, *views, levels=("daily", "hourly")):
    of = w.model(made, members=[*views, hw.RequestField("amount", float)])
    return hw.evaluation.attribution(
        of,
        {name: LEVELS[name] for name in levels},
        hw.Evaluation(metrics=["auc"], resamples=100, split=w.day(16)),
    )


def test_a_view_of_whole_days_is_credited_with_nothing(made):
    days = made.events.with_columns(pl.col("at").dt.truncate("1d"))
    found = attributed(made, view("days", days, known_after="1d"), w.by_machine(made.events))
    units = {unit.name: unit for unit in found.units}
    assert units["days"].added.verdict == units["days"].removed.verdict == "not measurable"
    assert "have a resolution of one day" in units["days"].added.sentence
    assert units["machine"].added.verdict == "LIFT"
    assert "days" not in {name for step in found.path for name in step.units}
    assert ("days" in found.stay, "days" in found.chosen) == (False, False)
    assert list(found.not_measurable) == ["days"]
    assert 0.99 < found.share.value < 1.01
    assert [
        line
        for line in found.notes
        if "days cannot be measured, and is credited with nothing" in line
    ]
    assert "cannot be measured" in str(hw_table_of(found))


def test_no_plan_where_no_view_can_be_measured(made):
    days = made.events.with_columns(pl.col("at").dt.truncate("1d"))
    found = attributed(made, view("days", days, known_after="1d"))
    assert found.plan.startswith(
        "No plan: hourly cannot be told from daily, since the timestamps 'at'"
    )
    assert (found.path, found.chosen, found.stay, found.whole.verdict) == (
        [],
        [],
        [],
        "not measurable",
    )


def test_fine_stamps_are_attributed_as_before(made):
    assert attributed(made, w.by_machine(made.events)).not_measurable == {}


def hw_table_of(found):
    from rich.console import Console

    console = Console(file=io.StringIO(), width=300)
    console.print(found.table())
    return console.file.getvalue()
