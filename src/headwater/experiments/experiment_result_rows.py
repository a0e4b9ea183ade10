"""The result of an analysis, made of an experiment's looks: metrics, axis, money, verdict and all
that the decision page shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from headwater.definitions.checks import timestamp_text
from headwater.definitions.experiment import ExperimentMetric
from headwater.experiments import experiment_words
from headwater.experiments.confidence_sequence import sequence_multiplier
from headwater.experiments.experiment_analysis import ExperimentAnalysis
from headwater.experiments.experiment_look import ArmLift, ExperimentLooks
from headwater.experiments.experiment_money import ExperimentEvidence
from headwater.experiments.experiment_verdict import (
    ExperimentLook,
    ExperimentVerdict,
    GuardrailLook,
    verdict,
)
from headwater.experiments.health import HealthCheck
from headwater.experiments.look_rows import LookRows
from headwater.experiments.relative_lift import RelativeLift
from headwater.experiments.stalest_winner import stalest_winner
from headwater.journal.exposure_rows import ARM, BUCKET, CLUSTER
from headwater.models.experiment_store import StartedExperiment
from headwater.results.estimate import Estimate
from headwater.results.experiment_result import (
    KIND_NAMES,
    UNKNOWN,
    ArmResult,
    AxisEstimate,
    ExperimentResult,
    ExperimentSlice,
    GuardrailState,
    HealthLine,
    LiftLook,
    MetricLift,
    MetricRole,
    NetValue,
)

_AT_LOOKS, _AT_ANY_TIME = "group-sequential", "confidence sequence"


def analysed(
    project: str,
    look: ExperimentLooks,
    evidence: ExperimentEvidence,
    least: float,
    at: str,
) -> ExperimentAnalysis:
    """The analysis of an experiment with lifts.

    Args:
        project: its name.
        look: the experiment at a time.
        evidence: about the arms from outside the experiment.
        least: the relative gain at which an arm pays, where the evidence does not say.
        at: the time, as text.
    """
    plan, experiment = look.plan, look.experiment
    deciding = experiment.metrics[0]
    rows = look.look(deciding.name, look.time)
    lifts = {arm: look.lift(rows, arm) for arm in look.treated}
    rails = _Rails(look)
    checks = [*look.checks(), *_meaningless(lifts, deciding)]
    evens = _break_evens(look, evidence)
    even, even_from = (
        (max(evens.values()), evidence.source)
        if evens
        else (least, "as given" if least else "not known: a gain above 0 counts")
    )
    decided = stalest_winner(
        _verdict(look, lifts, rails.looks, checks, (even, evens)), look, rows, evens, even
    )
    metrics = [*_deciding(look, deciding, rows, lifts, decided), *_others(look), *rails.results]
    axis, money = _axis(look, evidence, deciding, rows, lifts, decided)
    shown = _shown_arm(decided, lifts, look.treated)
    names = (look.control, decided.arm or shown, deciding.name)
    not_within = _not_within(look, decided, rails.results)
    by = next(
        (metric.lift for metric in metrics if metric.role == "deciding" and metric.arm == names[1]),
        None,
    )
    interval = by if by is not None and look.looks.number and math.isfinite(by.value) else None
    result = ExperimentResult(
        project=project,
        experiment=plan.experiment,
        version=plan.version,
        kind=plan.kind,
        unit=plan.unit,
        at=at,
        data_at=timestamp_text(look.time),
        decision=decided.decision,
        arm=decided.arm or "",
        reason=decided.reason,
        rule=experiment_words.rule(plan, look.kind.estimator, even),
        first_line=experiment_words.first_line(
            decided.decision, names, interval, decided.reason, not_within
        ),
        look=look.looks.number,
        looks=plan.looks,
        information=look.looks.information,
        information_by="time" if look.looks.planned is None else "units",
        matured=look.looks.units,
        arms=_arms(look),
        metrics=metrics,
        axis=axis,
        break_even=even,
        break_even_from=even_from,
        money=money,
        health=[HealthLine(check.name, check.status, check.evidence) for check in checks],
        slices=[
            ExperimentSlice(name, arm, _estimate(lift.lift, lift.interval()), units)
            for arm in look.treated
            for name, lift, units in look.slices(arm)
        ],
        preference=None,
        plan=msgspec.to_builtins(plan),
        digest=plan.digest,
        changes=changes_of(look.started),
        schedule=_schedule(look),
        left_out={reason: count for reason, count in look.left_out.items() if count},
        advice=experiment_words.advice(plan, _known_lifts(lifts))
        if decided.decision == "inconclusive"
        else "",
    )
    return ExperimentAnalysis(result, look.exposures, rows.frame)


def _estimate(value: float, interval: tuple[float, float]) -> Estimate:
    return Estimate(value, *interval)


def _gain(estimate: Estimate, metric: ExperimentMetric) -> Estimate:
    """A lift so signed that a rise is a gain."""
    return (
        estimate
        if metric.higher_is_better
        else Estimate(-estimate.value, -estimate.high, -estimate.low)
    )


def _known_lifts(lifts: Mapping[str, ArmLift]) -> dict[str, RelativeLift]:
    return {arm: lift.lift for arm, lift in lifts.items() if lift.lift is not None}


def _not_within(
    look: ExperimentLooks, decided: ExperimentVerdict, rails: Sequence[MetricLift]
) -> list[str]:
    """What the first line says of guardrails: of the arm to serve, or while that is open of every
    arm as far as its interval is known.
    """
    if decided.decision == "real-time":
        reported = [rail for rail in rails if rail.arm == decided.arm]
    elif decided.decision in ("inconclusive", "keep running"):
        reported = [rail for rail in rails if math.isfinite(rail.at_worst)]
    else:
        reported = []
    return experiment_words.not_proven(reported, arms=len(look.arms))


def _meaningless(lifts: Mapping[str, ArmLift], metric: ExperimentMetric) -> list[HealthCheck]:
    """That a relative lift has no meaning, where means are not positive."""
    notes = [lift.note for lift in lifts.values() if lift.lift is None and "positive" in lift.note]
    return [HealthCheck("relative lift", "broken", f"{metric.name}: {notes[0]}")] if notes else []


def _break_evens(look: ExperimentLooks, evidence: ExperimentEvidence) -> dict[str, float]:
    """By arm, the gain that pays for it, where that is known."""
    levels = {arm.name: arm.level for arm in look.plan.arms}
    gains = {arm: evidence.break_even(levels[look.control], levels[arm]) for arm in look.treated}
    return {arm: value for arm, value in gains.items() if math.isfinite(value)}


def _verdict(
    look: ExperimentLooks,
    lifts: Mapping[str, ArmLift],
    rails: Mapping[str, Sequence[GuardrailLook]],
    checks: Sequence[HealthCheck],
    break_even: tuple[float, Mapping[str, float]],
) -> ExperimentVerdict:
    """The verdict of the newest look; guardrails and health are of now."""
    information, over = look.looks.information or [0.0], _over(look)
    seen = ExperimentLook(
        information,
        _known_lifts(lifts) if look.looks.number else {},
        rails,
        checks,
        look.experiment.metrics[0].higher_is_better,
        break_even[0],
        look.plan.alpha,
        break_even[1],
        look.looks.units,
        look.looks.planned is None,
        look.plan.min_lift,
        over if look.looks.over else "",
    )
    decided = verdict(seen)
    if decided.decision in ("invalid", "harm"):
        return decided
    lacking = next((lift.note for lift in lifts.values() if lift.lift is None), None)
    if not look.units.frame.height:
        lacking = "no unit was exposed" if over else "no unit was exposed yet"
    if lacking is not None:
        awaited = look.awaited
        if awaited:
            lacking = f"{lacking}; {awaited}"
        ended = bool(over) and (look.looks.over or not look.units.frame.height)
        return ExperimentVerdict(
            "inconclusive" if ended else "keep running",
            None,
            f"{over}: {lacking.removesuffix(' yet')}" if ended else lacking,
            decided.intervals,
        )
    if not look.looks.number:
        return ExperimentVerdict(
            "keep running", None, f"the first of {look.plan.looks} looks has not come yet", {}
        )
    if decided.decision == "keep running":
        reason = (
            f"look {look.looks.number} of {look.plan.looks} decides nothing yet; {decided.reason}"
        )
        return ExperimentVerdict("keep running", None, reason, decided.intervals)
    return decided


def _over(look: ExperimentLooks) -> str:
    """Why no further unit is enrolled; "" while units are."""
    stopped = look.started.stopped_at
    if stopped is not None and stopped <= look.at:
        return "the experiment was stopped"
    return "the planned time is over" if look.at >= look.plan.end else ""


def _deciding(
    look: ExperimentLooks,
    metric: ExperimentMetric,
    rows: LookRows,
    lifts: Mapping[str, ArmLift],
    decided: ExperimentVerdict,
) -> list[MetricLift]:
    metrics = []
    for arm, arm_lift in lifts.items():
        interval, method = decided.intervals.get(arm), _AT_LOOKS
        if interval is None and arm_lift.lift is not None:
            interval, method = (
                arm_lift.lift.sequential(
                    sequence_multiplier(arm_lift.units, look.plan.alpha / len(lifts))
                ),
                _AT_ANY_TIME,
            )
        made = _metric(
            look, metric, arm, "deciding", arm_lift, (interval or (math.nan, math.nan), method)
        )
        if arm_lift.lift is not None and look.kind.p_value is not None:
            made = msgspec.structs.replace(
                made, p=look.kind.p_value(rows, look.control, arm, look.plan)
            )
        metrics.append(
            msgspec.structs.replace(
                made, over_time=_over_time(look, metric.name, arm), unknown=look.unknown
            )
        )
    return metrics


def _others(look: ExperimentLooks) -> list[MetricLift]:
    """Metrics that do not decide, with intervals that hold at any time."""
    metrics = []
    for metric in look.experiment.metrics[1:]:
        rows = look.look(metric.name, look.at)
        for arm in look.treated:
            arm_lift = look.lift(rows, arm)
            interval = (math.nan, math.nan)
            if arm_lift.lift is not None:
                interval = arm_lift.lift.sequential(
                    sequence_multiplier(arm_lift.units, look.plan.alpha)
                )
            metrics.append(_metric(look, metric, arm, "metric", arm_lift, (interval, _AT_ANY_TIME)))
    return metrics


class _Rails:
    """The guardrails of every arm, as looked at now."""

    def __init__(self, look: ExperimentLooks) -> None:
        self.looks: dict[str, list[GuardrailLook]] = {arm: [] for arm in look.treated}
        self.results: list[MetricLift] = []
        alpha = look.plan.alpha / max(len(look.experiment.guardrails), 1)
        for metric in look.experiment.guardrails:
            for arm in look.treated:
                arm_lift, seen = look.guardrail(metric, arm, look.at)
                if seen is not None:
                    self.looks[arm].append(seen)
                interval = (math.nan, math.nan) if seen is None else seen.interval(alpha)
                made = _metric(look, metric, arm, "guardrail", arm_lift, (interval, _AT_ANY_TIME))
                state: GuardrailState = "not proven" if seen is None else seen.state(alpha)
                self.results.append(
                    msgspec.structs.replace(made, margin=metric.margin or 0.0, state=state)
                )


def _metric(
    look: ExperimentLooks,
    metric: ExperimentMetric,
    arm: str,
    role: MetricRole,
    arm_lift: ArmLift,
    interval: tuple[tuple[float, float], str],
) -> MetricLift:
    lift, (bounds, method) = arm_lift.lift, interval
    return MetricLift(
        metric=metric.name,
        arm=arm,
        role=role,
        higher_is_better=metric.higher_is_better,
        control=math.nan if lift is None else lift.control,
        treated=math.nan if lift is None else lift.treated,
        lift=UNKNOWN if lift is None else _estimate(lift.lift, bounds),
        interval=method,
        p=math.nan if lift is None else lift.p_value,
        units=arm_lift.units,
        unknown=0,
        covariate=look.rows[metric.name].before is not None and look.plan.kind == "ab",
        note=arm_lift.note,
    )


def _over_time(look: ExperimentLooks, name: str, arm: str) -> list[LiftLook]:
    return [
        LiftLook(timestamp_text(time), _estimate(lift.lift, lift.sequential(multiplier)), units)
        for time, lift, units, multiplier in look.over_time(name, arm)
    ]


def _axis(
    look: ExperimentLooks,
    evidence: ExperimentEvidence,
    metric: ExperimentMetric,
    rows: LookRows,
    lifts: Mapping[str, ArmLift],
    decided: ExperimentVerdict,
) -> tuple[list[AxisEstimate], list[NetValue]]:
    """The estimate of each method for every arm, as gains, and the net value of the
    experiment's.
    """
    levels, axis, money = {arm.name: arm.level for arm in look.plan.arms}, [], []
    for arm, arm_lift in lifts.items():
        pair = (levels[look.control], levels[arm])
        axis += evidence.estimates(arm, pair)
        if arm_lift.lift is None:
            continue
        if look.plan.kind != "ab" and (naive := look.naive(rows, arm)) is not None:
            gain = _gain(_estimate(naive.lift, naive.interval()), metric)
            axis.append(
                AxisEstimate(
                    f"A/B test by {look.plan.unit}",
                    arm,
                    metric.name,
                    gain,
                    "as if no unit acted on another; one look",
                )
            )
        gain = _gain(
            _estimate(arm_lift.lift.lift, decided.intervals.get(arm, (math.nan, math.nan))), metric
        )
        note = f"of the whole product if {look.kind.assumes}"
        axis.append(
            AxisEstimate(KIND_NAMES[look.plan.kind], arm, metric.name, gain, note, decides=True)
        )
        net = evidence.net(arm, pair, gain)
        if net is not None:
            money.append(net)
    return axis, money


def _shown_arm(
    decided: ExperimentVerdict, lifts: Mapping[str, ArmLift], treated: Sequence[str]
) -> str:
    """The arm of the first line: the decided one, else the one with the largest lift."""
    lift_by_arm = {arm: lift.lift.lift for arm, lift in lifts.items() if lift.lift is not None}
    return decided.arm or max(lift_by_arm, key=lambda arm: lift_by_arm[arm], default=treated[0])


def _arms(look: ExperimentLooks) -> list[ArmResult]:
    arms = []
    for arm in look.plan.arms:
        units, matured = look.counts(arm.name)
        arms.append(
            ArmResult(
                arm.name,
                arm.model,
                arm.level,
                arm.weight,
                arm.version,
                arm.trained_level or arm.level,
                arm.allow_staler,
                units,
                matured,
            )
        )
    return arms


def _schedule(look: ExperimentLooks) -> list[tuple[str, int, str]]:
    """Of a switchback, the arm of each region and bucket, as served."""
    if look.plan.kind != "switchback":
        return []
    cells = (
        look.units.frame.group_by(CLUSTER, BUCKET).agg(pl.col(ARM).first()).sort(CLUSTER, BUCKET)
    )
    return [(str(region), int(bucket), str(arm)) for region, bucket, arm in cells.iter_rows()]


def changes_of(started: StartedExperiment) -> list[str]:
    """What was done since the start, a line each."""
    lines = []
    for change in started.changes:
        text = f"enrolled {change.enrolled:.0%}" if change.change == "enrolled" else change.change
        lines.append(
            " ".join(
                filter(
                    None,
                    [
                        timestamp_text(change.at),
                        text,
                        f"by {change.by}" if change.by else "",
                        change.reason,
                    ],
                )
            )
        )
    return lines
