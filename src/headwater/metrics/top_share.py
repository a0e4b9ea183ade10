"""Precision and recall among the top share of scores: what a team that can look at P % of cases
would see.

The top P % is not rounded to whole rows and a tie that it cuts counts in
proportion (see `Ranked.at`), so the order of rows changes nothing.
"""

from __future__ import annotations

import re

import numpy as np

from headwater.errors import UsageError
from headwater.metrics.metric import Family, Floats, Metric, ScoredRows, ratio
from headwater.metrics.score_order import ranked

_NAME = re.compile(r"(precision|recall)@(\d+(?:\.\d*)?|\.\d+)%")


def _precision(rows: ScoredRows, share: float) -> Floats:
    positives, _ = ranked(rows).at([share])
    return ratio(positives[0], share * rows.total(np.ones(len(rows.y))))


def _recall(rows: ScoredRows, share: float) -> Floats:
    positives, _ = ranked(rows).at([share])
    return ratio(positives[0], rows.total(rows.y))


def parse(name: str) -> Metric | None:
    """Read "precision@10%" or "recall@0.5%"; None if `name` is not of that form.

    Raises UsageError if P is not above 0 and at most 100. The metric's name
    is the shortest way to write P.

    >>> parse("recall@0.50%").name
    'recall@0.5%'
    >>> parse("auc") is None
    True
    """
    match = _NAME.fullmatch(name)
    if not match:
        return None
    kind, percent = match[1], float(match[2])
    if not 0 < percent <= 100:
        raise UsageError(
            f"{name!r} asks for the top {percent:g} %; write above 0 and up to 100, as in "
            f"{kind}@10%"
        )
    compute, share = (_precision if kind == "precision" else _recall), percent / 100
    return Metric(f"{kind}@{percent:.10g}%", "binary", lambda rows: compute(rows, share))


FAMILY = Family(
    tuple(metric for name in ("precision@10%", "recall@10%") if (metric := parse(name))),
    parse,
    "precision@P%, recall@P% for any P",
)
