"""What a backtest promises of a model at a level, and what production delivered, week by week, as
plain frozen values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from headwater.results.estimate import Estimate
from headwater.results.result import Result

WeekState = Literal["no miss shown", "missed", "not judged", "not matured"]
DeliveryState = Literal["no miss shown", "withdrawn", "too early", "not judged"]


class Promise(Result, frozen=True, tag="promise"):
    """The headline metric that a backtest measured for one level, with its interval, and the
    recommendation that rests on it.

    Attributes:
        model, level: the level's name in the backtest.
        describes: its freshness in words.
        metric, higher_is_better: the metric and its direction.
        promised: the value with its 95 % interval.
        margin: the least change of the metric that is worth having; a smaller shortfall is not a
            miss.
        blocks: how many blocks the interval resampled. unit: what they are: "days", "hours",
            "blocks of 7d", "values of 'user'".
        on: where alone the interval holds, such as "on these 2 days"; empty where it covers other
            periods.
        tested_from, tested_until: the period of the test rows, ISO 8601.
        test_rows: how many.
        label_delay_seconds: the longest delay between a request and its known outcome in the
            backtest.
        fingerprint: of the model's definitions. labels: the name of the labels.
        recommendation: the first line of the backtest, and recommended: the level that it
            recommends, "" for none.
        freedom: degrees of freedom of the promised interval; None of promises that were made before
            it was kept.
    """

    model: str
    level: str
    describes: str
    metric: str
    higher_is_better: bool
    promised: Estimate
    margin: float
    blocks: int
    unit: str
    on: str
    tested_from: str
    tested_until: str
    test_rows: int
    label_delay_seconds: float
    fingerprint: str
    labels: str
    recommendation: str
    recommended: str = ""
    freedom: float | None = None

    @property
    def covers_other_periods(self) -> bool:
        """Whether the interval says anything of the period in which the model serves."""
        return (
            not self.on and math.isfinite(self.promised.low) and math.isfinite(self.promised.high)
        )


class WeekDelivered(Result, frozen=True):
    """One calendar week (Monday to Sunday, UTC) of served predictions.

    Attributes:
        week: its Monday, a date.
        requests: rows served. with_outcome: those whose outcome is known. defaults: those answered
            with the model's default.
        value: the metric of this week alone; NaN where it is undefined or not matured.
        window_from: the Monday with which the judged weeks begin: this week and enough before it
            for 28 days and eight blocks.
        delivered: the metric of those weeks with its 95 % interval.
        shortfall: how much worse than promised, positive where worse, with its 95 % interval.
        p: one-sided, of a shortfall above the margin. level: the share of the 5 % that this look
            may spend.
        state: the verdict. reason: why it is not judged; empty where it is.
    """

    week: str
    requests: int
    with_outcome: int
    defaults: int
    value: float
    window_from: str
    delivered: Estimate
    shortfall: Estimate
    p: float
    level: float
    state: WeekState
    reason: str = ""


class DeliveryResult(Result, frozen=True, tag="delivery"):
    """What production delivered next to what the backtest promised.

    Attributes:
        promise: what was promised.
        served_level: the name under which the model is served. versions: those that served under
            this promise.
        state: "withdrawn" once one week missed; "too early" before the first judged week; "not
            judged" of a ranking, which cannot be, and of a model whose outcomes depend on its
            answers. unjudged: why, where that is so.
        since: the Monday of the first week that missed; "" for none.
        weeks: from early to late.
        left_out: rows that were not counted, by reason.
        from_table: rows by how the labels' table has their outcome, where outcomes were not posted.
        checked_at: ISO 8601, UTC.
        first_line: the verdict in a sentence, as it stands first on the page.
    """

    promise: Promise
    served_level: str
    versions: Sequence[str]
    state: DeliveryState
    since: str
    weeks: Sequence[WeekDelivered]
    left_out: Mapping[str, int]
    checked_at: str
    first_line: str
    from_table: Mapping[str, int] = {}
    unjudged: str = ""

    @property
    def figures(self) -> Mapping[str, float]:
        """The metric that was promised, and that of the latest judged week."""
        delivered = {
            f"{self.promise.metric} delivered": week.delivered.value for week in self.judged[-1:]
        }
        return {f"{self.promise.metric} promised": self.promise.promised.value} | delivered

    @property
    def withdrawn(self) -> bool:
        """Whether the backtest's recommendation no longer holds."""
        return self.state == "withdrawn"

    @property
    def judged(self) -> Sequence[WeekDelivered]:
        """The weeks that were compared with the promise."""
        return [week for week in self.weeks if week.state in ("no miss shown", "missed")]
