"""How the answers of another level differ from the served ones: decisions, a metric on known
outcomes, and money.
"""

from __future__ import annotations

import math

from headwater.results.estimate import Estimate
from headwater.results.result import Result


class FlipCell(Result, frozen=True):
    """Requests by who would act.

    rows: all. known: with a known outcome. positive: with a positive one.
    """

    rows: int
    known: int
    positive: int

    @property
    def unknown(self) -> int:
        """Rows without a known outcome."""
        return self.rows - self.known


class DecisionFlips(Result, frozen=True):
    """The decision-flip matrix: both act, only the served answer does, only the other level does,
    neither. rule: who acts, in words.
    """

    rule: str
    both: FlipCell
    served_only: FlipCell
    other_only: FlipCell
    neither: FlipCell

    @property
    def flipped(self) -> int:
        """Requests with another decision."""
        return self.served_only.rows + self.other_only.rows


class MetricGap(Result, frozen=True):
    """A metric of the served answers and of the other level's on the same rows.

    gap: other minus served, so signed that a rise is a gain, with its 95 % interval; NaN bounds
    where there are too few blocks. rows: that were compared. note: which rows they are, or why it
    has no interval.
    """

    metric: str
    served: float
    other: float
    gap: Estimate
    rows: int
    note: str = ""


class DecisionMoney(Result, frozen=True):
    """Money by the decisions on requests with a known outcome: of the served answers and of the
    other level's; daily cost of each level, NaN where that was not declared.
    """

    served: float
    other: float
    served_level_a_day: float = math.nan
    other_level_a_day: float = math.nan


class ListDifferences(Result, frozen=True):
    """How two orders of the same lists differ.

    lists: of two items or more. first_changed: the share of them with another first item.
    order_changed: with another order. mean_shift: by how many places an item moves on average.
    """

    lists: int
    first_changed: float
    order_changed: float
    mean_shift: float


class LevelGap(Result, frozen=True):
    """Served answers against the answers of another level to the same requests.

    flips, metric, money: None where no decision, no known outcome or no worth is declared; notes
    says why. changed: share of answers that differ by more than 1e-9; of a ranking, of lists in
    another order. lists: of a ranking, None else.
    """

    changed: float
    flips: DecisionFlips | None
    metric: MetricGap | None
    money: DecisionMoney | None
    notes: list[str]
    lists: ListDifferences | None = None
