"""What a page says where it cannot decide: what would, and what to run until then; and of levels
that timestamps cannot tell apart.
"""

import datetime as dt
import math
import re

import numpy as np
import polars as pl
import pytest
from msgspec import structs
from scipy.special import expit

import headwater as hw
from headwater.pages.backtest_page import to_page
from tests.backtesting import world as w
from tests.pages.test_one_recommendation import result_of

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
    from headwater.pages.recommending import recommend

    result = result_of({"daily": 0.66, "minute": 0.69}, 0.025, baseline="daily")
    assert (
        result.verdict.endswith("Until then run minute, which is shown to be better than daily.")
        or result.recommendation.answer == "run"
    )
    costly = recommend(result, {"daily": 0.0, "minute": 0.04})
    assert costly.sentence.endswith("Until then stay with daily.")


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
    from headwater.pages.recommending import recommend

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


def test_what_training_adds_is_not_narrowed_by_days_of_test():
    undecided = result_of({"daily": 0.66, "hourly": 0.68}, 0.03, baseline="daily")
    plain, refitted = undecided.recommendation, recommended(with_fixed_models(undecided, 0.028))
    assert refitted.days > plain.days * 1.3
    found = recommended(with_fixed_models(undecided, 0.02))
    assert math.isinf(found.days)
    assert (
        "more refits, or more days of training, may. More days of test alone would not, since "
        "models that are trained again differ by as much."
    ) in found.sentence
    assert "ten years" not in found.sentence


def test_every_page_gives_the_same_days():
    """One sentence of the page said about 110 and another about 108."""
    page = to_page(result_of({"daily": 0.66, "hourly": 0.68}, 0.03, baseline="daily"))
    assert "about 370 to 880 more days would" in page.sentence
    assert page.next == [("headwater backtest --model late", "after about 370 to 880 more days")]
