"""How experiments stand, and stopping one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from headwater.cli import experiment_options, options
from headwater.cli.command import Arguments, Positional, Verb, option
from headwater.cli.projects import load
from headwater.cli.screen import Screen

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.results.planned_experiment import ExperimentStatus


def status(args: Arguments, screen: Screen) -> None:
    """One experiment, or all that were started."""
    project = load(args.project).project
    from headwater.experiments.experiment_lifecycle import experiment_status
    from headwater.experiments.experiment_planning import ExperimentPlaces
    from headwater.models.experiment_store import ExperimentStore

    places = ExperimentPlaces(models=args.models, data_dir=options.data_dir(args))
    same = experiment_options.same(args)
    if args.name:
        statuses = [experiment_status(project, args.name, places=places)]
        screen.show(_table(statuses), statuses[0].to_dict())
    else:
        names = {e.name for e in project.experiments}
        started = [
            e.plan.experiment
            for e in ExperimentStore(places.models).started()
            if e.plan.project in ("", project.name)
        ]
        statuses = [
            experiment_status(project, name, places=places) for name in sorted(set(started))
        ]
        waiting = sorted(names - set(started))
        data = {"experiments": [status.to_dict() for status in statuses], "not_started": waiting}
        screen.show(_table(statuses) if statuses else "no experiment was started", data)
        if waiting:
            screen.next("headwater", "experiment", "plan", waiting[0], *same)
            return
        if not statuses:
            screen.say(
                "the project defines no experiment; give it hw.Project(..., "
                "experiments=[hw.Experiment(...)])"
            )
            return
    running = [status for status in statuses if status.state == "running"]
    ramped = next((status for status in running if status.stage < status.stages), None)
    if ramped is not None:
        screen.next("headwater", "experiment", "ramp", ramped.experiment, *same)
    else:
        screen.next("headwater", "experiment", "analyse", statuses[0].experiment, *same)


def stop(args: Arguments, screen: Screen) -> None:
    """Stop, and keep the reason."""
    project = load(args.project).project
    from headwater.experiments.experiment_lifecycle import stop_experiment

    stopped = stop_experiment(
        project,
        args.name,
        reason=args.reason,
        by=experiment_options.author_of(args),
        models=args.models,
    )
    screen.say(
        f"experiment {args.name}, version {stopped.plan.version}, is stopped: its units get the "
        "default from now on"
    )
    screen.show_json(
        {
            "experiment": args.name,
            "version": stopped.plan.version,
            "plan": stopped.plan.digest,
            "reason": args.reason,
        }
    )
    screen.next("headwater", "experiment", "analyse", args.name, *experiment_options.same(args))


def _table(statuses: list[ExperimentStatus]) -> RenderableType:
    from headwater.terminal.layout import Group, Shown, ShownTable

    rows = [
        (
            status.experiment,
            str(status.version),
            status.state,
            f"{status.stage} of {status.stages}, {status.enrolled:.0%}",
            ", ".join(f"{arm} {count:,}" for arm, count in status.units.items()),
            f"{sum(status.exposed.values()):,}",
            "" if math.isnan(status.matured) else f"{status.matured:.0%}",
            status.next_look,
        )
        for status in statuses
    ]
    headings = [
        "experiment",
        "version",
        "state",
        "stage, enrolled",
        "units",
        "exposures",
        "matured",
        "next look",
    ]
    lines = [
        Shown(f"{status.experiment}: health {status.health}")
        for status in statuses
        if status.health
    ]
    lines += [
        Shown(f"{status.experiment}: {status.awaited}") for status in statuses if status.awaited
    ]
    lines += [
        Shown(f"{status.experiment} was stopped: {status.stopped_because}")
        for status in statuses
        if status.stopped_because
    ]
    return Group(ShownTable("experiments", headings, rows), *lines)


STATUS = Verb(
    status,
    [
        Positional(
            "name",
            metavar="[NAME]",
            required=False,
            help="of an experiment (default: all that were started)",
        ),
        *options.project(model=False),
        *options.models(),
        *options.logs(),
        *options.as_json(),
    ],
    help="Show the stage, exposures by arm, maturity, next look and health of experiments.",
    summary="stage, exposures by arm, next look, health",
    examples=["headwater experiment status"],
)
STOP = Verb(
    stop,
    [
        experiment_options.name(),
        *options.project(model=False),
        *options.models(),
        *options.logs(),
        option("--reason", metavar="TEXT", required=True, help="why, for the record"),
        *experiment_options.author(),
        *options.as_json(),
    ],
    help=(
        "Stop an experiment: its units get the default from now on. Outcomes that mature later "
        "still count."
    ),
    summary="stop, with a reason",
    examples=["headwater experiment stop fresh_features --reason 'the campaign has ended'"],
)
