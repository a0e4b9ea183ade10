"""What a page says where it cannot decide: what would, and what to run until then; and of levels
that timestamps cannot tell apart.
"""

import datetime as dt
import math
import re
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from msgspec import structs
from scipy.special import expit

import headwater as hw
from headwater.reports import to_html, to_notebook
from tests.backtesting import world as w
from tests.reports.test_one_recommendation import result_of

LADDER = {**w.LEVELS, "instant": hw.Level(hw.on_request())}


# ---- timestamps that cannot tell levels apart


@pytest.fixture(scope="module")
def made():
    return w.world(days=40, per_day=60)


def of_days(made, every="1d", known_after="1d"):
    """A model of a view whose timestamps are rounded down."""
    coarse = made.events.with_columns(pl.col("at").dt.truncate(every))
    source = hw.Source(
        "readings",
        history=coarse,
        timestamp_field="at",
        select=["machine", "state"],
        known_after=known_after,
    )
    features = [hw.last("state"), hw.mean("state", windows=["2d"])]
    view = hw.FeatureView(
        "machine", source=source, keys=["machine"], features=features, freshness=hw.batch("1d")
    )
    return w.model(made, members=[view, hw.RequestField("amount", float)])


def judged(of, levels=LADDER, **how):
    return hw.backtest(of, levels, hw.Evaluation(metrics=["auc"], resamples=200, **how))


BLIND = (
    "Whether hourly or instant features would help cannot be measured: the timestamps 'at' of "
    "source 'readings' have a resolution of one day."
)


@pytest.mark.slow
@pytest.mark.parametrize("baseline", ["daily", "request only", None])
def test_whole_days_recommend_nothing_for_or_against_fresher_levels(made, baseline):
    found = judged(of_days(made), baseline=baseline, min_lift=0.2)
    sentence = found.result.recommendation.sentence
    assert sentence.endswith(BLIND)
    before = sentence.removesuffix(BLIND)
    assert not re.search("hourly|stream|request time|history|fresher", before)
    for text in (
        found.summary().replace("\n", " "),
        to_html(found.result),
        to_notebook(found.result),
    ):
        assert not re.search(
            "do not build (an hourly|a stream|them)|(hourly|instant) features add|with "
            "(hourly|instant)",
            text,
        )
    assert "would help cannot be measured" not in " ".join(found.result.recommendation.limits)


def test_of_levels_that_can_be_measured_one_is_recommended(made):
    assert judged(of_days(made), min_lift=0.2).result.verdict.startswith(
        "Stay with the request alone; do not build daily features."
    )


def test_a_word_that_a_measured_and_an_unmeasured_level_share_is_not_used(made):
    """Whole hours tell daily from hourly, and not hourly from fresher levels."""
    ladder = {name: level for name, level in LADDER.items() if name != "request only"}
    found = judged(of_days(made, "1h", "1h"), levels=ladder, baseline="daily", min_lift=0.9).result
    assert found.verdict.startswith(
        "Stay with daily features; do not build an hourly job. Whether instant features would "
        "help cannot be"
    )
    ladder = {
        "daily": LADDER["daily"],
        "now": hw.Level(hw.streaming("2s")),
        "instant": LADDER["instant"],
    }
    found = judged(of_days(made, "1h", "1h"), levels=ladder, baseline="daily", min_lift=0.9).result
    assert found.verdict.startswith(
        "Stay with daily features; do not build now features. Whether instant features would help "
        "cannot be"
    )


def test_a_baseline_that_cannot_be_measured_is_not_left(made):
    found = judged(of_days(made), baseline="hourly", min_lift=0.2).result.recommendation
    assert (found.answer, found.level) == ("cannot decide", "")
    assert found.sentence == (
        "Cannot decide: hourly serves today, and cannot be told from daily, since the timestamps "
        "'at' of source 'readings' have a resolution of one day."
    )


def test_where_no_level_can_be_told_from_the_stalest_the_reason_is_given(made):
    found = judged(
        of_days(made), levels={name: LADDER[name] for name in ("daily", "hourly", "instant")}
    ).result
    assert found.verdict == (
        "Cannot decide: hourly and instant cannot be told from daily, since the timestamps 'at' "
        "of source 'readings' have a resolution of one day."
    )


def test_requests_of_whole_days_measure_no_fresher_level(made):
    rows = made.rows.with_columns(pl.col("asked").dt.truncate("1d"))
    found = judged(w.model(w.World(made.events, rows)), min_lift=0.9).result
    assert found.verdict.startswith(
        "Stay with the request alone; do not build daily features. Whether hourly or instant "
        "features would help"
    )
    assert (
        "the request times 'asked' of labels 'outcomes' have a resolution of one day"
        in found.verdict
    )


def test_fine_timestamps_are_spoken_of_as_before(made):
    jitter = made.events.with_columns(
        pl.col("at") + pl.duration(milliseconds=pl.int_range(pl.len()) % 59_999)
    )
    ladder = {name: level for name, level in LADDER.items() if name != "request only"}
    found = judged(
        w.model(w.World(jitter, made.rows)), levels=ladder, baseline="daily", min_lift=0.9
    ).result
    assert (
        found.recommendation.sentence
        == "Stay with daily features; do not build an hourly job or a stream."
    )


# ---- what to run until then


def close_levels(seed, days=24, per_day=150):
    """Scores of three levels on days that differ: minute is better than daily by little, and hourly
    is minute with some noise.
    """
    rng, n = np.random.default_rng(seed), days * per_day
    of = np.repeat(np.arange(days), per_day)
    signal, noise = rng.normal(size=n), rng.normal(size=n)

    def seen(sight):
        return np.clip(sight + 0.06 * rng.normal(size=days), 0, 0.98)[of]

    def score(sight, rest):
        return expit(-1 + 1.5 * (sight * signal + np.sqrt(1 - sight**2) * rest))

    minute = seen(0.635)
    return pl.DataFrame(
        {
            "id": np.arange(n),
            "time": [
                w.START + dt.timedelta(days=int(d), seconds=float(s))
                for d, s in zip(of, rng.random(n) * 86_399, strict=True)
            ],
            "label": rng.random(n) < expit(-1 + 1.5 * signal),
            "daily": score(seen(0.60), rng.normal(size=n)),
            "hourly": score(minute, noise + 0.35 * rng.normal(size=n)),
            "minute": score(minute, noise),
        }
    )


def test_a_level_that_is_a_lift_is_run_until_days_decide_between_others():
    """Hourly would be enough, and is not shown to be better than daily; minute is."""
    how = hw.Evaluation(metrics=["auc"], min_lift=0.03, baseline="daily", resamples=300)
    found = hw.backtest(scores=close_levels(54), evaluation=how).result
    steps = {(step.from_, step.to): step for step in found.comparisons}
    assert steps["daily", "minute"].verdict == "LIFT"
    assert steps["daily", "hourly"].verdict != "LIFT"
    assert found.recommendation.answer == "cannot decide"
    assert list(found.recommendation.undecided) == ["daily", "hourly"]
    assert found.verdict.endswith("Until then run minute, which is shown to be better than daily.")


@pytest.mark.parametrize(
    "half", [0.004, 0.04, *(pytest.param(half, marks=pytest.mark.slow) for half in (0.01, 0.02))]
)
@pytest.mark.parametrize("least", [0.0, 0.005, 0.03])
def test_no_lift_over_the_level_to_stay_with(half, least):
    """Any gains: where it cannot decide and stays, no fresher level is a LIFT, and no staler one is
    shown to be better.
    """
    rng = np.random.default_rng(0)
    names = ["request only", "daily", "hourly", "minute", "instant"]
    for _ in range(60):
        chosen = [name for name in names if rng.random() < 0.7]
        if len(chosen) < 2:
            continue
        values = {
            name: 0.7 + float(gain)
            for name, gain in zip(chosen, rng.normal(0, 0.03, len(chosen)), strict=True)
        }
        baseline = str(rng.choice(chosen))
        found = result_of(values, half, baseline=baseline, least=least)
        if found.recommendation.answer != "cannot decide":
            continue
        kept = re.search(r"Until then (?:stay with|run) ([a-z ]+?)(?:,|\.)", found.verdict)[1]
        steps = {(step.from_, step.to): step for step in found.comparisons}
        lifts = [
            to
            for (from_, to), step in steps.items()
            if from_ == baseline and step.verdict == "LIFT"
        ]
        assert kept != baseline or not lifts
        assert kept == baseline or kept in lifts or steps[kept, baseline].high < 0
        if kept == baseline:
            assert not [
                from_ for (from_, to), step in steps.items() if to == baseline and step.high < 0
            ]


def test_a_staler_level_that_is_shown_to_be_better_is_run():
    found = result_of({"request only": 0.70, "daily": 0.66, "hourly": 0.67}, 0.02, baseline="daily")
    assert found.verdict.endswith(
        "Until then run request only, which is shown to be better than daily."
    )


def test_money_keeps_the_baseline_where_a_lift_is_worth_less_than_it_costs():
    from headwater.reports.recommending import recommend

    result = result_of({"daily": 0.66, "minute": 0.69}, 0.025, baseline="daily")
    assert (
        result.verdict.endswith("Until then run minute, which is shown to be better than daily.")
        or result.recommendation.answer == "run"
    )
    costly = recommend(result, {"daily": 0.0, "minute": 0.04})
    assert costly.sentence.endswith("Until then stay with daily.")


def test_a_difference_without_an_interval_still_names_a_level_that_is_better():
    result = result_of({"daily": 0.66, "hourly": 0.76, "minute": 0.77}, 0.01, baseline="daily")
    lost = [
        structs.replace(step, low=math.nan, high=math.nan, sentence="5 days are too few")
        if (step.from_, step.to) == ("hourly", "minute")
        else step
        for step in result.comparisons
    ]
    from headwater.reports.recommending import recommend

    found = recommend(structs.replace(result, comparisons=lost))
    assert found.sentence == (
        "Cannot decide: 5 days are too few. Until then run hourly, which is shown to be "
        "better than daily."
    )


# ---- what would decide


def with_fixed_models(result, half):
    """The result of levels that were trained again, whose fitted models have intervals of this half
    width.
    """
    fixed = [
        structs.replace(step, low=step.delta - half, high=step.delta + half)
        for step in result.comparisons
    ]
    return structs.replace(result, fixed_models=tuple(fixed), fits=5)


def recommended(result):
    from headwater.reports.recommending import recommend

    return recommend(result)


def test_days_are_a_range():
    """A gain of 0.02 with 0.03 to both sides after 122 days: at 0.015 half of the tests decide, at
    0.015 / 1.43 four in five do.
    """
    found = result_of({"daily": 0.66, "hourly": 0.68}, 0.03, baseline="daily")
    assert "about 370 to 880 more days would." in found.verdict
    least, most = found.recommendation.days, found.recommendation.days_most
    assert least == pytest.approx(122 * 3, rel=0.04)
    assert most == pytest.approx(122 * (4 * (2.8 / 1.96) ** 2 - 1), rel=0.04)
    far = result_of(
        {"daily": 0.66, "hourly": 0.671}, 0.03, baseline="daily", least=0.005
    ).recommendation
    assert math.isfinite(far.days)
    assert math.isinf(far.days_most)
    assert "at least about" in far.sentence


def test_refits_are_named_only_where_there_are_any_and_they_could_decide():
    undecided = result_of({"daily": 0.66, "hourly": 0.68}, 0.03, baseline="daily")
    assert "refits" not in undecided.verdict
    scores = hw.backtest(
        scores=close_levels(0),
        evaluation=hw.Evaluation(metrics=["auc"], min_lift=0.03, resamples=300),
    ).result
    assert scores.recommendation.answer == "cannot decide"
    assert "refits" not in scores.verdict
    wide = result_of({"daily": 0.66, "hourly": 0.68}, 0.018, baseline="daily")
    # the fitted models decide
    assert "would, and more refits may." in recommended(with_fixed_models(wide, 0.0135)).sentence
    assert "refits" not in recommended(with_fixed_models(undecided, 0.029)).sentence  # they do not


def test_what_training_adds_is_not_narrowed_by_days_of_test():
    undecided = result_of({"daily": 0.66, "hourly": 0.68}, 0.03, baseline="daily")
    plain, refitted = undecided.recommendation, recommended(with_fixed_models(undecided, 0.028))
    assert refitted.days > plain.days * 1.3
    found = recommended(with_fixed_models(undecided, 0.02))
    assert math.isinf(found.days)
    assert (
        "more days of test alone would not, since models that are trained again differ by as "
        "much; more refits, or more days of"
    ) in found.sentence
    assert "ten years" not in found.sentence


def test_ten_years_are_named_only_where_they_would_not_decide():
    """At break-even itself no number of days decides; and the two levels that are close to it are
    named.
    """
    found = result_of({"daily": 0.60, "hourly": 0.750, "minute": 0.755}, 0.02)
    assert (
        "the difference between hourly and minute is close to break-even, and even ten years of "
        "test would not."
    ) in found.verdict
    for gain in np.linspace(0.006, 0.05, 12):
        values = {"daily": 0.66, "hourly": 0.66 + float(gain)}
        result = result_of(values, 0.05, baseline="daily")
        ten_years = result_of(
            values, 0.05 * math.sqrt(122.04 / (122.04 + 3650)), baseline="daily"
        ).recommendation.answer
        if result.recommendation.answer == "cannot decide":
            assert ("ten years" in result.verdict) == (ten_years == "cannot decide")


def test_every_page_gives_the_same_days():
    """One sentence of the page said about 110 and another about 108."""
    from headwater.reports.summary_words import of_backtest

    result = result_of({"daily": 0.66, "hourly": 0.68}, 0.03, baseline="daily")
    assert (
        dict(of_backtest(result).points)["Next"]
        == "Collect about 370 to 880 more days, then test again."
    )


def test_pairs_of_levels_that_were_not_compared_are_named():
    result = result_of({"daily": 0.66, "hourly": 0.68, "minute": 0.69}, 0.03, baseline="daily")
    for pair in combinations(["daily", "hourly", "minute"], 2):
        fewer = [step for step in result.comparisons if (step.from_, step.to) != pair]
        assert (
            f"{pair[0]} and {pair[1]} were not compared"
            in recommended(structs.replace(result, comparisons=fewer)).sentence
        )
