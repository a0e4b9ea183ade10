"""The plan of an experiment before it starts, as plain frozen values: what its arms need, its
power, and its A/A test on history.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from headwater.results.result import Result

NeedState = Literal["there", "stale", "missing", "not known"]


class ExperimentNeed(Result, frozen=True):
    """One thing that an arm needs: a fitted model, a view in the online store, or precomputed
    predictions.

    state: "missing" stops a start; "stale" and "not known" do not. note: in words. command: what
    makes it, "" where nothing is to do.
    """

    arm: str
    what: str
    state: NeedState
    note: str = ""
    command: str = ""


class PowerAtLength(Result, frozen=True):
    """An experiment of another length: its days; the units of each arm by then (clusters of a
    cluster test, buckets of all regions of a switchback); the power to find `min_lift`, and the
    lift that is found with the planned power.
    """

    days: float
    units: float
    power: float
    smallest_lift: float


class HistoryPower(Result, frozen=True):
    """What an experiment can find, by the variation of its deciding metric in history.

    days_of_history: the period that was read, as long as the experiment where there is enough.
    units: distinct ones in it (clusters of a cluster test, regions of a switchback). a_day: new
    units a day, on average. mean: of the metric in control. variation: standard deviation over mean
    of one unit, after CUPED (of a cluster, of a bucket of a region); without: the same before it.
    units_needed: of each arm, to find `min_lift` with `power` (the harmonic mean of the two arms,
    where shares differ). None of a cluster test and a switchback, whose number of clusters or
    regions is given. days: until `min_lift` is found with `power`, with the stages of the
    enrolment; None where the history never shows so many units, or no length is enough.
    units_planned: of each arm by the planned end (clusters, buckets of all regions). power_planned:
    to find `min_lift` by then. smallest_lift: found by then with the planned power.
    design: the comparison at the planned end, in words. by_length: of experiments from half to four
    times as long.
    """

    metric: str
    source: str
    days_of_history: float
    units: int
    a_day: float
    mean: float
    variation: float
    without_cuped: float
    min_lift: float
    units_needed: int | None
    days: float | None
    units_planned: int
    power_planned: float
    smallest_lift: float
    design: str = ""
    by_length: Sequence[PowerAtLength] = ()


class HistorySplit(Result, frozen=True):
    """The A/A test on history: units are split as they will be, before any arm acts, so no
    difference may be found.

    p: the least p of the metrics in the experiment's own split, corrected for their number
    (`metric`). splits: further random ones.
    rejected: the share of them with p below .05. differs: whether the own split starts with a
    difference, by p < .0014. unsound: whether so many random splits differ that the metric's test
    cannot be trusted.
    """

    p: float
    metric: str
    splits: int
    rejected: float
    differs: bool
    unsound: bool


class PlannedLook(Result, frozen=True):
    """A planned look: when, the share of the information, and the bound of |z| that stops there
    (O'Brien-Fleming).
    """

    at: str
    information: float
    bound: float


class PlannedExperiment(Result, frozen=True):
    """An experiment before its start.

    digest: of the plan that a start now would freeze; "" where it cannot be frozen, `refused` says
    why. running: the version that runs now, None where none does. power, split: None where history
    does not show them, `notes` say why. warnings: what speaks against it.
    columns: the region's or the cluster's column of the request.
    """

    experiment: str
    version: int
    kind: str
    unit: str
    arms: Mapping[str, str]
    metrics: Sequence[str]
    guardrails: Sequence[str]
    start: str
    end: str
    enrolled: Sequence[float]
    stage_hours: float
    looks: Sequence[PlannedLook]
    needs: Sequence[ExperimentNeed]
    power: HistoryPower | None
    split: HistorySplit | None
    digest: str = ""
    refused: Sequence[str] = ()
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    running: int | None = None
    break_even: float = 0.0
    columns: Mapping[str, str] = {}

    @property
    def missing(self) -> list[ExperimentNeed]:
        """What must be made before the start."""
        return [need for need in self.needs if need.state == "missing"]

    @property
    def ready(self) -> bool:
        """Whether it can start."""
        return not self.missing and not self.refused


class ExperimentStatus(Result, frozen=True):
    """How an experiment stands.

    stage: 1 the first, of `stages`. enrolled: the share of units that take part now. exposed,
    units: exposures and distinct units by arm.
    matured: the share of units whose outcome can be known by now. awaited: while that is not all,
    when the first outcome is final, and when all so far are; "" where no rule says. next_look: ISO
    8601, "" after the last. health: in one line; "" where it cannot be judged yet.
    """

    experiment: str
    version: int
    state: Literal["waiting", "running", "stopped", "ended"]
    digest: str
    started: str
    end: str
    stage: int
    stages: int
    enrolled: float
    exposed: Mapping[str, int]
    units: Mapping[str, int]
    matured: float = math.nan
    awaited: str = ""
    next_look: str = ""
    health: str = ""
    broken: Sequence[str] = ()
    stopped_because: str = ""
    changes: Sequence[str] = ()
