"""Write a project's definitions to the catalog, which pipelines use; destructive and breaking changes need a flag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Arguments, Verb, option, switch
from headwater.cli.plan import lines
from headwater.cli.projects import load
from headwater.cli.screen import Screen

if TYPE_CHECKING:
    from headwater.catalog.plan import Plan
    from headwater.definitions.project import Project


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
    )
    screen.show(lines(str(plan)), plan.to_dict())
    screen.say("nothing to apply" if plan.applied is None else f"applied: version {plan.applied}")
    for verb in _next(project, plan):
        screen.next("headwater", verb, "--project", args.project, *options.same_catalog(args))


def _next(project: Project, plan: Plan) -> list[str]:
    """The commands that compute missing state."""
    from headwater.definitions.served_views import stored

    batch = [view.view.freshness.scheduled for view in stored(project) if view.name in plan.needs_backfill]
    return [verb for verb, needed in (("materialize", any(batch)), ("ingest", not all(batch))) if needed]


COMMAND = Verb(
    run,
    [
        *options.project(model=False),
        *options.catalog(),
        *options.models(),
        *options.reads(),
        switch("--allow-destroy", help="remove from the catalog what the project no longer has"),
        switch("--allow-breaking", help="remove or change what models still read"),
        option("--expect", metavar="VERSION", type=int, help="fail if the catalog has another version than the plan"),
        *options.as_json(),
    ],
    help=__doc__,
    examples=["headwater apply", "headwater apply --expect 4  # only if that is still the version in the catalog"],
)
