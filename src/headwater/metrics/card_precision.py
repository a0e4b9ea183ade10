"""Precision among the k cards of highest score a day: what a team that can call k customers a day
would find.

Source: Le Borgne, Siblini, Lebichot and Bontempi, "Reproducible machine learning
for credit card fraud detection: practical handbook", 2022, chapter 4 (card precision top-k).
"""

from __future__ import annotations

import numpy as np

from headwater.errors import UsageError
from headwater.metrics.metric import Column, Floats, Metric, ScoredRows, ratio


def card_precision(k: int = 100, *, card: str, drop_caught: bool = True) -> Metric:
    """Of the `k` cards with the highest score of a day, the share with a positive row that day; the
    mean over days (UTC).

    A card's score is the highest of its rows that day. A card that was caught (among the k, with a
    positive row) is blocked: its rows of later days are left out, unless `drop_caught` is False.
    The share is of k, also on days with fewer cards. Days are the blocks that are resampled; who is
    blocked follows from the days as they were.

    Args:
        k: cards a day.
        card: the column of the labels that names the card (or customer, or account).
        drop_caught: whether cards that were caught are left out on later days.

    Raises:
        UsageError: k below 1.

    >>> card_precision(100, card="customer").name
    'card_precision@100'
    """
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise UsageError(
            f"card_precision({k!r}): give an integer number of cards a day, at least 1"
        )

    def compute(rows: ScoredRows) -> Floats:
        values = np.array(_per_day(rows, rows.context.columns[card], k, drop_caught=drop_caught))
        days = np.unique(rows.blocks.index)
        weights = rows.blocks.weights[days]
        drawn = weights.sum(axis=0)
        return ratio(values @ weights, drawn)

    return Metric(f"card_precision@{k}", "binary", compute, columns=(card,), by_day=True)


def _per_day(rows: ScoredRows, cards: Column, k: int, *, drop_caught: bool) -> list[float]:
    """The precision of each day, in the order of days; of cards with equal scores the one that
    sorts first.
    """
    names, code = np.unique(cards, return_inverse=True)
    caught = np.zeros(len(names), np.bool_)
    precisions = []
    for day in np.unique(rows.blocks.index):
        of_day = np.flatnonzero((rows.blocks.index == day) & ~caught[code])
        highest, positive = np.full(len(names), -np.inf), np.zeros(len(names), np.bool_)
        np.maximum.at(highest, code[of_day], rows.score[of_day])
        positive[code[of_day[rows.y[of_day] > 0]]] = True
        top = np.argsort(-highest, kind="stable")[:k]
        hit = top[positive[top]]
        precisions.append(len(hit) / k)
        if drop_caught:
            caught[hit] = True
    return precisions
