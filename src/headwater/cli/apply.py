"""Make a project's definitions those of the catalog, which pipelines run by; what would destroy or break needs a flag."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.plan import lines
from headwater.cli.projects import load
from headwater.cli.screen import Screen

if TYPE_CHECKING:
    from headwater.definitions.project import Project
    from headwater.pipelines.plan import Plan

SUMMARY = "make the project's definitions those that pipelines run"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `headwater apply`."""
    options.project(parser, model=False)
    options.catalog(parser)
    options.models(parser)
    parser.add_argument("--allow-destroy", action="store_true", help="remove from the catalog what the project no longer has")
    parser.add_argument("--allow-breaking", action="store_true", help="let go or change what models still read")
    parser.add_argument("--expect", type=int, metavar="VERSION", help="stop where the catalog has another version than the plan looked at")
    options.as_json(parser)


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Apply, and print what changed."""
    project = load(given.project).project
    from headwater.models.registry import ModelRegistry
    from headwater.pipelines.plan import apply

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
    from headwater.pipelines.arms import stored

    batch = [one.view.freshness.scheduled for one in stored(project) if one.name in made.needs_backfill]
    return [verb for verb, wanted in (("materialize", any(batch)), ("ingest", not all(batch))) if wanted]
