"""The rows of a level by falling score, sorted once for every metric that needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.metrics.metric import ScoredRows

if TYPE_CHECKING:
    from headwater.metrics.sorted_scores import RankedScores


def ranked(rows: ScoredRows) -> RankedScores:
    """The rows by falling score."""
    # it compiles with numba; regression never needs it
    from headwater.metrics.sorted_scores import RankedScores

    return rows.once(RankedScores.from_rows)
