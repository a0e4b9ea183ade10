"""Raise the enrolment of an experiment stage by stage, and stop it where a guardrail or a health
check breaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater import clock
from headwater.cli import experiment_options, options
from headwater.cli.command import Arguments, Verb, option, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.cli.signals import stopped_where
from headwater.definitions.checks import micros
from headwater.errors import HeadwaterError

if TYPE_CHECKING:
    from headwater.definitions.project import Project
    from headwater.experiments.experiment_ramp import RampStep

_EVERY = "10m"


def run(args: Arguments, screen: Screen) -> None:
    """Decide once, or until nothing is left to do."""
    project = load(args.project).project
    if args.watch:
        watch(project, args, screen)
        return
    step = _once(project, args, screen)
    if step.action == "stop":
        screen.next("headwater", "experiment", "analyse", args.name, *experiment_options.same(args))
        raise HeadwaterError(f"experiment {args.name!r} was stopped: {step.reason}")
    screen.next("headwater", "experiment", "status", args.name, *experiment_options.same(args))


def watch(project: Project, args: Arguments, screen: Screen) -> None:
    """Decide again and again, until the experiment ends or is stopped; an error is shown, and tried
    again.
    """
    every = micros(getattr(args, "every", None) or _EVERY, "--every")
    with stopped_where(watching=True) as stop:
        while not stop.is_set():
            try:
                step = _once(project, args, screen)
            except HeadwaterError as error:
                screen.error(f"{args.name}: {error}; the enrolment stays as it is")
                step = None
            if step is not None and step.action == "stop":
                raise HeadwaterError(f"experiment {args.name!r} was stopped: {step.reason}")
            if step is not None and step.action == "done":
                return
            options.wait_until(clock.now_micros() + every, stop)


def _once(project: Project, args: Arguments, screen: Screen) -> RampStep:
    from headwater.experiments.experiment_planning import ExperimentPlaces
    from headwater.experiments.experiment_ramp import ramp

    step = ramp(
        project,
        args.name,
        places=ExperimentPlaces(models=args.models, data_dir=options.data_dir(args)),
    )
    words = {
        "raise": f"raised to {step.enrolled:.0%}",
        "hold": f"stays at {step.enrolled:.0%}",
        "stop": "stopped",
        "done": "nothing to do",
    }
    screen.say(f"{args.name}: {words[step.action]}: {step.reason}")
    screen.show_json(step.to_dict())
    return step


COMMAND = Verb(
    run,
    [
        experiment_options.name(),
        *options.project(model=False),
        *options.models(),
        *options.logs(),
        switch(
            "--watch",
            help="stay, and decide again and again until the experiment ends or is stopped",
        ),
        option(
            "--every",
            metavar="TIME",
            default=_EVERY,
            help="with --watch, how often to look (default: {default})",
        ),
        *options.as_json(),
    ],
    help=(
        "Raise the enrolment of an experiment by one stage where guardrails and health hold, or "
        "stop it where they do not. From cron, or with --watch."
    ),
    summary="raise the enrolment, or stop where it does harm",
    examples=[
        "headwater experiment ramp fresh_features",
        "headwater experiment ramp fresh_features --watch",
    ],
)
