"""One recommendation: every rendering begins with it, and no verdict word contradicts it."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from rich.console import Console

from headwater.backtesting.measurable import not_measurable
from headwater.backtesting.verdicts import holm, verdict_of
from headwater.pages import wording
from headwater.pages.backtest_page import to_page
from headwater.pages.recommendation_words import in_practice
from headwater.pages.recommending import days_tested, recommend, with_recommendation
from headwater.results.audit_result import AcknowledgedBy, AuditFinding, AuditResult
from headwater.results.backtest_result import BacktestResult
from headwater.results.blocks_result import BlocksResult
from headwater.results.estimate import Comparison, Estimate
from tests.backtesting.sample_result import flights
from tests.pages.backtest_forms import (
    to_html,
    to_markdown,
    to_notebook,
    to_screen,
    to_table,
    to_text,
)

NAN = math.nan
LEAST = 0.005


def result_of(
    values: dict[str, float],
    half: float,
    *,
    baseline: str = "",
    least: float = LEAST,
    leak: bool = False,
    suspects: Sequence[AuditFinding] = (),
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
    findings = [*suspects]
    if leak:
        findings.append(
            AuditFinding("label rows", "LEAK", "x", "it holds the label", "leave it out")
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


@settings(max_examples=10, deadline=None)
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


def test_a_leak_withholds_it() -> None:
    found = result_of({"daily": 0.66, "hourly": 0.76}, 0.002, leak=True).recommendation
    assert found is not None
    assert (found.answer, found.level) == ("withheld", "")
    assert found.first_line == "No verdict: a leak in 'x'."


def test_the_weightiest_open_condition_stands_first() -> None:
    suspects = [
        AuditFinding("own outcome", "SUSPECT", name, "e", "r", brief=f"{name!r} is a plan")
        for name in ("twins", "x")
    ]
    values = {"daily": 0.66, "hourly": 0.76}
    free = result_of(values, 0.002).recommendation
    found = result_of(values, 0.002, suspects=suspects).recommendation
    assert free is not None
    assert found is not None
    assert (found.answer, found.level) == ("run", "hourly")
    action = f"{free.sentence[:1].lower()}{free.sentence[1:]}"
    assert found.sentence == f"If 'twins' is a plan (declared): {action}"
    assert found.in_practice == free.in_practice
    answered = [
        structs.replace(suspect, acknowledged=AcknowledgedBy("so we bill", "Ann"))
        for suspect in suspects
    ]
    assert result_of(values, 0.002, suspects=answered).recommendation == free


def test_a_break_even_of_money_changes_it() -> None:
    """By hand: hourly gains 0.10 over daily and minute 0.02 more, each +-0.005; a stream that costs
    0.05 of the metric does not pay.
    """
    result = result_of({"daily": 0.66, "hourly": 0.76, "minute": 0.78}, 0.005, baseline="daily")
    assert recommend(result).level == "minute"
    assert recommend(result, {"daily": 0.0, "hourly": 0.01, "minute": 0.06}).level == "hourly"
    assert recommend(result, {"daily": 0.0, "hourly": 0.2, "minute": 0.4}).level == "daily"


SUSPECT = AuditFinding("own outcome", "SUSPECT", "x", "e", "r", brief="'x' is a plan")


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
        suspects=draw(st.sampled_from([(), (SUSPECT,)])),
    )


def _rising(draw: st.DrawFn, names: list[str]) -> dict[str, float]:
    value, values = 0.6, {}
    for name in names:
        value += draw(st.sampled_from([0.0, 0.001, 0.004, 0.01, 0.03, 0.1]))
        values[name] = value
    return values


def as_read(result: BacktestResult) -> dict[str, str]:
    """What each form says, on one line."""

    def printed(rendered) -> str:
        console = Console(width=4_000, record=True, file=io.StringIO())
        console.print(rendered)
        return console.export_text()

    def visible(page: str) -> str:
        return html.unescape(re.sub(r"<svg.*?</svg>|<[^>]+>", " ", page, flags=re.DOTALL))

    forms = {
        "terminal": printed(to_table(result)),
        "first screen": printed(to_screen(result)),
        "prompt": to_text(result),
        "page": visible(to_html(result).partition("<h1")[2].partition(">")[2]),
        "notebook": visible(to_notebook(result)),
        "markdown": html.unescape(to_markdown(result).removeprefix("# ").replace("\\", "")),
    }
    return {name: " ".join(text.split()) for name, text in forms.items()}


@settings(max_examples=5, deadline=None)
@given(results())
def test_every_form_begins_with_the_sentence_and_its_effect(result: BacktestResult) -> None:
    found, page = result.recommendation, to_page(result)
    assert found is not None
    first = f"{page.sentence} {page.effect}".strip()
    assert first.startswith(found.sentence)
    assert first.endswith(found.in_practice)
    assert result.to_dict()["verdict"] == found.first_line
    for name, text in as_read(result).items():
        assert text.startswith(" ".join(first.split())), name


@settings(max_examples=20, deadline=None)
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


@settings(max_examples=20, deadline=None)
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


@settings(max_examples=10, deadline=None)
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
