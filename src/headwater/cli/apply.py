"""Write a project's definitions to the catalog, which pipelines use; destructive and breaking
changes need a flag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Arguments, Verb, option, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.catalog.plan import Plan
    from headwater.definitions.project import Project, StoredView


def run(args: Arguments, screen: Screen) -> None:
    """Apply, and print what changed."""
    project = load(args.project).project
    from headwater.catalog.plan import apply
    from headwater.models.registry import ModelRegistry

    plan = apply(
        project,
        args.catalog,
        allow_destroy=args.allow_destroy,
        allow_breaking=args.allow_breaking,
        expect=args.expect,
        registry=ModelRegistry(args.models),
        store=args.store,
    )
    screen.show(str(plan), plan.to_dict())
    screen.say("nothing to apply" if plan.applied is None else f"applied: version {plan.applied}")
    _lead_on(project, plan, args, screen)


def _lead_on(project: Project, plan: Plan, args: Arguments, screen: Screen) -> None:
    """Print the commands that compute missing state, and train what no longer fits; an ingestion
    that runs has to be restarted instead.
    """
    from headwater.definitions.level import AS_DEFINED, at_level
    from headwater.definitions.project import stored
    from headwater.monitoring.unfilled import PASSED_OVER

    missing = [view for view in stored(project) if view.name in plan.needs_backfill]
    same = ["--project", args.project, *options.same_catalog(args)]
    if any(view.view.freshness.scheduled for view in missing):
        screen.next("headwater", "materialize", *same)
    for variant in project.variants:
        if at_level(variant.model.name, variant.name) in plan.unserved:
            level = [] if variant.name == AS_DEFINED else ["--level", variant.name]
            screen.next(
                "headwater",
                "train",
                "--model",
                variant.model.name,
                *level,
                "--project",
                args.project,
                *options.same_models(args),
            )
    streamed = [view for view in missing if not view.view.freshness.scheduled]
    running = _passed_over(project, args.store, streamed)
    if streamed and not running:
        screen.next("headwater", "ingest", *same)
    if running:
        screen.say(f"view {', '.join(running)}: {PASSED_OVER}")


def _passed_over(project: Project, store: str | None, streamed: Sequence[StoredView]) -> list[str]:
    """The views that the ingestion which runs now does not fill. store: its URL."""
    from headwater import clock
    from headwater.errors import HeadwaterError
    from headwater.monitoring.unfilled import passed_over
    from headwater.stores.keyspace import opened_for

    try:
        with opened_for(project.name, store, readonly=True) as opened:
            return [
                view.name for view in streamed if passed_over(view.view, opened, clock.now_micros())
            ]
    except HeadwaterError:  # no store exists yet, or another machine has it
        return []


COMMAND = Verb(
    run,
    [
        *options.project(model=False),
        *options.catalog(),
        *options.models(),
        options.store()[0],
        *options.reads(),
        switch("--allow-destroy", help="remove from the catalog what the project no longer has"),
        switch("--allow-breaking", help="remove or change what models still read"),
        option(
            "--expect",
            metavar="VERSION",
            type=int,
            help="fail if the catalog has another version than the plan",
        ),
        *options.as_json(),
    ],
    help=__doc__,
    examples=[
        "headwater apply",
        "headwater apply --expect 4  # only if that is still the version in the catalog",
    ],
)
