"""The page of an experiment: the decision, what it rests on, and the frozen plan below."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from headwater.pages import evidence_words, figures, wording
from headwater.pages.document import Block, Bullets, Cell, Figure, Table, Terms, Text
from headwater.pages.evidence_words import percent
from headwater.pages.page import Condition, Fold, Page, Row, Rows, Tone, split_sentence
from headwater.results.estimate import Estimate
from headwater.results.experiment_result import (
    ExperimentDecision,
    ExperimentResult,
    GuardrailState,
    MetricLift,
)

_MOST_ROWS: Final = 6
_CHOICES: Final[Sequence[ExperimentDecision]] = (
    "real-time",
    "stay batch",
    "inconclusive",
    "harm",
    "keep running",
)
_TONES: Final[Mapping[GuardrailState, Tone]] = {
    "within": "wins",
    "worse": "worse",
    "not proven": "not proven",
}
_CHIPS: Final = {"broken": "chip harm", "warning": "chip", "ok": "chip lift", "not checked": "chip"}
_DECISION_CHIPS: Final[Mapping[ExperimentDecision, str]] = {
    "real-time": "chip lift",
    "harm": "chip harm",
    "invalid": "chip harm",
    "inconclusive": "chip warn",
}
_RAIL_CHIPS: Final = {"within": "chip lift", "worse": "chip harm", "not proven": "chip warn"}
_SKIPPED: Final = frozenset({"arms", "metrics", "guardrails", "experiment"})


def to_page(result: ExperimentResult) -> Page:
    """The page; what the first line adds to its first sentence is the effect."""
    sentence, effect = split_sentence(result.first_line)
    foot = {
        "verdict of": look(result),
        "made": result.at[:16].replace("T", " "),
        "plan": result.digest,
        "not analysed": "; ".join(
            f"{wording.count(count)} {reason}" for reason, count in result.left_out.items()
        ),
    }
    return Page(
        "Experiment",
        [
            f"{result.experiment}, version {result.version}",
            result.design,
            f"outcomes final by {result.data_at[:10]}",
        ],
        sentence,
        effect,
        result.decision in ("harm", "invalid"),
        [(name, name == result.decision) for name in _CHOICES]
        + ([("invalid", True)] if result.decision == "invalid" else []),
        _methods(result),
        _rows(result),
        list(_conditions(result)),
        list(_notes(result)),
        _next(result),
        [fold for fold in _folds(result) if fold.blocks],
        [(name, text) for name, text in foot.items() if text],
    )


def chip(result: ExperimentResult) -> str:
    """The class of the decision's label."""
    return _DECISION_CHIPS.get(result.decision, "chip")


def guardrail_states(result: ExperimentResult) -> Iterator[tuple[str, str, str]]:
    """For each guardrail: its state, its label's class, and its name with how bad it may be."""
    for metric in result.of_metric("guardrail"):
        assert metric.state is not None
        worst = f", at worst {percent(metric.at_worst)}" if math.isfinite(metric.at_worst) else ""
        yield metric.state, _RAIL_CHIPS[metric.state], f"{metric.metric}, {metric.arm}{worst}"


def look(result: ExperimentResult) -> str:
    """Which look the verdict is of, in words."""
    if not result.look:
        return f"before the first of {result.looks} looks"
    if not result.information:
        return f"look {result.look} of {result.looks}"
    share = wording.share(min(result.information[-1], 1.0))
    if result.information_by == "units":
        return f"look {result.look} of {result.looks}, {share} of the planned units"
    units = (
        f", with {wording.count(result.matured[-1])} units whose outcomes are final"
        if result.matured
        else ""
    )
    return f"look {result.look} of {result.looks}, {share} of the planned time{units}"


def _methods(result: ExperimentResult) -> Figure | None:
    """What each method says of each arm's gain."""
    drawn = [estimate for estimate in result.axis if math.isfinite(estimate.lift.value)]
    if not drawn:
        return None
    says = "; ".join(
        f"{estimate.method}, {estimate.arm}: {percent(estimate.lift.value)}" for estimate in drawn
    )
    even = f" Dashed: break-even, {result.break_even_from}." if result.break_even else ""
    caption = (
        f"A fall counts as a gain where lower is better. A diamond is the experiment's own.{even}"
    )
    return Figure(figures.methods(result), says, caption, "What each method says")


def _rows(result: ExperimentResult) -> Rows | None:
    """The metrics that decide, then the guardrails."""
    shown = [*result.deciding, *result.of_metric("guardrail")][:_MOST_ROWS]
    rows = [
        Row(
            metric.metric,
            ", ".join(filter(None, [metric.arm, metric.note or _limit(metric)])),
            [wording.count(metric.units)],
            _in_percent(metric.lift) if math.isfinite(metric.lift.value) else None,
            metric.state or "decides",
            _TONES.get(metric.state, "none") if metric.state else "none",
            chosen=metric.role == "deciding" and metric.arm == result.arm,
        )
        for metric in shown
    ]
    control = result.arms[0].name if result.arms else "the control"
    caption = f"Metrics, against {control}"
    headings = ["metric", "arm", "units"]
    return Rows(caption, headings, rows, "change, %", 1) if rows else None


def _limit(metric: MetricLift) -> str:
    if metric.role != "guardrail":
        return ""
    accepted = -metric.margin if metric.higher_is_better else metric.margin
    return f"accepted {percent(accepted)}"


def _conditions(result: ExperimentResult) -> Iterator[Condition]:
    """What the decision rests on, the gravest first."""
    for line in result.health:
        if line.status == "broken":
            yield Condition(f"{line.check}: {line.evidence}", "contradicted")
    for line in result.health:
        if line.status == "warning":
            yield Condition(f"{line.check}: {line.evidence}", "declared")
    held = [line.check for line in result.health if line.status == "ok"]
    if held:
        count = f"{len(held)} check{'s' * (len(held) > 1)} of its health passed"
        yield Condition(f"{count}: {wording.listed(held)}.", "observed")
    unchecked = [f"{x.check} ({x.evidence})" for x in result.health if x.status == "not checked"]
    if unchecked:
        yield Condition(f"not checked: {'; '.join(unchecked)}", "not observable")


def _notes(result: ExperimentResult) -> Iterator[str]:
    if result.advice:
        yield result.advice
    yield from evidence_words.of_backtest(result)
    yield from _gaps(result)
    for net in result.money:
        money = f"{net.a_month.value:,.0f} a month"
        between = (
            f" (between {net.a_month.low:,.0f} and {net.a_month.high:,.0f})"
            if math.isfinite(net.a_month.low)
            else ""
        )
        yield f"Net value of {net.arm}: {money}{between}: {net.arithmetic}."
    preference = result.preference
    if preference is not None and math.isfinite(preference.share.value):
        share = preference.share
        yield (
            f"{wording.share(share.value)} of {preference.units:,} users' clicks prefer "
            f"{preference.arm} (between {wording.share(share.low)} and "
            f"{wording.share(share.high)}; 50 % is not a preference, p {preference.p:.2g})."
        )
        yield (
            "An interleaving says which ranking is preferred, never by how much: run an A/B test "
            "for the gain."
        )


def _gaps(result: ExperimentResult) -> Iterator[str]:
    """How far the experiment is from the backtest, of each arm."""
    for arm in dict.fromkeys(estimate.arm for estimate in result.axis):
        of_arm = [estimate for estimate in result.axis if estimate.arm == arm]
        before = next((estimate for estimate in of_arm if estimate.method == "backtest"), None)
        own = next((x for x in of_arm if x.decides and math.isfinite(x.lift.value)), None)
        if before is None or own is None:
            continue
        gap = wording.number(100 * (own.lift.value - before.lift.value), 1, signed=True)
        other = (
            ""
            if before.metric == own.metric
            else (
                f" The backtest's figure is of {wording.metric_label(before.metric)}, not of "
                f"{own.metric}."
            )
        )
        yield (
            f"{arm}: {percent(before.lift.value)} in the backtest, {percent(own.lift.value)} in "
            f"the experiment. The gap of {gap} points is what the backtest could not see: a world "
            f"that reacts, and chance.{other}"
        )


def _next(result: ExperimentResult) -> list[tuple[str, str]]:
    name = result.experiment
    stop = f"headwater experiment stop {name} --reason TEXT"
    match result.decision:
        case "real-time":
            return [(stop, f"then serve {result.arm} to all")]
        case "harm" | "stay batch":
            return [(stop, f"then serve {result.arms[0].name} to all")]
        case "keep running":
            return [(f"headwater experiment status {name}", "when the next look is")]
        case "inconclusive":
            return [(f"headwater experiment plan {name}", "how much more it takes")]
    return [(f"headwater experiment plan {name}", "a new version, once the cause is repaired")]


def _folds(result: ExperimentResult) -> Iterator[Fold]:
    metrics = [*result.deciding, *result.of_metric("metric"), *result.of_metric("guardrail")]
    table = Table(
        "The first decides; guardrails by intervals that hold at any time",
        ["metric", "arm", "control", "arm's value", "change", "units", "interval"],
        [_metric(metric) for metric in metrics],
    )
    text = (
        "A guardrail is within its margin where harm beyond it is excluded, worse where such harm "
        "is shown, and not proven where it is possible: more units would tell."
    )
    yield Fold("Every metric", "", [table, Text(text)] if metrics else [])
    broken = sum(line.status == "broken" for line in result.health)
    said = (
        f"{broken} broken: no verdict is given"
        if broken
        else "none is broken; together they raise a false alarm in at most 1 % of experiments"
    )
    checks: list[list[str | Cell]] = [
        [line.check, Cell(line.status, "", _CHIPS[line.status]), line.evidence]
        for line in result.health
    ]
    yield Fold(
        "Can it be believed?", said, _table("Checks", ["check", "state", "evidence"], checks)
    )
    yield Fold("The lift over time", "", _over_time(result))
    drawn = [estimate for estimate in result.axis if math.isfinite(estimate.lift.value)]
    gains: list[list[str | Cell]] = [
        [x.method, x.arm, x.metric, Cell(percent(x.lift.value), _bracket(x.lift)), x.note]
        for x in drawn
    ]
    headings = ["method", "arm", "metric", "gain", "limits"]
    yield Fold("What each method says", "", _table("Gains over the control", headings, gains))
    parts: list[list[str | Cell]] = [
        [x.slice, x.arm, Cell(percent(x.lift.value), _bracket(x.lift)), wording.count(x.units)]
        for x in result.slices
    ]
    exploratory = (
        "These parts were not planned, and each interval is of one look alone. Use them for the "
        "next question, not for this verdict."
    )
    headings = ["units", "arm", "change", "number"]
    slices = _table("Lift by part", headings, parts)
    yield Fold("Parts of the units", "exploratory", [Text(exploratory), *slices] if parts else [])
    yield Fold("Arms", "the first is the control", _arms(result))
    terms = [
        ("hash", result.digest),
        ("metrics", _words(result.plan.get("metrics"))),
        ("guardrails", _words(result.plan.get("guardrails")) or "none"),
    ]
    terms += [
        (name, _words(value))
        for name, value in result.plan.items()
        if name not in _SKIPPED and value is not None
    ]
    changes: list[Block] = (
        [Text("Done since"), Bullets(list(result.changes))] if result.changes else []
    )
    schedule: list[list[str | Cell]] = [
        [region, str(bucket), arm] for region, bucket, arm in result.schedule[:500]
    ]
    served = "Schedule, as served (the first 500 rows)"
    yield Fold(
        "The frozen plan",
        result.digest,
        [
            Text(result.rule),
            Terms(terms),
            *changes,
            *_table(served, ["region", "bucket", "arm"], schedule),
        ],
    )


def _over_time(result: ExperimentResult) -> list[Block]:
    metrics = [metric for metric in result.deciding if metric.over_time]
    if not metrics:
        return []
    says = "; ".join(
        f"{metric.arm}: {percent(metric.over_time[-1].lift.value)} by {metric.over_time[-1].at}"
        for metric in metrics
    )
    alpha = result.plan.get("alpha", 0.05)
    sure = 1 - (float(alpha) if isinstance(alpha, int | float) else 0.05)
    caption = (
        f"Bands are confidence sequences: they hold on all days together with {sure:.0%}, so the "
        "page may be opened at any time. The verdict uses the planned looks, whose intervals are "
        "narrower."
    )
    return [Figure(figures.lift_over_time(metrics), says, caption)]


def _metric(metric: MetricLift) -> list[str | Cell]:
    unknown = f"{metric.unknown:,} without outcome left out" if metric.unknown else ""
    how = ", ".join(filter(None, [metric.interval, "with CUPED" if metric.covariate else ""]))
    rail = "" if metric.state is None else f"{metric.state}, at worst {percent(metric.at_worst)}"
    return [
        metric.metric,
        metric.arm,
        f"{metric.control:.4g}" if math.isfinite(metric.control) else wording.NO_VALUE,
        f"{metric.treated:.4g}" if math.isfinite(metric.treated) else wording.NO_VALUE,
        Cell(percent(metric.lift.value), _bracket(metric.lift)),
        Cell(wording.count(metric.units), unknown),
        Cell(metric.note or how, rail),
    ]


def _arms(result: ExperimentResult) -> list[Block]:
    rows: list[list[str | Cell]] = [
        [
            arm.name,
            arm.model,
            Cell(
                arm.level,
                f"allow_staler: trained at {arm.trained_level}, served staler than trained"
                if arm.allow_staler
                else "",
            ),
            wording.share(arm.weight),
            wording.NO_VALUE if arm.version is None else str(arm.version),
            wording.count(arm.units),
            wording.count(arm.matured),
        ]
        for arm in result.arms
    ]
    headings = ["arm", "model", "level", "weight", "version", "units", "final"]
    return _table("Arms; the first is the control", headings, rows)


def _table(
    caption: str, headings: Sequence[str], rows: Sequence[Sequence[str | Cell]]
) -> list[Block]:
    return [Table(caption, headings, rows)] if rows else []


def _bracket(estimate: Estimate) -> str:
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return ""
    high = percent(estimate.high) if math.isfinite(estimate.high) else "any gain"
    return f"{percent(estimate.low)} to {high}"


def _in_percent(lift: Estimate) -> Estimate:
    return Estimate(100 * lift.value, 100 * lift.low, 100 * lift.high)


def _words(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else str(value)
