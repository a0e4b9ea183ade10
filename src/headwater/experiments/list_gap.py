"""Served lists of a ranking next to the order of another level, on the items that were shown: the
log has no other candidates.
"""

from __future__ import annotations

import numpy as np

from headwater.backtesting.delivered_rows import DeliveredRows
from headwater.backtesting.outcome_rules import scorable_rows
from headwater.definitions.evaluations import Evaluation
from headwater.definitions.model import Model
from headwater.errors import DataError, UsageError
from headwater.experiments.metric_gap import metric_gap
from headwater.kernel.arrays import F64, I64, Bool
from headwater.metrics.places import places
from headwater.results.level_gap_result import LevelGap, ListDifferences


def list_gap(
    model: Model, evaluation: Evaluation | None, rows: DeliveredRows, other: F64
) -> LevelGap:
    """How the order of another level differs from that of the served scores, list by list.

    A list in random order (`explore=`) counts with the order of its served scores.

    Args:
        model: a ranking.
        evaluation: its headline metric is compared, on lists whose outcomes are all known.
        rows: the shown items, with `groups`.
        other: the other level's score of each, float64 (rows), NaN where it has no answer.
    """
    assert rows.groups is not None
    notes: list[str] = []
    scored = _whole(rows.groups, ~np.isnan(other))
    lists = len(np.unique(rows.groups))
    incomplete = lists - len(np.unique(rows.groups[scored]))
    if incomplete:
        notes.append(
            f"{incomplete:,} of {lists:,} lists have an item without a score at the other level, "
            "and "
            "are not compared"
        )
    compared = rows.chosen(scored)
    assert compared.groups is not None
    by_other = places(compared.groups, other[scored], compared.score.astype(np.int64))
    differences = _differences(compared.groups, compared.score, by_other)
    notes.append(
        "items that were not shown are not in the log, so that both orders are of the shown items"
    )
    try:
        scorable_rows(model, compared.frame, [compared.score, by_other])
    except (DataError, UsageError) as error:
        return LevelGap(
            differences.order_changed, None, None, None, [*notes, str(error)], differences
        )
    has_outcome = _whole(compared.groups, compared.known)
    metric = metric_gap(
        model,
        evaluation,
        compared,
        by_other,
        has_outcome,
        "lists whose outcomes are all known, of the shown items",
        notes,
    )
    return LevelGap(differences.order_changed, None, metric, None, notes, differences)


def _whole(groups: I64, rows: Bool) -> Bool:
    """The rows of the lists that lie wholly within some rows, bool (rows)."""
    return np.asarray(rows & ~np.isin(groups, np.unique(groups[~rows])), np.bool_)


def _differences(groups: I64, served: F64, other: F64) -> ListDifferences:
    """How often lists of two items or more begin with another item, and have another order."""
    codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    several = sizes >= 2
    count = int(several.sum())
    if not count:
        return ListDifferences(0, float("nan"), float("nan"), float("nan"))
    moved = np.bincount(codes, served != other, len(sizes)) > 0
    first = np.bincount(codes, (served == 1) & (other != 1), len(sizes)) > 0
    shift = np.bincount(codes, np.abs(served - other), len(sizes)) / sizes
    return ListDifferences(
        count,
        float(first[several].mean()),
        float(moved[several].mean()),
        float(shift[several].mean()),
    )
