"""The evidence and the verdict as plain frozen values; every rendering reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headwater.definitions.definition import Readable
from headwater.results.cost_result import Cost
from headwater.results.estimate import Comparison
from headwater.results.lift_result import Lift
from headwater.results.measurement import Missing, Reading
from headwater.results.readiness_result import Blocker, Reach, Readiness
from headwater.results.result import Result

Action = Literal[
    "not decided", "stay batch", "go hourly", "stream these views", "compute these at request time"
]

NEEDS: Mapping[Action, Reach] = {
    "not decided": "none",
    "stay batch": "daily",
    "go hourly": "hourly",
    "stream these views": "streaming",
    "compute these at request time": "at request time",
}


@dataclass(frozen=True)
class Evidence(Readable):
    """The results that the verdict is based on; a result that could not be computed is Missing,
    with the reason.

    views: all that the model reads.
    """

    views: Sequence[str]
    lift: Lift | Missing
    cost: Cost | Missing
    readiness: Readiness | Missing


class Barred(Result, frozen=True):
    """A view that cannot yet be as fresh as the verdict requires, and its first blocker."""

    view: str
    reachable: Reach
    blocker: Blocker

    @property
    def certain(self) -> bool:
        """Whether the blocker was measured red, rather than unknown."""
        return self.blocker.state == "red"

    @property
    def why(self) -> str:
        """The blocker, without the view's name."""
        return self.blocker.what.removeprefix(f"view {self.view}: ")


def alike(barred: Sequence[Barred]) -> list[tuple[list[str], Barred]]:
    """Views with the same blocker and the same reachable freshness, grouped; in the order of the
    first of each.
    """
    groups: dict[object, tuple[list[str], Barred]] = {}
    for view in barred:
        names, _ = groups.setdefault(
            (view.blocker.check, view.blocker.state, view.reachable, view.why), ([], view)
        )
        names.append(view.view)
    return list(groups.values())


class Decision(
    Result,
    frozen=True,
    rename={"attributed": "views_attributed", "base": "from", "level": "to", "until": "until_then"},
):
    """The verdict.

    action: what to do. views: to make fresh, in the order of the attribution. base, level: the
    levels that the gain lies between. gain: in the headline metric. until: what pays and is
    possible while the action is blocked. earns, extra: money a day that the level brings and costs,
    over the base. barred: views that cannot be so fresh yet. rules: outcomes of rules. sentence:
    the verdict in words. first_line: its beginning, the recommendation.
    """

    action: Action
    views: Sequence[str]
    base: str
    level: str
    gain: float
    until: Action
    earns: Reading
    extra: Reading
    barred: Sequence[Barred]
    rules: Sequence[tuple[str, str]]
    sentence: str
    first_line: str = ""
    attributed: bool = False


def shown(step: Comparison) -> str:
    """A step's gain with its interval, in the metric's own unit.

    >>> shown(Comparison("daily", "minute", "auc", 0.0123, 0.004, 0.021, 0.01, "LIFT", ""))
    '+0.0123 auc [+0.004, +0.021]'
    """
    interval = f" [{step.low:+.3g}, {step.high:+.3g}]" if math.isfinite(step.low) else ""
    return f"{step.delta:+.3g} {step.metric}{interval}"
