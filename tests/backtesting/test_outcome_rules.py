"""Which served rows may judge which level, by what outcomes depend on."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.backtesting.outcome_rules import (
    HIDDEN,
    held_out,
    outcome_note,
    scorable_rows,
    unjudged,
)
from headwater.errors import DataError, DefinitionError, HeadwaterError, UsageError
from headwater.testing.examples import churn
from tests.backtesting.test_delivery import AT, N, labelled, promise_of, rows_of


def model(outcomes):
    known = churn()
    return replace(known, outcomes=outcomes)


RULE = hw.censored(above=0.8, holdout=0.1, unit="user")


def rows(n, as_text=False):
    users = np.arange(n) % 500
    return pl.DataFrame({"user": [f"u{u}" for u in users] if as_text else users})


def test_independent_outcomes_judge_every_level():
    found = scorable_rows(model("independent"), rows(10), [np.full(10, 0.9), np.zeros(10)])
    assert found.rows.all()
    assert found.effective == 10
    assert not found.left_out


@pytest.mark.parametrize("as_text", [False, True], ids=["integers", "strings"])
@pytest.mark.parametrize("seed", range(4))
def test_weights_of_censored_outcomes_estimate_the_mean_over_all_rows(as_text, seed):
    rng = np.random.default_rng(seed)
    n = 60_000
    a, b = rng.random(n), rng.random(n)
    fraud = (rng.random(n) < (a + b) / 2).astype(float)
    served = pl.DataFrame({"user": [f"u{u}" for u in range(n)] if as_text else np.arange(n)})
    found = scorable_rows(model(RULE), served, [a, b])
    seen = (a < 0.8) & (b < 0.8)
    assert (found.rows == (seen | found.held_out)).all()
    assert found.weight[~found.rows].sum() == 0
    weighted = float((found.weight * fraud).sum() / found.weight.sum())
    naive = float(fraud[seen].mean())
    assert abs(weighted - fraud.mean()) < 0.02
    assert abs(naive - fraud.mean()) > 0.05
    assert found.effective < found.rows.sum()
    assert found.left_out == Counter({HIDDEN: int((~seen & ~found.held_out).sum())})


@pytest.mark.parametrize(
    ("outcomes", "error", "match"),
    [
        (None, UsageError, "does not declare what its outcomes depend on"),
        ("censored", UsageError, "which scores are acted on is not declared"),
        (hw.censored(above=0.8), DataError, "declare an approve-anyway holdout"),
        ("caused", DataError, "only logged action propensities"),
    ],
)
def test_a_level_that_cannot_be_judged_is_refused_with_the_remedy(outcomes, error, match):
    with pytest.raises(error, match=match):
        scorable_rows(model(outcomes), rows(10), [np.zeros(10)])


def test_a_holdout_with_too_few_hidden_rows_is_refused():
    with pytest.raises(DataError, match="30 are needed"):
        scorable_rows(model(RULE), rows(200), [np.full(200, 0.9)])


def test_without_a_hidden_row_no_holdout_is_needed():
    assert scorable_rows(model(RULE), rows(5), [np.zeros(5)]).rows.all()
    assert scorable_rows(model(RULE), rows(0), [np.zeros(0)]).effective == 0


def test_a_level_without_a_score_acts_on_nothing():
    found = scorable_rows(model(RULE), rows(5), [np.full(5, math.nan)])
    assert found.rows.all()


def test_a_low_score_may_be_acted_on():
    found = scorable_rows(
        model(hw.censored(below=0.2, holdout=0.5, unit="user")),
        rows(1000),
        [np.linspace(0, 1, 1000)],
    )
    assert found.rows[200:].all()
    assert 0 < found.rows[:200].sum() < 200


def test_the_unit_of_the_holdout_must_be_in_the_log():
    with pytest.raises(DataError, match="has no column 'user'"):
        scorable_rows(model(RULE), pl.DataFrame({"usr": [1]}), [np.zeros(1)])


def test_a_null_unit_is_not_held_out():
    assert held_out(model(RULE), pl.DataFrame({"user": [None, None]})).tolist() == [False, False]
    assert held_out(model("censored"), rows(3)) is None


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({}, "give one of the two"),
        ({"above": 0.5, "below": 0.5}, "give one of the two"),
        ({"above": True}, "above is True; give a number"),
        ({"above": math.nan}, "above is nan; give a number"),
        ({"above": 0.5, "holdout": 1.0, "unit": "u"}, "give a share"),
        ({"above": 0.5, "holdout": 0.00001, "unit": "u"}, "ten-thousandths"),
        ({"above": 0.5, "holdout": 0.1}, "needs the request's column"),
        ({"above": 0.5, "unit": "u"}, "needs the request's column"),
        ({"abov": 0.5}, "did you mean 'above'"),
    ],
)
def test_bad_rules_are_refused(given, match):
    with pytest.raises(DefinitionError, match=match):
        hw.censored(**given)


def test_the_unit_must_be_carried_by_requests():
    with pytest.raises(DefinitionError, match="did you mean 'user'"):
        model(hw.censored(above=0.5, holdout=0.1, unit="usr"))


def test_one_word_for_each_rule():
    assert [model(o).outcome_rule for o in (None, "independent", "censored", "caused", RULE)] == [
        None,
        "independent",
        "censored",
        "caused",
        "censored",
    ]
    assert model(RULE).fingerprint != model("censored").fingerprint
    assert model(None).fingerprint == churn().fingerprint


@pytest.mark.parametrize(
    ("outcomes", "judged"),
    [
        (None, True),
        ("independent", True),
        (RULE, True),
        ("censored", False),
        (hw.censored(above=1), False),
        ("caused", False),
    ],
)
def test_watch_judges_only_outcomes_that_no_answer_hides(outcomes, judged):
    assert (unjudged(model(outcomes)) == "") is judged


@pytest.mark.parametrize(
    "outcomes",
    ["censored", hw.censored(above=0.5), hw.censored(above=0.5, holdout=0.5, unit="user")],
)
def test_watch_judges_the_holdout_alone(tmp_path, outcomes):
    """Requests that were acted on have no outcome; those of the holdout have one at any score."""
    rng = np.random.default_rng(3)
    of = replace(labelled("flag", "binary"), outcomes=outcomes)
    scores = rng.random(N)
    held = [not isinstance(of.outcomes, str) and of.outcomes.approves_anyway(n) for n in range(N)]
    hidden = frozenset(n for n in range(N) if scores[n] >= 0.5 and not held[n])
    rows_of(of, scores.tolist(), (rng.random(N) < scores).tolist(), tmp_path, without=hidden)
    watched = hw.operations.watch(
        of, promise=promise_of("auc", 0.8), data_dir=tmp_path, models=tmp_path / "none", at=AT
    )
    if any(held):
        assert watched.result.judged, watched
        assert watched.result.left_out[HIDDEN] == N - sum(held)
        assert watched.result.judged[-1].with_outcome < 12 * 7
        return
    assert watched.result.state == "not judged"
    assert "approve-anyway holdout" in watched.to_markdown()
    assert watched.result.first_line.startswith("Not judged: its outcomes are hidden")


def test_the_backtest_says_what_its_figures_mean(tmp_path):
    assert outcome_note(model(None)) == ""
    notes = {outcome_note(model(o)) for o in ("independent", "censored", "caused")}
    assert len(notes) == 3
    tested = hw.backtest(
        model("caused"),
        {"request only": hw.never(), "daily": hw.batch("1d")},
        hw.Evaluation(split="2024-05-12T00:00Z", resamples=50),
    )
    assert outcome_note(model("caused")) in tested.write_html(tmp_path / "page.html").read_text(
        encoding="utf-8"
    )
    assert tested.to_dict()["outcomes"] == outcome_note(model("caused"))


def test_every_error_is_of_the_tree():
    assert issubclass(DataError, HeadwaterError)
