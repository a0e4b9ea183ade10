"""A backtest trains each level again unless it is told not to, says what that took, and shows the
fitted models separately.
"""

import io
import math
import re

import pytest
from rich.console import Console
from sklearn.base import clone

import headwater as hw
from headwater.definitions import evaluations
from headwater.errors import UsageError
from headwater.reports import fixed_models, to_html, to_notebook, to_table
from tests.backtesting.world import STALE_AND_FRESH, day, judge, level, logistic, model, step, world

GIVEN = {"levels": STALE_AND_FRESH, "split": day(16), "metrics": ["auc"], "resamples": 200}


@pytest.fixture(scope="module")
def made():
    return world()


@pytest.fixture(autouse=True)
def usual(monkeypatch, one_fit_a_level):
    monkeypatch.setattr(evaluations, "USUAL_REFITS", hw.evaluation.Refits())


def test_the_default_trains_again_and_keeps_the_values_of_the_first_fit(made):
    for estimator in ("logistic", None):
        of = model(made, estimator=estimator)
        usual, once = judge(of, **GIVEN), judge(of, **GIVEN, refits=0)
        for name in STALE_AND_FRESH:
            assert level(usual, name).metrics["auc"].value == level(once, name).metrics["auc"].value
        procedure, alone = step(usual, "daily", "hourly"), step(once, "daily", "hourly")
        assert procedure.delta == alone.delta
        assert procedure.high - procedure.low >= alone.high - alone.low
        assert repr(usual.fixed_models) == repr(once.fixed_models)
        assert (usual.fixed_models[0].low, usual.fixed_models[0].high) == (alone.low, alone.high)


def test_the_page_says_what_intervals_cover_and_what_that_took(made):
    result = judge(model(made), **GIVEN)
    assert "They cover the lift of the training procedure" in result.intervals
    found = re.search(
        r"Each level was trained 5 times: refits took ([\d.e-]+) s of ([\d.e-]+) s\.",
        result.intervals,
    )
    assert found, result.intervals
    assert 0 < float(found[1]) < float(found[2])
    assert 0 < result.seconds["refits"] < result.seconds["total"]
    for page in (to_html(result), to_notebook(result), printed(result)):
        assert "refits took" in " ".join(page.split())
        assert fixed_models.HEADING in " ".join(page.split())
    assert fixed_models.to_table(result).headings == [
        "step",
        "training procedure",
        "fitted models only",
    ]


def printed(result):
    console = Console(file=io.StringIO(), width=400)
    console.print(to_table(result))
    return console.file.getvalue()


@pytest.mark.parametrize(
    "off", [0, 1, hw.evaluation.Refits(0), hw.evaluation.Refits(days=0, seeds=1)]
)
def test_without_refits_the_page_says_that_intervals_cover_the_fitted_models_only(made, off):
    result = judge(model(made), **GIVEN, refits=off)
    assert (
        "Each level was trained once: intervals cover the fitted models only." in result.intervals
    )
    assert "refits" not in result.seconds
    assert fixed_models.to_table(result) is None
    assert fixed_models.HEADING not in " ".join(printed(result).split()).replace(
        " ".join(result.intervals.split()), ""
    )


def test_a_fitted_estimator_is_not_trained_again(made):
    rows = made.rows.select("amount")
    fitted = clone(logistic()).fit(rows.to_pandas().to_numpy(), made.rows["bad"].to_numpy())
    of = model(made, estimator=fitted, members=[hw.RequestField("amount", float)])
    result = judge(
        of,
        {"a": hw.Level(hw.never()), "b": hw.Level(hw.never())},
        split=day(16),
        metrics=["auc"],
        resamples=100,
    )
    assert "fitted models only" in result.intervals
    assert "refits" not in result.seconds


@pytest.mark.slow
@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_other_tasks_are_trained_again_too(made, task):
    label = "cost" if task == "regression" else "bad"
    of = model(made, estimator=None, task=task, label=label)
    result = judge(of, levels=STALE_AND_FRESH, split=day(16), resamples=100)
    assert "trained 5 times" in result.intervals
    found = step(result, "daily", "hourly", result.headline)
    assert math.isfinite(found.low)


def test_folds_and_a_column_as_blocks_are_trained_again(made):
    folds = hw.evaluation.rolling(day(16), every="5d", folds=2)
    result = judge(
        model(made),
        STALE_AND_FRESH,
        split=folds,
        metrics=["auc"],
        resamples=100,
        blocks="user",
        refits=2,
    )
    assert "2 refits on random halves of the training days" in result.intervals
    assert "trained 3 times" in result.intervals


@pytest.mark.slow
def test_no_resamples_and_few_days_have_no_interval(made):
    assert math.isnan(step(judge(model(made), **{**GIVEN, "resamples": 0}), "daily", "hourly").low)
    few = judge(model(made), **{**GIVEN, "split": day(27)})
    assert step(few, "daily", "hourly").verdict == "inconclusive"
    assert fixed_models.to_table(judge(model(made), **{**GIVEN, "resamples": 0})) is None


@pytest.mark.slow
def test_an_attribution_trains_each_set_once_unless_told(made):
    how = hw.Evaluation(split=day(14), metrics=["auc"], resamples=100)
    assert "trained once" in hw.evaluation.attribution(model(made), STALE_AND_FRESH, how).intervals
    again = hw.Evaluation(split=day(14), metrics=["auc"], resamples=100, refits=2)
    assert (
        "trained 3 times"
        in hw.evaluation.attribution(model(made), STALE_AND_FRESH, again).intervals
    )


@pytest.mark.slow
def test_refits_are_the_same_with_any_number_of_threads(made):
    of = model(made, estimator=None)
    assert repr(judge(of, **GIVEN, threads=1).comparisons) == repr(
        judge(of, **GIVEN, threads=4).comparisons
    )


def test_a_class_that_a_draw_of_days_lacks_is_no_error(made):
    """One positive day: some draws of the training days have one class only."""
    rare = made.rows.with_columns(
        bad=(made.rows["asked"].dt.date() == day(3).date())
        | (made.rows["asked"] > day(16)) & made.rows["bad"]
    )
    of = model(world_with(made, rare))
    result = judge(of, **GIVEN)
    assert "trained 5 times" in result.intervals


def world_with(made, rows):
    return type(made)(made.events, rows)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(-1, "at least 2, 0 for not at all"), (True, "at least 2"), (2.5, "at least 2")],
)
def test_refits_that_cannot_be(wrong, message):
    with pytest.raises(UsageError, match=message):
        hw.Evaluation(refits=wrong)
