"""An experiment: arms that are models at levels, who gets which, which metrics, and the plan that
is frozen before the start.

Kinds of experiments: what gets an arm, a unit, a bucket of time or a whole cluster.

A probe: a small share of units is served at another level for a while, to see what that level
gives a few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import datetime
from typing import Literal, get_args

from headwater import clock
from headwater.definitions.checks import (
    DAY,
    Duration,
    check,
    check_choice,
    check_integer,
    check_list,
    check_number,
    check_reference,
    check_text,
    check_type,
    is_number,
    micros,
    parse_timestamp,
    spelled,
    text,
)
from headwater.definitions.definition import Definition, check_name
from headwater.definitions.freshness import Freshness
from headwater.definitions.labels import Outcome
from headwater.definitions.level import Level, as_level
from headwater.definitions.model import Model
from headwater.errors import DefinitionError

LABEL, REQUESTS = "label", "requests"
"""What a metric may sum besides outcomes: the model's label, and the number of requests."""

Never = Literal["zero", "unknown"]


@dataclass(frozen=True, eq=False)
class Arm(Definition):
    """A model at a level, as an experiment serves it.

    Args:
        name: letters, digits and single underscores.
        model: which model.
        level: how fresh its features and predictions are; as defined where it is left out. A bare
            freshness is a level too.
        weight: the share of the enrolled units; equal shares where no arm says.
        allow_staler: whether a version that was trained at a fresher level may be served at this
            one. By default each level has a version of its own; the decision page names an arm that
            has not.

    Raises:
        DefinitionError: a bad name, model, level or weight.
    """

    name: str
    model: Model
    level: Level | Freshness | None = None
    _: KW_ONLY
    weight: float | None = None
    allow_staler: bool = False

    def __post_init__(self) -> None:
        check_name(self.name, "an arm")
        check_type(self.model, Model, f"arm {self.name!r}: model", "a Model")
        object.__setattr__(self, "level", Level() if self.level is None else as_level(self.level))
        if self.weight is not None:
            check_number(self.weight, f"arm {self.name!r}: weight", "a share", above=0, below=1)


@dataclass(frozen=True, eq=False)
class ExperimentMetric(Definition):
    """The compared quantity: a sum over each unit's outcomes, or a ratio of two.

    Args:
        name: letters, digits and single underscores.
        value: `outcome(source, aggregation, keys=, within=)` for what a unit does within a time
            after its exposure, or "label" for the labels of its requests.
        base: the denominator of a ratio, likewise, or "requests"; None for a mean over units.
        higher_is_better: whether a rise is a gain.
        never: what a unit without an outcome is: "zero" (no click) or "unknown" (left out, as a
            payment that was blocked).
        margin: for a guardrail, the relative harm that is still accepted, such as 0.01.
        quantile: compare this quantile over units and not their mean, such as 0.99 of each unit's
            slowest answer.

    Raises:
        DefinitionError: a bad name, value, base, margin or quantile; a quantile of a ratio.
    """

    name: str
    _: KW_ONLY
    value: Outcome | str = LABEL
    base: Outcome | str | None = None
    higher_is_better: bool = True
    never: Never = "zero"
    margin: float | None = None
    quantile: float | None = field(default=None, metadata={"fingerprint": "given"})

    def __post_init__(self) -> None:
        check_name(self.name, "an experiment's metric")
        subject = f"metric {self.name!r}"
        if not isinstance(self.value, Outcome):
            check_choice(
                self.value,
                (LABEL,),
                f"{subject}: value",
                "or outcome(source, aggregation, keys=, within=)",
            )
        if self.base is not None and not isinstance(self.base, Outcome):
            check_choice(
                self.base,
                (REQUESTS, LABEL),
                f"{subject}: base",
                "or an outcome(...), or leave it out",
            )
        check_choice(
            self.never, get_args(Never), f"{subject}: never", "which a unit without an outcome is"
        )
        if self.quantile is not None:
            check_number(
                self.quantile, f"{subject}: quantile", above=0, below=1, note="such as 0.99"
            )
        if self.quantile is not None and self.base is not None:
            raise DefinitionError(
                f"{subject}: a quantile over units has no base; leave one of them out"
            )
        if self.margin is not None:
            check_number(
                self.margin, f"{subject}: margin", "a share", least=0, below=1, note="such as 0.01"
            )


@dataclass(frozen=True, eq=False)
class ExperimentPlan(Definition):
    """The part that is fixed before the start: it is hashed, and a running experiment keeps it.

    Args:
        start: ISO 8601 with an offset, or a tz-aware datetime; None starts with `headwater
            experiment start`.
        duration: how long units are enrolled.
        looks: how many times the result is looked at; each look must be paid for by a stricter
            bound.
        enrolled: the share of units that take part, stage by stage; the split among them never
            changes.
        stage: how long each stage lasts at least.
        min_lift: the smallest relative lift that is worth finding.
        alpha: the two-sided error of the decision.
        power: the probability to find `min_lift`.

    Raises:
        DefinitionError: a value that cannot be.

    >>> ExperimentPlan(duration="21d", looks=3).enrolled
    (1.0,)
    """

    _: KW_ONLY
    start: str | datetime | None = None
    duration: Duration = "14d"
    looks: int = 5
    enrolled: Sequence[float] = (1.0,)
    stage: Duration = "1d"
    min_lift: float = 0.01
    alpha: float = 0.05
    power: float = 0.8

    def __post_init__(self) -> None:
        if self.start is not None:
            object.__setattr__(
                self,
                "start",
                clock.timestamp(parse_timestamp(self.start, "ExperimentPlan: start")).isoformat(),
            )
        for name in ("duration", "stage"):
            length = micros(getattr(self, name), f"ExperimentPlan: {name}", positive=True)
            object.__setattr__(self, name, text(length))
        check_integer(
            self.looks,
            "ExperimentPlan: looks",
            least=1,
            note="how many times the result is looked at",
        )
        listed_stages = (
            self.enrolled
            if isinstance(self.enrolled, list | tuple) and all(map(is_number, self.enrolled))
            else ()
        )
        stages = tuple(float(share) for share in listed_stages)
        rising = (
            stages
            and all(0 < share <= 1 for share in stages)
            and list(stages) == sorted(set(stages))
        )
        check(
            rising,
            self.enrolled,
            "ExperimentPlan: enrolled",
            "rising shares up to 1, such as (0.02, 0.1, 0.5, 1.0)",
        )
        object.__setattr__(self, "enrolled", stages)
        for name in ("min_lift", "alpha", "power"):
            check_number(getattr(self, name), f"ExperimentPlan: {name}", above=0, below=1)


@dataclass(frozen=True, eq=False)
class ABTest(Definition):
    """Each unit keeps one arm. Right where a unit's arm changes nothing for the others, and no
    model trains on the other arm's clicks.
    """


@dataclass(frozen=True, eq=False)
class Experiment(Definition):
    """A comparison of arms in production.

    Args:
        name: letters, digits and single underscores.
        arms: two or more; the first is the control.
        unit: the request's column whose values keep their arm, such as "user".
        kind: `ABTest()`, `Switchback(region)`, `ClusterTest(cluster)`, `Interleaving()` or
            `Shadow()`.
        metrics: the first decides.
        guardrails: metrics that must not get worse by more than their margin.
        plan: fixed before the start.
        layer: experiments of one layer never share a unit.
        span: this experiment's part of its layer, from and to as shares.
        version: raised to shuffle all units again.

    Raises:
        DefinitionError: fewer than two arms, two of one name, arms of different tasks, weights that
            do not sum to 1, a unit that a model's request does not carry, no metric, a guardrail
            without a margin, or an interleaving of anything but two rankings.
    """

    name: str
    arms: Sequence[Arm]
    _: KW_ONLY
    unit: str
    kind: ExperimentKind = field(default_factory=ABTest)
    metrics: Sequence[ExperimentMetric] = (ExperimentMetric("label_mean"),)
    guardrails: Sequence[ExperimentMetric] = ()
    plan: ExperimentPlan = field(default_factory=ExperimentPlan)
    layer: str | None = None
    span: tuple[float, float] = (0.0, 1.0)
    version: int = 1

    def __post_init__(self) -> None:
        self.remember_site()
        check_name(self.name, "an experiment")
        subject = f"experiment {self.name!r}"
        check_list(
            self.arms,
            Arm,
            f"{subject}: arms",
            "at least two hw.experiments.Arm(name, model, level), the control first",
            least=2,
        )
        names = [arm.name for arm in self.arms]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DefinitionError(f"{subject}: two arms are named {twice!r}; rename one")
        object.__setattr__(self, "arms", _weighted(self.arms, subject))
        tasks = {arm.model.task_kind for arm in self.arms}
        if len(tasks) > 1:
            raise DefinitionError(
                f"{subject}: its arms have the tasks {', '.join(sorted(tasks))}; arms answer the "
                "same requests, so one task"
            )
        kinds = (
            "a kind of hw.experiments: ABTest(), Switchback(region), ClusterTest(cluster), "
            "Interleaving() or Shadow()"
        )
        check_type(self.kind, ExperimentKind, f"{subject}: kind", kinds)
        if isinstance(self.kind, Interleaving) and (tasks != {"ranking"} or len(self.arms) != 2):
            raise DefinitionError(
                f"{subject}: an interleaving compares two rankings; it has {len(self.arms)} arms "
                f"of task {tasks.pop()}"
            )
        _check_probe(self.kind, self.name, subject)
        self._check_parts(subject)
        for column, role in self.columns:
            for arm in self.arms:
                says = (
                    f"{subject}: {role} is {column!r}, which a request of model "
                    f"{arm.model.name!r} does not carry"
                )
                check_reference(column, arm.model.features.needed_by(), says)
        object.__setattr__(self, "metrics", tuple(self.metrics))
        object.__setattr__(self, "guardrails", tuple(self.guardrails))

    def _check_parts(self, subject: str) -> None:
        check_text(self.unit, f"{subject}: unit", "the name of a column of the request")
        check_type(
            self.plan,
            ExperimentPlan,
            f"{subject}: plan",
            "hw.experiments.ExperimentPlan(duration=, looks=, ...)",
        )
        give = "at least one hw.experiments.ExperimentMetric, the deciding one first"
        check_list(self.metrics, ExperimentMetric, f"{subject}: metrics", give, least=1)
        give = "a list of hw.experiments.ExperimentMetric(name, margin=)"
        for guardrail in check_list(
            self.guardrails, ExperimentMetric, f"{subject}: guardrails", give
        ):
            if guardrail.margin is None:
                raise DefinitionError(
                    f"{subject}: the guardrail {guardrail.name!r} has no margin; say how much "
                    "worse is still accepted, such as margin=0.01"
                )

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """The request's columns that assignment needs, each with its role."""
        kind = self.kind
        if isinstance(kind, Switchback):
            return (self.unit, "unit"), (kind.region, "region")
        if isinstance(kind, ClusterTest):
            return (self.unit, "unit"), (kind.cluster, "cluster")
        return ((self.unit, "unit"),)

    @property
    def control(self) -> Arm:
        """The first arm."""
        return self.arms[0]

    @property
    def salt(self) -> str:
        """The salt with which assignment hashes units."""
        return f"{self.name}/{self.version}"


def _check_probe(kind: ExperimentKind, name: str, subject: str) -> None:
    if isinstance(kind, Probe) and not name.startswith("probe_"):
        raise DefinitionError(
            f"{subject}: a probe is named probe_..., so that training leaves out its rows; define "
            "it with hw.experiments.probe(...)"
        )


def _weighted(arms: Sequence[Arm], subject: str) -> tuple[Arm, ...]:
    given = [arm.weight for arm in arms if arm.weight is not None]
    if not given:
        return tuple(replace(arm, weight=1 / len(arms)) for arm in arms)
    if len(given) < len(arms):
        raise DefinitionError(
            f"{subject}: {len(given)} of {len(arms)} arms have a weight; give all of them one, or "
            "none"
        )
    if abs(sum(given) - 1) > 1e-9:
        raise DefinitionError(
            f"{subject}: the weights of the arms sum to {sum(given):g}; they must sum to 1"
        )
    return tuple(arms)


@dataclass(frozen=True, eq=False)
class Shadow(Definition):
    """Every arm scores each request, and only the first arm's answer is served: shows errors,
    latency and how decisions differ, no lift.
    """


@dataclass(frozen=True, eq=False)
class Probe(ABTest):
    """An A/B test in which a small share of units is served at another level, until that has cost
    its budget; see `probe`.

    Args:
        loss_budget: the loss at which a ramp stops it, in the unit of the deciding metric, summed
            over the probed units: such as 50 orders.

    Raises:
        DefinitionError: a budget that is not above 0.

    >>> Probe(loss_budget=50)
    Probe(50)
    """

    _: KW_ONLY
    loss_budget: float

    def __post_init__(self) -> None:
        check_number(
            self.loss_budget,
            "Probe: loss_budget",
            "the loss that it may cost,",
            above=0,
            note="such as 50",
        )


@dataclass(frozen=True, eq=False)
class Switchback(Definition):
    """Each region changes its arm from bucket to bucket of time. Right where units of a region
    share supply or prices.

    Args:
        region: the request's column whose values change arms by themselves, such as a city.
        length: of a bucket of time. One that divides a day always begins at the same hours: with a
            washout, the hours after a change are then never observed, so it is refused unless
            bounds are random.
        washout: how long after a change the arm before still acts; these requests are served and
            not analysed.
        random_bounds: whether each region's buckets are of lengths drawn between half and one and a
            half of `length`.

    Raises:
        DefinitionError: no region; a washout as long as the shortest bucket; a length that divides
            a day, with a washout.

    >>> Switchback("city", length="7h", washout="3h")
    Switchback('city', washout='3h')
    """

    region: str
    _: KW_ONLY
    length: Duration = "7h"
    washout: Duration = "0s"
    random_bounds: bool = False

    def __post_init__(self) -> None:
        check_text(self.region, "Switchback: region", "the name of a column of the request")
        length, washout = (
            micros(self.length, "Switchback: length"),
            micros(self.washout, "Switchback: washout"),
        )
        shortest = length // 2 if self.random_bounds else length
        if not 0 <= washout < shortest:
            raise DefinitionError(
                f"Switchback: washout is {text(washout)}, and a bucket may be as short as "
                f"{text(shortest)}; the washout must be shorter"
            )
        if washout and not self.random_bounds and DAY % length == 0:
            raise DefinitionError(
                f"Switchback: a bucket of {text(length)} begins at the same hours each day, so "
                "the hours of the washout are never observed; take a length that does not divide "
                "a day, such as '7h', or random_bounds=True"
            )
        object.__setattr__(self, "length", text(length))
        object.__setattr__(self, "washout", text(washout))


@dataclass(frozen=True, eq=False)
class ClusterTest(Definition):
    """Whole clusters, such as markets, keep one arm. Right where people adapt to the model, or what
    one arm does lasts long.

    Args:
        cluster: the request's column that names the cluster.
        burn_in: how long the world takes to adapt; what happens before is not analysed.

    Raises:
        DefinitionError: no cluster, or a negative burn-in.
    """

    cluster: str
    _: KW_ONLY
    burn_in: Duration = "0s"

    def __post_init__(self) -> None:
        check_text(self.cluster, "ClusterTest: cluster", "the name of a column of the request")
        object.__setattr__(self, "burn_in", text(micros(self.burn_in, "ClusterTest: burn_in")))


@dataclass(frozen=True, eq=False)
class Interleaving(Definition):
    """Each list mixes two arms' rankings, and clicks say which is preferred: few requests suffice,
    and how much is never said.
    """


ExperimentKind = Shadow | ABTest | Switchback | ClusterTest | Interleaving

PREFIX, PROBED, SERVED = "probe_", "probed", "served"
"""The prefix of probes' names, so that training leaves out their rows; and their two arms."""

MOST = 0.2
"""The largest share: a larger one is an A/B test."""


@spelled
def probe(
    name: str,
    model: Model,
    level: Level | Freshness,
    *,
    unit: str,
    share: float,
    loss_budget: float,
    metrics: Sequence[ExperimentMetric] = (ExperimentMetric("label_mean"),),
    plan: ExperimentPlan | None = None,
) -> Experiment:
    """An experiment that serves a share of sticky units at another materialised level, by that
    level's own model.

    It is assigned, exposed, planned and analysed as an A/B test: propensities are logged, and
    `headwater experiment plan` states its power. `headwater experiment ramp` stops it once its
    estimated loss exceeds the budget. Training from the serving log leaves out its rows. Its effect
    is that on a few while the world stays as it is: if all units changed, others might react.

    Args:
        name: the experiment is named `probe_NAME`.
        model: which model.
        level: at which the share is served.
        unit: the request's column whose values keep their level for the period, such as "user".
        share: of units, above 0 and up to 0.2.
        loss_budget: the loss that it may cost, in the unit of the first metric, summed over the
            probed units.
        metrics: the first decides, and is a mean over units.
        plan: the period and looks; a further period is `ExperimentPlan` with a later start, and a
            new version of the experiment.

    Raises:
        DefinitionError: a share that is too large, a ratio of two sums, or as `Experiment`.

    >>> from headwater.definitions.freshness import batch
    >>> from headwater.testing.examples import churn
    >>> fresh = probe("nightly", churn(), batch("1d"), unit="user", share=0.02, loss_budget=50)
    >>> fresh.name, [(arm.name, arm.weight) for arm in fresh.arms]
    ('probe_nightly', [('served', 0.98), ('probed', 0.02)])
    """
    check_number(
        share,
        f"probe {name!r}: share",
        "a share of units",
        above=0,
        most=MOST,
        note="or run an A/B test",
    )
    if metrics and isinstance(metrics[0], ExperimentMetric) and metrics[0].base is not None:
        raise DefinitionError(
            f"probe {name!r}: metric {metrics[0].name!r} is a ratio, and a loss budget is of a "
            "sum; leave its base out"
        )
    arms = [Arm(SERVED, model, weight=1 - share), Arm(PROBED, model, level, weight=share)]
    kind = Probe(loss_budget=loss_budget)
    return Experiment(
        f"{PREFIX}{name}",
        arms,
        unit=unit,
        kind=kind,
        metrics=metrics,
        plan=plan or ExperimentPlan(),
    )
