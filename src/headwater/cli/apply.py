"""Make a project's definitions those of the catalog, which pipelines run by; what would destroy or break needs a flag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Given, Verb, option, switch
from headwater.cli.plan import lines
from headwater.cli.projects import load
from headwater.cli.screen import Screen

if TYPE_CHECKING:
    from headwater.catalog.plan import Plan
    from headwater.definitions.project import Project


def run(given: Given, screen: Screen) -> None:
    """Apply, and print what changed."""
    project = load(given.project).project
    from headwater.catalog.plan import apply
    from headwater.models.registry import ModelRegistry

    made = apply(
        project,
        given.catalog,
        allow_destroy=given.allow_destroy,
        allow_breaking=given.allow_breaking,
        expect=given.expect,
        registry=ModelRegistry(given.models),
    )
    screen.show(lines(str(made)), made.to_dict())
    screen.say("nothing to apply" if made.applied is None else f"applied: version {made.applied}")
    for verb in _next(project, made):
        screen.next("headwater", verb, "--project", given.project, *options.same_catalog(given))


def _next(project: Project, made: Plan) -> list[str]:
    """What computes the state that is missing."""
    from headwater.definitions.served_views import stored

    batch = [one.view.freshness.scheduled for one in stored(project) if one.name in made.needs_backfill]
    return [verb for verb, wanted in (("materialize", any(batch)), ("ingest", not all(batch))) if wanted]


COMMAND = Verb(
    run,
    [
        *options.project(model=False),
        *options.catalog(),
        *options.models(),
        switch("--allow-destroy", help="remove from the catalog what the project no longer has"),
        switch("--allow-breaking", help="let go or change what models still read"),
        option("--expect", metavar="VERSION", type=int, help="stop where the catalog has another version than the plan looked at"),
        *options.as_json(),
    ],
    help=__doc__,
)
