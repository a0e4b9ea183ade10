"""The page that gets forwarded: plain words, one printed page, and honest where something is not
known.
"""

from __future__ import annotations

import re

from msgspec import structs

from headwater.reports import wording
from headwater.reports.recommending import with_recommendation
from headwater.reports.summary_page import to_html, to_text
from headwater.reports.summary_words import of_backtest
from headwater.results.backtest_result import BacktestResult, Value
from headwater.results.estimate import Estimate
from tests.backtesting.sample_result import METRICS, flights
from tests.reports.test_reports import HOSTILE, changed, every_shape, every_task

WORTH = Value(
    1_000,
    0.1,
    20,
    5,
    0,
    {"request only": 0, "daily": 1, "hourly": 13, "minute": 90, "instant": 200},
)


def hourly(**changes: object) -> BacktestResult:
    """The flights, where an AUC of 0.02 more is the least that is worth having: run it hourly."""
    result = flights()
    result = structs.replace(
        result,
        min_lift={**result.min_lift, "auc": 0.02},
        at="2026-11-27T02:00:00+00:00",
        by="ada@desk",
        **changes,
    )
    return with_recommendation(result)


def points(result: BacktestResult) -> dict[str, str]:
    return dict(of_backtest(result).points)


@every_shape
@every_task
def test_every_shape_of_result_has_a_summary_without_names_of_metrics(change, task):
    result = changed(change, task)
    summary = of_backtest(result)
    text, page = to_text(summary), to_html(summary)
    assert result.recommendation is not None
    assert summary.first == result.recommendation.sentence
    for metric in METRICS[task]:
        assert not re.search(rf"\b{re.escape(wording.metric_label(metric))}\b", text)
    assert "nan" not in re.findall(r"[a-z]+", text.lower())
    assert HOSTILE not in page
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert {"Next", "How sure we are", "Who checked"} <= dict(summary.points).keys()


def test_the_summary_says_what_to_do_what_it_changes_and_what_it_earns():
    result = hourly(value=WORTH)
    summary = of_backtest(result)
    assert (summary.first, summary.practice) == (
        "Run it hourly; do not build a stream.",
        "Of 100 flights you flag, 63 are late instead of 35.",
    )
    assert [(bar.name, bar.value, bar.chosen) for bar in summary.bars] == [
        ("daily", 35, False), ("hourly", 63, True), ("minute", 66, False), ("instant", 66, False),
    ]  # fmt: skip
    said = dict(summary.points)
    # 100 are acted on a day; a hit instead of a false alarm is worth 25: 0.2823 more of 100 are
    # 28.23, and 706 a day.
    assert said["Money"].startswith(
        "It costs 12 a day more than daily. It earns 706 a day [569 to 828]"
    )
    assert said["How sure we are"].startswith(
        "The gain is 23 to 33 of 100 in 95 of 100 such tests."
    )
    assert said["Who checked"].startswith(
        "headwater's audit for leaks ran 2 checks. Run by ada@desk."
    )
    assert said["Next"].startswith(
        "An A/B test in production, hourly against daily, for two weeks; `headwater experiment "
        "plan`"
    )
    assert summary.about.endswith("2026-11-27")


def test_a_count_that_is_less_sure_than_the_verdict_says_so():
    """AUC is shown to gain, and the interval of precision includes 0."""
    result = hourly()
    steps = [
        structs.replace(s, low=-0.06)
        if (s.from_, s.to, s.metric) == ("daily", "hourly", "precision@10%")
        else s
        for s in result.comparisons
    ]
    sure = points(structs.replace(result, comparisons=steps))["How sure we are"]
    assert sure.startswith("That it is better is shown; by how many is less sure: −6 to 33 of 100")


def test_harm_is_not_called_a_gain():
    """Instant features lose 0.05 to hourly ones, and hourly ones are run."""
    result = flights()
    steps = [
        structs.replace(step, delta=-0.05, low=-0.06, high=-0.04, verdict="not judged") if (step.from_, step.to) == ("hourly", "instant") else step
        for step in result.comparisons if "minute" not in (step.from_, step.to)
    ]  # fmt: skip
    levels = [
        structs.replace(level, metrics={**level.metrics, "auc": Estimate(0.714, 0.70, 0.73)}) if level.name == "instant" else level
        for level in result.levels if level.name != "minute"
    ]  # fmt: skip
    harmed = with_recommendation(
        structs.replace(result, levels=levels, comparisons=steps, slices=[])
    )
    assert of_backtest(harmed).first.startswith("Run it hourly")
    assert (
        dict(of_backtest(harmed).points)["Fresher than that"] == "Instant features make it worse."
    )
