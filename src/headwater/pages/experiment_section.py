"""The sections of the decision page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

from headwater.pages import figures, wording
from headwater.pages.document import (
    Block,
    Bullets,
    Cell,
    Figure,
    Section,
    Table,
    Terms,
    Text,
)
from headwater.results.estimate import Estimate
from headwater.results.experiment_result import ExperimentResult, HealthLine, MetricLift

_CHIPS = {"broken": "chip harm", "warning": "chip", "ok": "chip lift", "not checked": "chip"}
_RAIL_CHIPS = {"within": "chip lift", "worse": "chip harm", "not proven": "chip warn"}
UNSEEN = "what the backtest could not see"


def to_sections(result: ExperimentResult) -> list[Section]:
    """Every section in order; a broken check comes first."""
    health, gains = health_section(result), gain_section(result)
    ordered = [health, gains] if result.decision == "invalid" else [gains, health]
    more = [
        _over_time(result),
        guardrail_section(result),
        _other_metrics(result),
        _slices(result),
        _arms(result),
        _plan(result),
        _export(result),
    ]
    return [section for section in [*ordered, *more] if section.blocks]


def percent(value: float) -> str:
    """A relative lift in percent."""
    return (
        f"{wording.number(100 * value, 1, signed=True)} %"
        if math.isfinite(value)
        else wording.NO_VALUE
    )


def _bracket(estimate: Estimate) -> str:
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return ""
    high = percent(estimate.high) if math.isfinite(estimate.high) else "any gain"
    return f"{percent(estimate.low)} to {high}"


def gain_section(result: ExperimentResult) -> Section:
    """What each method says, with the gap between backtest and experiment, and money; of an
    interleaving the preference.
    """
    if result.preference is not None:
        return Section("preference", "Which ranking do clicks prefer?", _preference(result))
    blocks: list[Block] = []
    drawn = [estimate for estimate in result.axis if math.isfinite(estimate.lift.value)]
    if drawn:
        says = "; ".join(
            f"{estimate.method}, {estimate.arm}: {percent(estimate.lift.value)}"
            for estimate in drawn
        )
        even = (
            f"The dashed line is break-even: {result.break_even_from}. "
            if result.break_even
            else ""
        )
        caption = (
            "Gains over the control; a fall counts as a gain where lower is better. "
            f"{even}Diamonds are the experiment's estimate."
        )
        blocks.append(Figure(figures.methods(result), says, caption))
        blocks += [Text(line) for line in gaps(result)]
        rows: list[list[str | Cell]] = [
            [
                estimate.method,
                estimate.arm,
                estimate.metric,
                Cell(percent(estimate.lift.value), _bracket(estimate.lift)),
            ]
            for estimate in drawn
        ]
        blocks.append(Table("What each method says", ["method", "arm", "metric", "gain"], rows))
        blocks.append(
            Bullets(
                list(dict.fromkeys(f"{estimate.method}: {estimate.note}" for estimate in drawn))
            )
        )
    else:
        blocks.append(Text(f"No estimate yet: {result.reason}."))
    for net in result.money:
        money = f"{net.a_month.value:,.0f} a month"
        between = (
            f" (between {net.a_month.low:,.0f} and {net.a_month.high:,.0f})"
            if math.isfinite(net.a_month.low)
            else ""
        )
        blocks.append(Text(f"Net value of {net.arm}: {money}{between}: {net.arithmetic}.", "lead"))
    if not result.money and drawn:
        blocks.append(
            Text(
                "Net value a month is not known: give --assessment with the worth of a decision "
                "and the costs of levels.",
                "quiet",
            )
        )
    return Section("gains", "What does it gain?", blocks)


def gaps(result: ExperimentResult) -> list[str]:
    """How far the experiment is from the backtest, of each arm."""
    lines = []
    for arm in dict.fromkeys(estimate.arm for estimate in result.axis):
        of_arm = [estimate for estimate in result.axis if estimate.arm == arm]
        before = next((estimate for estimate in of_arm if estimate.method == "backtest"), None)
        decisive = next(
            (
                estimate
                for estimate in of_arm
                if estimate.decides and math.isfinite(estimate.lift.value)
            ),
            None,
        )
        if before is None or decisive is None:
            continue
        gap = 100 * (decisive.lift.value - before.lift.value)
        metric_note = (
            ""
            if before.metric == decisive.metric
            else (
                f" The backtest's figure is of {wording.metric_label(before.metric)}, not of "
                f"{decisive.metric}."
            )
        )
        lines.append(
            f"{arm}: {percent(before.lift.value)} in the backtest, {percent(decisive.lift.value)} "
            "in "
            f"the experiment. The gap of {wording.number(gap, 1, signed=True)} points is "
            f"{UNSEEN}: a world that reacts, and chance.{metric_note}"
        )
    return lines


def _preference(result: ExperimentResult) -> list[Block]:
    preference = result.preference
    assert preference is not None
    share = preference.share
    if not math.isfinite(share.value):
        return [Text(f"No preference yet: {result.reason}.")]
    return [
        Text(
            f"{wording.share(share.value)} of {preference.units:,} users' clicks prefer "
            f"{preference.arm} (between {wording.share(share.low)} and "
            f"{wording.share(share.high)}; 50 % is not a preference, p {preference.p:.2g})."
        ),
        Text(
            "An interleaving says which ranking is preferred, never by how much: run an A/B test "
            "for the gain.",
            "quiet",
        ),
    ]


def health_section(result: ExperimentResult) -> Section:
    """The checks; a broken one blocks the verdict."""
    rows: list[list[str | Cell]] = [
        [line.check, Cell(line.status, "", _CHIPS[line.status]), line.evidence]
        for line in _worst_first(result.health)
    ]
    broken = sum(line.status == "broken" for line in result.health)
    summary = (
        f"{broken} broken: no verdict is given."
        if broken
        else "No check is broken; all together raise a false alarm in at most 1 % of experiments."
    )
    return Section(
        "health",
        "Can it be believed?",
        [Text(summary), Table("Checks of health", ["check", "", "evidence"], rows)] if rows else [],
    )


def _worst_first(lines: Sequence[HealthLine]) -> list[HealthLine]:
    return sorted(
        lines, key=lambda line: ["broken", "warning", "ok", "not checked"].index(line.status)
    )


def _over_time(result: ExperimentResult) -> Section:
    metrics = [metric for metric in result.deciding if metric.over_time]
    if not metrics:
        return Section("time", "", [])
    says = "; ".join(
        f"{metric.arm}: {percent(metric.over_time[-1].lift.value)} by {metric.over_time[-1].at}"
        for metric in metrics
    )
    caption = (
        "Bands are confidence sequences: they hold on all days together with "
        f"{1 - _alpha(result):.0%}, so the page may be opened at any time. The verdict uses the "
        "planned looks, whose intervals are narrower."
    )
    return Section(
        "time",
        "The lift over time",
        [Figure(figures.lift_over_time(metrics), says, caption)],
    )


def _alpha(result: ExperimentResult) -> float:
    value = result.plan.get("alpha", 0.05)
    return float(value) if isinstance(value, int | float) else 0.05


def guardrail_section(result: ExperimentResult) -> Section:
    """Each guardrail of each arm: its change, the accepted harm, and whether harm beyond that is
    excluded, shown or possible.
    """
    rows: list[list[str | Cell]] = []
    for metric in result.of_metric("guardrail"):
        assert metric.state is not None
        accepted = percent(-metric.margin if metric.higher_is_better else metric.margin)
        change, worst = (
            Cell(percent(metric.lift.value), metric.note or _bracket(metric.lift)),
            percent(metric.at_worst),
        )
        rows.append(
            [
                metric.metric,
                metric.arm,
                change,
                accepted,
                worst,
                Cell(metric.state, "", _RAIL_CHIPS[metric.state]),
            ]
        )
    table = Table(
        "Guardrails, by confidence sequences that hold at any time",
        ["guardrail", "arm", "change", "accepted", "at worst", "state"],
        rows,
    )
    text = (
        "Within: harm beyond the accepted margin is excluded. Worse: it is shown. Not proven: it "
        "is possible, and more units would tell."
    )
    return Section("guardrails", "Guardrails", [table, Text(text, "quiet")] if rows else [])


def guardrail_states(result: ExperimentResult) -> Iterator[tuple[str, str, str]]:
    """For each guardrail: its state, its label's class, and its name with how bad it may be."""
    for metric in result.of_metric("guardrail"):
        assert metric.state is not None
        worst = f", at worst {percent(metric.at_worst)}" if math.isfinite(metric.at_worst) else ""
        yield metric.state, _RAIL_CHIPS[metric.state], f"{metric.metric}, {metric.arm}{worst}"


def _other_metrics(result: ExperimentResult) -> Section:
    shown = [*result.deciding, *result.of_metric("metric")]
    rows = [_metric_row(metric) for metric in shown]
    headings: list[str | Cell] = [
        "metric",
        "arm",
        "control",
        "arm's value",
        "change",
        "units",
        "interval",
    ]
    return Section(
        "metrics",
        "Metrics",
        [Table("The first decides, the others do not", headings, rows)] if rows else [],
    )


def _metric_row(metric: MetricLift) -> list[str | Cell]:
    adjusted = "with CUPED" if metric.covariate else ""
    unknown = f"{metric.unknown:,} without outcome left out" if metric.unknown else ""
    return [
        metric.metric,
        metric.arm,
        f"{metric.control:.4g}" if math.isfinite(metric.control) else wording.NO_VALUE,
        f"{metric.treated:.4g}" if math.isfinite(metric.treated) else wording.NO_VALUE,
        Cell(percent(metric.lift.value), _bracket(metric.lift)),
        Cell(wording.count(metric.units), unknown),
        metric.note or ", ".join(filter(None, [metric.interval, adjusted])),
    ]


def _slices(result: ExperimentResult) -> Section:
    rows: list[list[str | Cell]] = [
        [
            part.slice,
            part.arm,
            Cell(percent(part.lift.value), _bracket(part.lift)),
            wording.count(part.units),
        ]
        for part in result.slices
    ]
    text = (
        "Exploratory: these parts were not planned, and each interval is of one look alone. Use "
        "them for the next question, not for this verdict."
    )
    return Section(
        "slices",
        "Parts of the units",
        [Text(text), Table("Lift by part", ["units", "arm", "change", "number"], rows)]
        if rows
        else [],
    )


def _arms(result: ExperimentResult) -> Section:
    rows: list[list[str | Cell]] = [
        [
            arm.name,
            arm.model,
            Cell(
                arm.level,
                f"trained at {arm.trained_level}: served staler than trained"
                if arm.allow_staler
                else "",
            ),
            wording.share(arm.weight),
            "" if arm.version is None else str(arm.version),
            wording.count(arm.units),
            wording.count(arm.matured),
        ]
        for arm in result.arms
    ]
    staler = [arm.name for arm in result.arms if arm.allow_staler]
    blocks: list[Block] = [
        Table(
            "Arms; the first is the control",
            ["arm", "model", "level", "weight", "version", "units", "final"],
            rows,
        )
    ]
    if staler:
        blocks.append(
            Text(
                f"allow_staler: {', '.join(staler)} serves a model that was trained at a fresher "
                "level than it is served at."
            )
        )
    return Section("arms", "Arms", blocks)


def _plan(result: ExperimentResult) -> Section:
    skipped = {"arms", "metrics", "guardrails", "experiment"}
    terms = [
        ("hash", result.digest),
        ("metrics", _words(result.plan.get("metrics"))),
        ("guardrails", _words(result.plan.get("guardrails")) or "none"),
    ]
    terms += [
        (name, _words(value))
        for name, value in result.plan.items()
        if name not in skipped and value is not None
    ]
    return Section(
        "plan",
        "The frozen plan",
        [Text(result.rule), Terms(terms), Text("Done since:"), Bullets(list(result.changes))],
    )


def _words(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _export(result: ExperimentResult) -> Section:
    blocks: list[Block] = []
    if result.schedule:
        rows: list[list[str | Cell]] = [
            [region, str(bucket), arm] for region, bucket, arm in result.schedule[:500]
        ]
        blocks.append(
            Table("Schedule, as served (the first 500 rows)", ["region", "bucket", "arm"], rows)
        )
    if result.left_out:
        counts = "; ".join(
            f"{wording.count(count)} {reason}" for reason, count in result.left_out.items()
        )
        blocks.append(Text(f"Not analysed: {counts}.", "quiet"))
    return Section("export", "Repeat it", blocks)
