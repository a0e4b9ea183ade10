"""`headwater watch --lift`: lift by freshness over time, for the served model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Arguments, Flag, option, section, several, switch
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.cli.projects import LoadedProject
    from headwater.experiments.level_comparison import LevelLift
    from headwater.results.estimate import Estimate


def flags() -> list[Flag]:
    """The options of lift by freshness."""
    return section(
        "Lift by freshness",
        [
            switch(
                "--lift",
                help=(
                    "show what each level would have given for the served requests; trains a "
                    "model for each level and view"
                ),
            ),
            option(
                "--since",
                metavar="TIME",
                help=(
                    "requests from then on: ISO 8601 with an offset (default: 140 days before --at)"
                ),
            ),
            switch("--no-views", help="compare levels only: no model for each view"),
            several(
                "--break-even-of",
                metavar="[NAME=]VALUE",
                help="the least lift worth its cost, of a level or view, or of all",
            ),
            several(
                "--cost",
                metavar="NAME=MONEY",
                help="what a level or view costs a day, for what a change saves",
            ),
            option(
                "--maturity",
                metavar="DURATION",
                help="how long after a request its outcome may come, where the labels do not say",
            ),
        ],
    )


def lift(args: Arguments, loaded: LoadedProject, screen: Screen) -> LevelLift:
    """Compute lift by freshness, and keep it for metrics."""
    from headwater.experiments.level_comparison import level_lift
    from headwater.experiments.monitored_rows import LiftOptions
    from headwater.models.latest_results import LATEST_LEVEL_LIFT
    from headwater.models.registry import ModelRegistry

    project, evens = loaded.project, _numbers(args.break_even_of, "--break-even-of", all_of=True)
    lift_options = LiftOptions(
        served=args.level,
        evaluation=project.evaluation,
        break_even=evens.pop("") if set(evens) == {""} else evens or None,
        costs=_numbers(args.cost, "--cost"),
        experiments=_experiments(args, loaded),
        views=not args.no_views,
        maturity=args.maturity,
        models=len(project.models),
        project=project.name,
        store=args.store,
    )
    since = options.timestamp(args.since, "--since")
    at = options.timestamp(args.at, "--at")
    with screen.progress() as on_progress:
        lifts = level_lift(
            project.model(args.model),
            loaded.levels(),
            data_dir=options.data_dir(args),
            models=args.models,
            since=since,
            until=at,
            options=lift_options,
            resources=options.resources(args, on_progress),
        )
    LATEST_LEVEL_LIFT.write(
        ModelRegistry(args.models), lifts.result.model, lifts.result.served, lifts.result
    )
    return lifts


def _experiments(args: Arguments, loaded: LoadedProject) -> dict[str, Estimate]:
    """The latest kept analysis of each experiment of the model, by the level of the arm."""
    from headwater.kept_runs.runs import runs
    from headwater.results.experiment_result import ExperimentResult

    model = loaded.project.model(args.model).name
    estimates: dict[str, Estimate] = {}
    found_runs = runs(options.data_dir(args), kind="experiment")
    for name in dict.fromkeys(record.subject for record in found_runs.records):
        result = found_runs[
            next(record.id for record in found_runs.records if record.subject == name)
        ].result
        if not isinstance(result, ExperimentResult) or result.project != loaded.project.name:
            continue
        levels = {arm.name: arm.level for arm in result.arms if arm.model == model}
        estimates |= {
            levels[metric.arm]: metric.lift
            for metric in result.deciding
            if metric.arm in levels and math.isfinite(metric.lift.value)
        }
    return estimates


def _numbers(texts: tuple[str, ...], flag: str, *, all_of: bool = False) -> dict[str, float]:
    """NAME=VALUE pairs; a value without a name is that of "", where `all_of` allows it."""
    numbers: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        try:
            numbers[name] = float(value)
        except ValueError:
            numbers[name] = -1.0
        if not 0 <= numbers[name] < float("inf") or not (equals or all_of):
            raise UsageError(
                f"{flag} {text!r}: give {'VALUE or ' if all_of else ''}NAME=VALUE with a number "
                "of 0 or more"
            )
    if "" in numbers and len(numbers) > 1:
        raise UsageError(f"{flag} is given for all and by name; give one of the two")
    return numbers
