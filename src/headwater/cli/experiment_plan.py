"""Plan an experiment, and start it: what its arms need, what it can find, and the frozen plan."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from headwater import clock
from headwater.cli import experiment_options, options
from headwater.cli.command import Arguments, Verb, option, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import HeadwaterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from headwater.results.planned_experiment import HistorySplit, PlannedExperiment


def plan(args: Arguments, screen: Screen) -> None:
    """Show what an experiment needs and can find; nothing is written."""
    project = load(args.project).project
    from headwater.experiments.experiment_planning import plan_experiment

    with screen.working("reading history"):
        planned = plan_experiment(
            project,
            args.name,
            places=experiment_options.places_of(args),
            at=_at(args),
            break_even=args.break_even,
        )
    screen.show(_table(planned), {**planned.to_dict(), "ready": planned.ready})
    for warning in planned.warnings:
        screen.warning(warning)
    for note in planned.notes:
        screen.say(note)
    same = experiment_options.same(args)
    missing = next((need for need in planned.missing if need.command), None)
    if missing is not None:
        screen.next(
            *shlex.split(missing.command),
            "--project",
            args.project,
            *_location_options(missing.command, args),
        )
    elif planned.refused:
        screen.say(f"cannot start: {'; '.join(planned.refused)}")
    elif planned.running is not None:
        screen.next("headwater", "experiment", "status", args.name, *same)
    else:
        screen.next(
            "headwater", "experiment", "start", args.name, *same, "--expect-plan", planned.digest
        )
    if args.check and not planned.ready:
        raise HeadwaterError(
            f"experiment {args.name!r} cannot start yet: {len(planned.missing)} needs are "
            f"missing, {len(planned.refused)} reasons against it"
        )


def start(args: Arguments, screen: Screen) -> None:
    """Freeze and start."""
    project = load(args.project).project
    from headwater.experiments.experiment_lifecycle import start_experiment

    with screen.working("reading history"):
        started = start_experiment(
            project,
            args.name,
            by=experiment_options.author_of(args),
            places=experiment_options.places_of(args),
            break_even=args.break_even,
            expect=args.expect_plan,
            accept_missing=args.accept_missing,
        )
    frozen = started.plan
    enrolled = f"{frozen.enrolled[0]:.0%} of units take part" + (
        f", rising to {frozen.enrolled[-1]:.0%} in stages" if len(frozen.enrolled) > 1 else ""
    )
    screen.say(
        f"experiment {args.name}, version {frozen.version}, started: plan {frozen.digest}; "
        f"{enrolled}"
    )
    from headwater.definitions.checks import timestamp_text

    screen.show_json(
        {
            "experiment": args.name,
            "version": frozen.version,
            "plan": frozen.digest,
            "start": timestamp_text(frozen.start),
            "end": timestamp_text(frozen.end),
            "enrolled": list(frozen.enrolled),
            "arms": [
                {"arm": arm.name, "model": arm.model, "level": arm.level, "version": arm.version}
                for arm in frozen.arms
            ],
            "units_needed": frozen.units_needed,
        }
    )
    same = experiment_options.same(args)
    if args.watch:
        from headwater.cli.experiment_ramp import watch

        watch(project, args, screen)
        return
    action = (
        ("ramp", args.name, *same, "--watch")
        if len(frozen.enrolled) > 1
        else ("status", args.name, *same)
    )
    screen.next("headwater", "experiment", *action)


def _at(args: Arguments) -> int | None:
    at = options.timestamp(args.at, "--at")
    return None if at is None else clock.micros(at)


def _location_options(command: str, args: Arguments) -> list[str]:
    """Where the command that makes something puts it."""
    return (
        options.same_models(args)
        if command.startswith("headwater train")
        else options.same_store(args)
    )


def _table(planned: PlannedExperiment) -> RenderableType:
    from headwater.terminal.layout import Group, Shown, ShownTable

    needs = [(need.arm, need.what, need.state, need.note, need.command) for need in planned.needs]
    looks = [(f"{look.information:.0%}", look.at, f"{look.bound:.2f}") for look in planned.looks]
    by_units = planned.power is not None and planned.power.units_needed is not None
    share = "of the planned units" if by_units else "of the planned time"
    return Group(
        Shown("\n".join(_head(planned))),
        ShownTable("What each arm needs", ["arm", "needs", "state", "note", "made by"], needs),
        *(
            [
                ShownTable(
                    "Looks",
                    [share, "expected at" if by_units else "at", "stops if |z| exceeds"],
                    looks,
                )
            ]
            if looks
            else []
        ),
        *(Shown(line) for line in _power(planned)),
        *([] if planned.power is None else [_lengths(planned)]),
        *(Shown(line) for line in _split(planned.split)),
    )


def _lengths(planned: PlannedExperiment) -> RenderableType:
    """Power by the length of the experiment."""
    from headwater.terminal.layout import ShownTable

    power = planned.power
    assert power is not None
    sizes = {"switchback": "buckets in each arm", "cluster": "clusters in each arm"}.get(
        planned.kind, "units in each arm"
    )
    rows = [
        (
            f"{at.days:g} days",
            f"{at.units:,.0f}",
            f"{at.power:.0%}",
            _lift(at.smallest_lift, digits=2 if at.smallest_lift < 0.1 else 0),
        )
        for at in power.by_length
    ]
    return ShownTable(
        "Power by length",
        ["length", sizes, f"finds a lift of {power.min_lift:.1%} in", "smallest lift found"],
        rows,
    )


def _lift(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}%}" if value < 10 else "none"


def _head(planned: PlannedExperiment) -> Iterator[str]:
    from headwater.pages.wording import duration
    from headwater.results.experiment_result import design

    yield (
        f"experiment {planned.experiment}, version {planned.version}: "
        f"{design(planned.kind, planned.unit, planned.columns)}"
    )
    yield "arms: " + "; ".join(f"{name} ({text})" for name, text in planned.arms.items())
    if planned.looks:
        guarded = f"; guardrails {', '.join(planned.guardrails)}" if planned.guardrails else ""
        yield (
            f"decides: {planned.metrics[0]}"
            + (f"; also {', '.join(planned.metrics[1:])}" if planned.metrics[1:] else "")
            + guarded
        )
    stages = " -> ".join(f"{share:.0%}" for share in planned.enrolled)
    yield f"from {planned.start} to {planned.end}; enrols {stages}" + (
        f", each at least {duration(3600 * planned.stage_hours)}"
        if len(planned.enrolled) > 1
        else ""
    )
    yield f"plan: {planned.digest or 'cannot be frozen yet'}" + (
        f"; version {planned.running} is running" if planned.running else ""
    )


def _power(planned: PlannedExperiment) -> Iterator[str]:
    power = planned.power
    if power is None:
        return
    subject = {"switchback": "a region's bucket", "cluster": "a cluster"}.get(
        planned.kind, "a unit"
    )
    cuped = (
        ""
        if power.without_cuped == power.variation
        else f" ({power.without_cuped:.3g} without CUPED)"
    )
    yield (
        f"History: {power.days_of_history:g} days of {power.source}, {power.a_day:,.0f} new units "
        f"a day. {power.metric} has the mean {power.mean:.4g}; the standard deviation of {subject} "
        "is "
        f"{power.variation:.3g} times the mean{cuped}."
    )
    yield (
        f"By the planned end: {power.design}. A lift of {power.min_lift:.1%} is then found in "
        f"{power.power_planned:.0%} of such experiments. The smallest lift found as often as "
        f"planned is {_lift(power.smallest_lift)}."
    )
    needed = (
        "" if power.units_needed is None else f", with {power.units_needed:,} units in each arm"
    )
    if power.days is not None:
        yield (
            f"To find {power.min_lift:.1%} as often as planned takes {power.days:.0f} days{needed}."
        )
    elif power.units_needed is not None:
        yield (
            f"To find {power.min_lift:.1%} as often as planned takes {power.units_needed:,} units "
            "in each arm, more than history ever shows."
        )
    else:
        yield (
            f"No length finds {power.min_lift:.1%} as often as planned: take more clusters or "
            "regions, or a larger min_lift."
        )


def _split(split: HistorySplit | None) -> Iterator[str]:
    if split is not None:
        yield (
            "A/A test on history: the experiment's own split "
            f"{'differs' if split.differs else 'does not differ'} before any arm acts (p "
            f"{split.p:.2g}, {split.metric}). {split.rejected:.1%} of {split.splits} random "
            "splits have a p below .05."
        )


_BREAK_EVEN = option(
    "--break-even",
    metavar="GAIN",
    type=float,
    default=0.0,
    help="the relative gain that pays for the fresher arm, by `headwater assess cost`",
)

PLAN = Verb(
    plan,
    [
        experiment_options.name(),
        *options.project(model=False),
        *experiment_options.places(),
        _BREAK_EVEN,
        option(
            "--at",
            metavar="TIME",
            help=(
                "plan a start at this time, from the history before it: ISO 8601 with an offset "
                "(default: now)"
            ),
        ),
        switch("--check", help="end with 1 where it cannot start yet"),
        *options.as_json(),
    ],
    help=(
        "Show what an experiment needs, what it can find by its history, and the hash of its "
        "plan. Nothing is written."
    ),
    summary="what it needs, its power from history, an A/A test",
    examples=["headwater experiment plan fresh_features"],
)
START = Verb(
    start,
    [
        experiment_options.name(),
        *options.project(model=False),
        *experiment_options.places(),
        _BREAK_EVEN,
        *experiment_options.author(),
        option(
            "--expect-plan",
            metavar="HASH",
            help="fail if the plan is another than the one that was looked at",
        ),
        switch(
            "--accept-missing",
            help="start although views are missing in the online store; models must be there",
        ),
        switch(
            "--watch",
            help=(
                "stay, and raise the enrolment stage by stage, as `headwater experiment ramp "
                "--watch` does"
            ),
        ),
        *options.as_json(),
    ],
    help="Freeze the plan of an experiment and start it. A running service takes it up by itself.",
    summary="freeze the plan and start",
    examples=["headwater experiment start fresh_features"],
)
