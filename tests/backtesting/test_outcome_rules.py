"""Which served rows may judge which level, by what outcomes depend on."""

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.backtesting.outcome_rules import (
    HIDDEN,
    scorable_rows,
    unjudged,
)
from headwater.testing.examples import churn
from tests.backtesting.test_delivery import AT, N, labelled, promise_of, rows_of


def model(outcomes):
    known = churn()
    return replace(known, outcomes=outcomes)


RULE = hw.censored(above=0.8, holdout=0.1, unit="user")


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
