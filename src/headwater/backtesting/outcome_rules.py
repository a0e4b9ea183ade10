"""Which served rows may judge which level, by what the outcomes of a model depend on. Backtest
page, watch and experiments ask here.

| `Model(outcomes=)` | rows that may be scored |
|---|---|
| "independent" | all |
| `censored(above=, holdout=, unit=)` | rows seen at all levels; the holdout stands for the rest |
| "censored" | none: which scores are acted on is not declared |
| "caused" | none: logged propensities of actions are needed |

Source of the weights: Horvitz and Thompson (1952): a row that is seen with probability p counts 1 /
p.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headwater.definitions.model import Censored, Model
from headwater.errors import DataError, UsageError, nearest
from headwater.kernel.arrays import F64, Bool

if TYPE_CHECKING:
    import polars as pl

HIDDEN = "with an outcome that a level compared would hide"
LEAST_HELD_OUT = 30
"""Held-out rows that stand for hidden ones: fewer are refused."""


@dataclass(frozen=True)
class ScorableRows:
    """Rows that may judge levels.

    Attributes:
        rows: whether a row counts, bool (rows).
        weight: how many requests a row stands for, float64 (rows), 0 of rows that do not count; 1
            everywhere where no row is hidden.
        held_out: the rows of the approve-anyway holdout, bool (rows): an unweighted sample of all
            requests.
        left_out: rows that do not count, by reason.
    """

    rows: Bool
    weight: F64
    held_out: Bool
    left_out: Counter[str]

    @property
    def effective(self) -> float:
        """The number of equally weighted rows that would be as sure: (sum w)^2 / sum w^2; 0 where
        no row counts.
        """
        squares = float((self.weight**2).sum())
        return float(self.weight.sum()) ** 2 / squares if squares else 0.0


def scorable_rows(model: Model, served: pl.DataFrame, scores: Sequence[F64]) -> ScorableRows:
    """The rows with an outcome that is seen whichever of the levels answers.

    Args:
        model: which says what its outcomes depend on.
        served: rows of the serving log, with the request's columns.
        scores: those of each row at each level that is compared, the served one among them; float64
            (rows), NaN where a level has none: nothing is acted on there.

    Raises:
        UsageError: the model does not declare what its outcomes depend on, or not which scores are
            acted on.
        DataError: outcomes are caused by what was shown; outcomes are hidden and no holdout is
            declared, or it has too few rows.
    """
    count = served.height
    every = np.ones(count, np.bool_)
    if declared(model) == "independent":
        return ScorableRows(every, every.astype(np.float64), np.zeros(count, np.bool_), Counter())
    rule = _censored(model)
    seen = np.ones(count, np.bool_)
    for of_level in scores:
        seen &= ~acted_on(rule, of_level)
    held_out = np.array(rule.held_out(_unit_values(model, rule, served)), np.bool_)
    if not seen.all() and int((held_out & ~seen).sum()) < min(LEAST_HELD_OUT, int((~seen).sum())):
        raise DataError(
            f"model {model.name!r}: {int((~seen).sum()):,} of {count:,} outcomes would be hidden "
            f"at a level compared ({rule.describe}), and the holdout has "
            f"{int((held_out & ~seen).sum()):,} of these rows; {LEAST_HELD_OUT} are needed: take "
            "a longer period or a larger holdout"
        )
    weight = np.where(seen, 1.0, np.where(held_out, 1 / rule.holdout, 0.0))
    hidden = ~seen & ~held_out
    return ScorableRows(seen | held_out, weight, held_out, +Counter({HIDDEN: int(hidden.sum())}))


def declared(model: Model) -> str:
    """What the outcomes depend on: "independent", or "censored" with a declared action and holdout.

    Raises:
        UsageError: nothing is declared, or not which scores are acted on.
        DataError: outcomes are caused by what was shown, or hidden ones have no holdout.
    """
    rule, subject = model.outcome_rule, f"model {model.name!r}"
    if rule is None:
        raise UsageError(
            f"{subject} does not declare what its outcomes depend on, so levels that were not "
            "served cannot be judged; give it outcomes='independent', hw.censored(above=..., "
            "holdout=..., unit=...) or 'caused'"
        )
    if rule == "caused":
        remedy = (
            "hw.Ranking(explore=0.02)"
            if model.ranking is not None
            else "a model with task hw.Ranking(explore=0.02)"
        )
        raise DataError(
            f"{subject}: its outcomes are caused by what was shown, so only logged action "
            f"propensities can judge another level: compare the levels in an experiment, or "
            f"serve {remedy} and estimate from the propensities in the serving log. The "
            "propensity of an arm is not that of an action"
        )
    if rule == "censored":
        _censored(model)
    return rule


def acted_on(rule: Censored, scores: F64) -> Bool:
    """Which scores are acted on, bool (rows); a missing score is not."""
    if rule.above is not None:
        return np.asarray(scores >= rule.above, np.bool_)
    assert rule.below is not None
    return np.asarray(scores < rule.below, np.bool_)


def held_out(model: Model, served: pl.DataFrame) -> Bool | None:
    """The rows of the approve-anyway holdout, bool (rows): an unweighted sample of all requests;
    None where no holdout is declared.
    """
    rule = model.outcomes
    if not isinstance(rule, Censored) or not rule.holdout:
        return None
    return np.array(rule.held_out(_unit_values(model, rule, served)), np.bool_)


def unjudged(model: Model) -> str:
    """Why a served model's own outcomes do not judge it, in a sentence; empty where they do."""
    if model.outcome_rule == "caused":
        return (
            "its outcomes are caused by what was shown: they are of this model's own choice, and "
            "estimate no other"
        )
    if model.outcome_rule == "censored" and not (
        isinstance(model.outcomes, Censored) and model.outcomes.holdout
    ):
        return (
            "its outcomes are hidden where its predictions were acted on, and no approve-anyway "
            "holdout is declared"
        )
    return ""


def outcome_note(model: Model) -> str:
    """What a backtest's figure means for such outcomes, in one sentence; empty where nothing is
    declared.
    """
    if model.outcome_rule == "independent":
        return (
            "Outcomes do not depend on what the model says, as declared: every level is judged on "
            "all requests."
        )
    if model.outcome_rule == "caused":
        return (
            "Outcomes are caused by what was shown: these figures say how well the shown items "
            "are put in order, not what another order would have caused; explore= or an "
            "experiment measures that."
        )
    if model.outcome_rule == "censored":
        return (
            "Outcomes are seen only where a request was not acted on: these figures hold for "
            "requests that were let through then, and not for those that were stopped, unless the "
            "labels are of an approve-anyway holdout."
        )
    return ""


def _censored(model: Model) -> Censored:
    rule = model.outcomes
    if not isinstance(rule, Censored):
        raise UsageError(
            f"model {model.name!r}: its outcomes are censored, and which scores are acted on is "
            "not declared; give it outcomes=hw.censored(above=..., holdout=..., unit=...)"
        )
    if not rule.holdout:
        raise DataError(
            f"model {model.name!r}: its outcomes are hidden where {rule.describe}, and nothing "
            "stands for them; declare an approve-anyway holdout, hw.censored(..., holdout=0.02, "
            "unit=...), and do not act on its units"
        )
    return rule


def _unit_values(model: Model, rule: Censored, served: pl.DataFrame) -> list[object]:
    assert rule.unit is not None
    sent_name = f"headwater_given_{rule.unit}"
    name = sent_name if sent_name in served.columns else rule.unit
    if name not in served.columns:
        raise DataError(
            f"model {model.name!r}: the serving log has no column {rule.unit!r}, which draws its "
            f"holdout; {nearest(rule.unit, served.columns)}"
        )
    return served[name].to_list()
