"""The rows of a level by falling score, sorted once for every metric that needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.metrics.base import Scored

if TYPE_CHECKING:
    from headwater.metrics.sorted_scores import Ranked


def ranked(rows: Scored) -> Ranked:
    """The rows by falling score."""
    from headwater.metrics.sorted_scores import Ranked  # it compiles with numba; regression never needs it

    return rows.once(Ranked.of)
