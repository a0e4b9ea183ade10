"""Show what applying a project would change: what is added, changed and removed, what it breaks and what must be computed again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Given, Verb, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import HeadwaterError

if TYPE_CHECKING:
    from rich.console import RenderableType


def run(given: Given, screen: Screen) -> None:
    """Compare and print."""
    project = load(given.project).project
    from headwater.catalog.plan import plan
    from headwater.models.registry import ModelRegistry

    made = plan(project, given.catalog, registry=ModelRegistry(given.models))
    screen.show(lines(str(made)), made.to_dict())
    if made.changes and not made.refused:
        screen.next(
            "headwater",
            "apply",
            "--project",
            given.project,
            *options.same_catalog(given),
            *options.same_models(given),
            "--expect",
            str(made.version),
        )
    if given.check and (made.changes or made.refused):
        refused = f", and {len(made.refused)} would be refused" if made.refused else ""
        raise HeadwaterError(f"{given.project} and the catalog differ in {len(made.changes)} definitions{refused}")


def lines(text: str) -> RenderableType:
    """Lines that keep their indent where they are folded."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    return Group(*(Padding(Text(line.lstrip()), (0, 0, 0, len(line) - len(line.lstrip())), expand=False) for line in text.splitlines()))


COMMAND = Verb(
    run,
    [
        *options.project(model=False),
        *options.catalog(),
        *options.models(),
        switch("--check", help="end with 1 where the project differs from the catalog, or would be refused"),
        *options.as_json(),
    ],
    help=__doc__,
)
