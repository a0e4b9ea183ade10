"""One recommendation: every rendering begins with it, and no verdict word contradicts it."""

from __future__ import annotations

import html
import io
import math
import re
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from headwater.backtesting.measurable import not_measurable
from headwater.backtesting.verdicts import holm, verdict_of
from headwater.reports import figures, to_html, to_notebook, to_table, to_text, wording
from headwater.reports.attribution_words import below_the_first_line
from headwater.reports.first_screen import to_screen
from headwater.reports.recommendation_words import in_practice
from headwater.reports.recommending import days_tested, recommend, with_recommendation
from headwater.results.audit_result import AuditFinding, AuditResult
from headwater.results.backtest_result import GIVEN, BacktestResult
from headwater.results.blocks_result import BlocksResult
from headwater.results.estimate import Comparison, Estimate
from tests.assessing.test_decision import attributed
from tests.backtesting.sample_result import flights
from tests.effort import tries

NAN = math.nan
LEAST = 0.005


def result_of(
    values: dict[str, float],
    half: float,
    *,
    baseline: str = "",
    least: float = LEAST,
    leak: bool = False,
) -> BacktestResult:
    """The flights levels with these values of AUC, each difference `half` wide on both sides; NaN:
    without intervals.
    """
    base = flights()
    levels = [level for level in base.levels if level.name in values]
    names = [level.name for level in levels]
    today = baseline or names[0]
    gains = {(a, b): values[b] - values[a] for a, b in combinations(names, 2)}
    primary = [pair for pair in gains if pair[0] == today]
    p = [
        math.erfc(abs(gains[pair]) / half * 1.96 / math.sqrt(2))
        if half > 0
        else float(gains[pair] == 0)
        for pair in primary
    ]
    adjusted = dict(zip(primary, holm(p), strict=True))
    comparisons = [
        _compared(pair, gain, half, least, adjusted.get(pair), len(primary))
        for pair, gain in gains.items()
    ]
    findings = (
        [AuditFinding("label rows", "LEAK", "x", "it holds the label", "leave it out")]
        if leak
        else []
    )
    return with_recommendation(
        structs.replace(
            base,
            levels=levels,
            comparisons=comparisons,
            slices=[],
            audit=AuditResult(findings),
            baseline=baseline,
            min_lift={"auc": least},
        )
    )


@settings(max_examples=tries(60), deadline=None)
@given(st.lists(st.floats(0.0, 0.04), min_size=2, max_size=3), st.floats(0.005, 0.06))
def test_so_many_more_days_decide_and_notably_fewer_do_not(gains, half):
    """The days that are named allow for Holm's method: with intervals that much narrower the same
    differences decide.
    """
    names = [level.name for level in flights().levels]
    values = dict(zip(names, [0.7, *(0.7 + gain for gain in gains)], strict=False))
    result = result_of(values, half)
    assert result.recommendation is not None
    if result.recommendation.answer != "cannot decide":
        return
    days, tested = result.recommendation.days, days_tested(result)
    if not math.isfinite(days):
        return

    def after(more: float) -> str:
        narrower = result_of(values, half * math.sqrt(tested / (tested + more)))
        assert narrower.recommendation is not None
        return narrower.recommendation.answer

    assert after(days) == "run"
    assert days < 2 or after(days / 1.1 - 1) == "cannot decide"


def _compared(
    pair: tuple[str, str], gain: float, half: float, least: float, p: float | None, family: int
) -> Comparison:
    low, high = gain - half, gain + half
    if p is None:
        return Comparison(*pair, "auc", gain, low, high, NAN, "not judged", "")
    verdict = verdict_of(low, high, least)
    if verdict in ("LIFT", "harm") and p >= 0.05:
        verdict = "inconclusive"
    return Comparison(
        *pair, "auc", gain, low, high, NAN, verdict, "not proven: 5 days are too few", p, family
    )


@pytest.mark.parametrize("half", [0.02, 0.001])
def test_two_days_never_say_that_one_more_would_decide(half):
    """For any width of an interval, eight days are needed."""
    blocks = BlocksResult("days", 2, 2, "on these 2 days", "")
    result = structs.replace(result_of({"daily": 0.70, "hourly": 0.72}, half), blocks=blocks)
    assert "at least 6 more days of test" in recommend(result).sentence


@pytest.mark.parametrize(
    ("values", "half", "baseline", "sentence"),
    [
        # Daily loses 0.10 to hourly, and hourly at most 0.004 to instant, which is less than 0.005.
        (
            {"daily": 0.66, "hourly": 0.76, "instant": 0.762},
            0.002,
            "daily",
            "Run it hourly; do not build a stream.",
        ),
        (
            {"daily": 0.66, "instant": 0.662},
            0.002,
            "daily",
            "Stay with daily features; do not build a stream.",
        ),
        (
            {"daily": 0.66, "hourly": 0.662, "instant": 0.661},
            0.002,
            "daily",
            "Stay with daily features; do not build an hourly job or a stream.",
        ),
        (
            {"daily": 0.66, "hourly": 0.67, "instant": 0.70},
            0.002,
            "daily",
            "Compute features at request time (instant).",
        ),
        (
            {"request only": 0.66, "daily": 0.76, "instant": 0.761},
            0.001,
            "",
            "Run it daily; do not build a stream.",
        ),
        (
            {"request only": 0.76, "daily": 0.761},
            0.001,
            "daily",
            "Use the request alone; do not build features of history.",
        ),
        # Fresher features that are worse: the best one is in the middle.
        (
            {"daily": 0.66, "hourly": 0.76, "instant": 0.70},
            0.002,
            "daily",
            "Run it hourly; do not build a stream.",
        ),
        # The gain of 0.02 is between -0.01 and 0.05: it needs half that width twice over, 0.015:
        # four times the 122 days.
        (
            {"daily": 0.66, "hourly": 0.68},
            0.03,
            "daily",
            (
                "Cannot decide between daily and hourly: about 370 to 880 more days would. Until "
                "then stay with daily."
            ),
        ),
        ({"daily": 0.66, "hourly": 0.68}, NAN, "daily", "Cannot decide: 5 days are too few."),
        (
            {"daily": 0.66},
            0.01,
            "daily",
            "Cannot decide: only one level was tested, so nothing can be compared.",
        ),
    ],
)
def test_what_is_recommended(
    values: dict[str, float], half: float, baseline: str, sentence: str
) -> None:
    found = result_of(values, half, baseline=baseline).recommendation
    assert found is not None
    assert found.sentence == sentence


def test_the_sentence_for_the_boss() -> None:
    result = result_of({"daily": 0.66, "hourly": 0.76, "instant": 0.762}, 0.002, baseline="daily")
    assert wording.verdict(result) == (
        "Run it hourly; do not build a stream. Of 100 flights you flag, 63 are late instead of 35."
    )
    plain = structs.replace(result, labels="labels", label="y")
    assert (
        recommend(plain).in_practice == "Of 100 requests you flag, 63 are positive instead of 35."
    )


def test_of_scores_made_elsewhere_it_names_levels_and_builds_nothing() -> None:
    result = result_of({"daily": 0.66, "hourly": 0.76, "instant": 0.762}, 0.002, baseline="daily")
    given = structs.replace(
        result,
        levels=[
            structs.replace(level, kind="batch", age_seconds=None, describes=GIVEN)
            for level in result.levels
        ],
    )
    assert recommend(given).sentence == "Run it hourly; fresher predictions are not needed."


def test_a_level_that_timestamps_cannot_tell_apart_is_not_recommended() -> None:
    result = result_of({"daily": 0.66, "hourly": 0.76, "instant": 0.80}, 0.002, baseline="daily")

    def coarse(*pairs: tuple[str, str]) -> BacktestResult:
        return structs.replace(
            result,
            comparisons=[
                not_measurable(step, "its times are whole hours")
                if (step.from_, step.to) in pairs
                else step
                for step in result.comparisons
            ],
        )

    found = recommend(coarse(("hourly", "instant")))
    assert (found.answer, found.level) == ("run", "hourly")
    assert found.sentence == (
        "Run it hourly. Whether instant features would help cannot be measured: its times are "
        "whole hours."
    )
    only = recommend(coarse(("daily", "hourly"), ("daily", "instant"), ("hourly", "instant")))
    assert only.sentence == (
        "Cannot decide: hourly and instant cannot be told from daily, since its times are "
        "whole hours."
    )


def test_fewer_than_eight_days_recommend_nothing() -> None:
    result = result_of({"daily": 0.66, "hourly": 0.76}, 0.002, baseline="daily")
    few = structs.replace(
        result, blocks=BlocksResult("hours", 48, 2, "on these 2 days", "two days only")
    )
    says = (
        "Cannot decide: the intervals speak of these 2 days only; at least 6 more days of test "
        "would speak of others."
    )
    assert recommend(few).first_line == says


def test_a_leak_withholds_it() -> None:
    found = result_of({"daily": 0.66, "hourly": 0.76}, 0.002, leak=True).recommendation
    assert found is not None
    assert (found.answer, found.level) == ("withheld", "")
    assert found.first_line == "No verdict: a leak in 'x'."


def test_a_break_even_of_money_changes_it() -> None:
    """By hand: hourly gains 0.10 over daily and minute 0.02 more, each +-0.005; a stream that costs
    0.05 of the metric does not pay.
    """
    result = result_of({"daily": 0.66, "hourly": 0.76, "minute": 0.78}, 0.005, baseline="daily")
    assert recommend(result).level == "minute"
    assert recommend(result, {"daily": 0.0, "hourly": 0.01, "minute": 0.06}).level == "hourly"
    assert recommend(result, {"daily": 0.0, "hourly": 0.2, "minute": 0.4}).level == "daily"


@st.composite
def results(draw: st.DrawFn) -> BacktestResult:
    """Any levels, gains, widths, baseline and least lift."""
    names = ["request only", "daily", "hourly", "minute", "instant"]
    kept = [name for name in names if draw(st.booleans())]
    kept = kept or ["daily", "hourly"]
    values = (
        {name: draw(st.floats(0.5, 0.9)) for name in kept}
        if draw(st.booleans())
        else _rising(draw, kept)
    )
    half = draw(st.one_of(st.just(NAN), st.floats(0.0005, 0.1)))
    return result_of(
        values,
        half,
        baseline=draw(st.sampled_from(["", *kept])),
        least=draw(st.sampled_from([0.0, 0.005, 0.03])),
        leak=draw(st.integers(0, 9)) == 0,
    )


def _rising(draw: st.DrawFn, names: list[str]) -> dict[str, float]:
    value, values = 0.6, {}
    for name in names:
        value += draw(st.sampled_from([0.0, 0.001, 0.004, 0.01, 0.03, 0.1]))
        values[name] = value
    return values


def first_lines(result: BacktestResult) -> dict[str, str]:
    """The first line of each rendering, as it is read."""
    from rich.console import Console

    def printed(rendered) -> str:
        console = Console(width=4_000, record=True, file=io.StringIO())
        console.print(rendered)
        return " ".join(console.export_text().split())[
            : len(" ".join(result.recommendation.first_line.split()))
        ]

    page, fragment = to_html(result), to_notebook(result)
    return {
        "terminal": printed(to_table(result)),
        "first screen": printed(to_screen(result)),
        "page": html.unescape(re.search(r"<h1[^>]*>(.*?)</h1>", page, re.DOTALL)[1]),  # type: ignore[index]
        "notebook": html.unescape(re.search(r"<p[^>]*>(.*?)</p>", fragment, re.DOTALL)[1]),  # type: ignore[index]
        "json": str(result.to_dict()["verdict"]),
    }


@settings(max_examples=tries(12), deadline=None)
@given(results())
def test_every_rendering_begins_with_it(result: BacktestResult) -> None:
    assert result.recommendation is not None
    line = result.recommendation.first_line
    assert line
    assert set(first_lines(result).values()) == {line}
    assert " ".join(to_text(result).split()).startswith(line[:200])


@settings(max_examples=tries(200), deadline=None)
@given(results())
def test_no_verdict_word_contradicts_it(result: BacktestResult) -> None:
    found = result.recommendation
    assert found is not None
    names = [level.name for level in result.levels]
    words = {step.to: wording.verdict_word(result, step) for step in wording.judged(result)}
    assert set(words) == set(names[names.index(found.baseline) + 1 :])
    if found.withheld:
        assert set(words.values()) <= {""}
        assert not wording.rest(result)
    if found.answer == "run" and names.index(found.level) <= names.index(found.baseline):
        assert "LIFT" not in words.values()
        assert "adds +" not in wording.rest(result)
    if found.answer == "run" and names.index(found.level) > names.index(found.baseline):
        assert words[found.level] == "LIFT"


@settings(max_examples=tries(200), deadline=None)
@given(results())
def test_a_recommended_level_loses_less_than_break_even(result: BacktestResult) -> None:
    """And no staler level does; of the freshest, all levels from the baseline on are shown to lose
    at least as much.
    """
    found = result.recommendation
    assert found is not None
    if found.answer != "run":
        return
    names, least = [level.name for level in result.levels], result.min_lift["auc"]
    gaps = {(step.from_, step.to): step for step in result.comparisons if step.metric == "auc"}
    at = names.index(found.level)
    assert all(gaps[found.level, fresher].high <= least for fresher in names[at + 1 :])
    for stale in names[names.index(found.baseline) : at]:
        assert any(gaps[stale, fresher].high > least for fresher in names[names.index(stale) + 1 :])
    if at == len(names) - 1:
        for stale in names[names.index(found.baseline) : at]:
            assert any(
                gaps[stale, fresher].low >= least for fresher in names[names.index(stale) + 1 :]
            )


@settings(max_examples=tries(50), deadline=None)
@given(st.floats(0.006, 0.1), st.floats(0.006, 0.2))
def test_so_many_more_days_decide(gain: float, half: float) -> None:
    """With the interval as narrow as that many days make it, there is a decision; a day earlier
    there is none.
    """
    result = result_of({"daily": 0.6, "hourly": 0.6 + gain}, half, baseline="daily")
    found = result.recommendation
    assert found is not None
    if found.answer != "cannot decide" or not math.isfinite(found.days):
        return
    tested = 122.04
    narrow = result_of(
        {"daily": 0.6, "hourly": 0.6 + gain},
        half * math.sqrt(tested / (tested + found.days)),
        baseline="daily",
    )
    assert narrow.recommendation is not None
    assert narrow.recommendation.answer == "run"


def test_until_days_decide_a_level_that_is_shown_to_be_better_is_run() -> None:
    """Two levels that are far above the baseline, and close to each other: the baseline is not what
    to keep.
    """
    result = result_of({"daily": 0.60, "hourly": 0.75, "minute": 0.757}, 0.01)
    assert result.verdict.endswith("Until then run hourly, which is shown to be better than daily.")
    near = result_of({"daily": 0.60, "hourly": 0.607}, 0.01)
    assert near.verdict.endswith("Until then stay with daily.")


def test_few_days_have_no_word_of_power_or_significance() -> None:
    result = result_of({"daily": 0.60, "minute": 0.75}, 0.01)
    two = BlocksResult("hours", 48, 2, "on these 2 days", "hours")
    few = [structs.replace(step, verdict="inconclusive", mde=0.02) for step in result.comparisons]
    result = with_recommendation(structs.replace(result, blocks=two, comparisons=few))
    shown = repr(to_table(result))
    assert "On these 2 days, the gain in AUC over daily: minute +0.150" in shown
    assert "would have been detected" not in shown
    assert "not significant among them" not in shown


def test_a_step_between_neighbours_has_no_verdict_word() -> None:
    result = result_of({"daily": 0.60, "hourly": 0.75, "minute": 0.757}, 0.01)
    lost = [structs.replace(step, verdict="not measurable") for step in result.comparisons]
    line = next(
        line
        for line in repr(to_table(structs.replace(result, comparisons=lost))).splitlines()
        if line.startswith("hourly \u2192 minute")
    )
    assert "measured" not in line


@pytest.mark.parametrize(
    ("headline", "metrics", "sentence"),
    [
        (
            "log_loss",
            {"log_loss": (0.9, 0.7), "accuracy": (0.58, 0.67)},
            "Of 100 flights, 67 get the right class instead of 58.",
        ),
        (
            "auc",
            {"auc": (0.60, 0.75)},
            (
                "Of 100 pairs of flights with different outcomes, 75 are in the right order "
                "instead of 60."
            ),
        ),
        (
            "auc",
            {"auc": (0.6, 0.7), "precision@10%": (0.35, 0.63)},
            "Of 100 flights you flag, 63 are late instead of 35.",
        ),
    ],
)
def test_every_task_has_a_sentence_with_figures(
    headline: str, metrics: dict[str, tuple[float, float]], sentence: str
) -> None:
    result = flights()
    stale, fresh = (
        structs.replace(
            level,
            metrics={name: Estimate(values[at], NAN, NAN) for name, values in metrics.items()},
        )
        for at, level in enumerate(result.levels[1:3])
    )
    assert (
        in_practice(
            structs.replace(result, headline=headline, levels=[stale, fresh]),
            fresh.name,
            stale.name,
        )
        == sentence
    )


def compared(
    headline: str,
    metrics: dict[str, tuple[float, float]],
    *,
    stay: bool = False,
    labels: str = "flights",
    label: str = "late",
) -> str:
    """The sentence on two levels with these values, of the fresher one, or of the staler one if it
    stays.
    """
    result = structs.replace(flights(), labels=labels, label=label)
    stale, fresh = (
        structs.replace(
            level,
            metrics={name: Estimate(values[at], NAN, NAN) for name, values in metrics.items()},
        )
        for at, level in enumerate(result.levels[1:3])
    )
    of = structs.replace(result, headline=headline, levels=[stale, fresh])
    return in_practice(of, stale.name if stay else fresh.name, stale.name)


def test_figures_of_another_metric_do_not_contradict_the_recommendation() -> None:
    fell = {"auc": (0.60, 0.75), "precision@10%": (0.59, 0.57)}
    assert compared("auc", fell) == (
        "Of 100 pairs of flights with different outcomes, 75 are in the right order instead of 60."
    )
    rose = {"auc": (0.600, 0.601), "precision@10%": (0.58, 0.64)}
    assert "you flag" not in compared("auc", rose, stay=True)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((0.021, 0.024), "Of 1,000 flights you flag, 24 are late instead of 21."),
        ((0.35, 0.63), "Of 100 flights you flag, 63 are late instead of 35."),
        ((0.5, 0.5), ""),
    ],
)
def test_no_figure_is_instead_of_itself(values: tuple[float, float], sentence: str) -> None:
    assert compared("precision@10%", {"precision@10%": values}) == sentence


@pytest.mark.parametrize(
    ("labels", "label", "says"),
    [
        ("late_labels", "late", "Of 100 requests you flag, 63 are late"),
        ("outcomes", "bad", "Of 100 requests you flag, 63 are bad"),
        ("accounts", "has_churned", "Of 100 accounts you flag, 63 have churned"),
        ("visits", "will_buy", "Of 100 visits you flag, 63 will buy"),
    ],
)
def test_tables_and_labels_are_named_in_plain_words(labels: str, label: str, says: str) -> None:
    assert (
        compared("precision@10%", {"precision@10%": (0.35, 0.63)}, labels=labels, label=label)
        == f"{says} instead of 35."
    )


def test_what_stays_open_for_ever_is_named() -> None:
    found = recommend(result_of({"daily": 0.60, "hourly": 0.750, "minute": 0.755}, 0.02))
    assert found.sentence == (
        "Cannot decide between hourly and minute: the difference between hourly and minute is "
        "close to break-even, and even ten years of test would not. Until then run hourly, which "
        "is shown to be better than daily."
    )
    three = recommend(result_of({"daily": 0.70, "hourly": 0.750, "minute": 0.755}, 0.06))
    assert (
        "between daily, hourly and minute: the difference between hourly and minute is close"
        in three.sentence
    )


def test_where_money_decides_no_rendering_gives_the_least_lift_worth_having() -> None:
    result = result_of({"daily": 0.60, "hourly": 0.61, "minute": 0.67}, 0.12, baseline="daily")
    paid = with_recommendation(
        result, {"daily": 0.0, "hourly": 0.02, "minute": 1.2}, "the costs of levels"
    )
    says = (
        "Break-even over daily is a gain in AUC of 0.020 for hourly and 1.200 for minute, by the "
        "costs of levels."
    )
    assert says in to_html(paid)
    assert says in " ".join(repr(to_table(paid)).split())
    assert "is not worth having" not in to_html(paid)
    assert "is not worth having" in to_html(result)
    main = next(step for step in paid.comparisons if (step.from_, step.to) == ("daily", "minute"))
    assert figures.slice_gains(paid, main)["layout"]["shapes"][0]["x1"] == 1.2


def test_a_level_without_history_is_no_batch() -> None:
    result = flights()
    level = structs.replace(result.levels[0], kind="batch", age_seconds=None)
    assert level.kind_words == "no history"
    assert structs.replace(level, describes=GIVEN).kind_words == "scores given"
    shown = structs.replace(result, levels=[level, *result.levels[1:]])
    assert "no history" in repr(to_table(shown))
    assert (
        recommend(structs.replace(shown, baseline=level.name)).sentence.count("fresher predictions")
        == 0
    )


def test_scores_of_unknown_age_are_not_said_to_read_no_history() -> None:
    result = flights()
    levels = [
        structs.replace(level, kind="batch", age_seconds=None, describes=GIVEN)
        for level in result.levels
    ]
    page = to_html(structs.replace(result, levels=levels))
    assert "it is not known how old their features were" in page
    assert "No level reads history" not in page


def test_a_plan_for_another_level_than_the_first_line_runs_is_a_condition() -> None:
    def shown(level: str) -> str:
        result = result_of({"daily": 0.60, "hourly": 0.75, "minute": 0.757}, 0.01, baseline="daily")
        found = structs.replace(result.recommendation, level=level)
        plan = structs.replace(attributed(["card"], []), plan="Stream card: 99 % of the lift.")
        return below_the_first_line(
            structs.replace(result, recommendation=found, attribution=plan)
        ).plan

    assert shown("minute") == "Stream card: 99 % of the lift."
    assert shown("hourly") == shown("") == "If minute is built: stream card: 99 % of the lift."


def test_levels_that_are_not_from_stale_to_fresh_get_no_recommendation() -> None:
    result = result_of({"daily": 0.60, "hourly": 0.75, "minute": 0.757}, 0.002, baseline="daily")
    assert recommend(result).answer == "run"
    reversed_ = structs.replace(result, levels=list(reversed(result.levels)), baseline="")
    assert recommend(reversed_).sentence == (
        "Cannot decide: levels are compared from stale to fresh, and hourly (45 min) comes after "
        "minute (1.5 min); give them in that order."
    )
    near = [
        structs.replace(level, age_seconds=3600.0 + 100 * at)
        for at, level in enumerate(result.levels)
    ]
    assert recommend(structs.replace(result, levels=near)).answer == "run"
