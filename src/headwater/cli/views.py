"""List the versions of views, promote one, or roll back to the previous one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Actions, Arguments, Positional, Verb
from headwater.cli.projects import load
from headwater.cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from headwater.monitoring.view_version_status import ViewVersion


def promote(args: Arguments, screen: Screen) -> None:
    """Let the bare name of a view read a version from now on."""
    project = load(args.project).project
    from headwater.definitions.view_versions import chosen_versions
    from headwater.monitoring.view_version_status import check_filled, promote_view

    ((view, number),) = chosen_versions(project.view_versions, [args.version], project.name).items()
    check_filled(project, view, number, store=args.store, models=args.models)
    if _agreed(args, screen, view, number):
        promote_view(project, args.version, store=args.store, models=args.models)
        _read(screen, view, number)


def rollback(args: Arguments, screen: Screen) -> None:
    """Let the bare name of a view read the previous version."""
    project = load(args.project).project
    from headwater.models.promoted_views import PromotedViews
    from headwater.models.registry import ModelRegistry
    from headwater.monitoring.view_version_status import rollback_view

    if _agreed(
        args,
        screen,
        args.view,
        PromotedViews(project, ModelRegistry(args.models)).before(args.view),
    ):
        _read(
            screen,
            args.view,
            rollback_view(project, args.view, store=args.store, models=args.models),
        )


def _agreed(args: Arguments, screen: Screen, view: str, number: int) -> bool:
    """Whether to go on; says what would be done where not."""
    if args.dry_run:
        screen.show(
            f"{view} would read {view}@{number}", {"view": view, "version": number, "dry_run": True}
        )
        return False
    if not options.confirmed(
        args, screen, f"Read {view}@{number} by the name {view} from now on?", undoable=True
    ):
        screen.say("nothing was changed")
        return False
    return True


def _read(screen: Screen, view: str, number: int) -> None:
    screen.say(
        f"{view} reads {view}@{number} from now on; fitted models read the version that they were "
        "trained on"
    )
    screen.show_json({"view": view, "version": number, "promoted": True})


def list_versions(args: Arguments, screen: Screen) -> None:
    """Every version of every view that has several."""
    project = load(args.project).project
    from headwater.monitoring.view_version_status import view_versions

    versions = view_versions(project, store=args.store, models=args.models)
    if versions:
        screen.show(_table(versions), {"versions": [version.to_dict() for version in versions]})
    else:
        screen.show_json({"versions": []})
        screen.say(
            f"no view of project {project.name} has several versions; give the project "
            "versions=[...]"
        )


def _table(versions: Sequence[ViewVersion]) -> RenderableType:
    from headwater.terminal.layout import ShownTable

    rows = []
    for version in versions:
        states = list(version.state.values())
        alike = (
            states[0]
            if len(set(states)) == 1
            else ", ".join(f"{name} {state}" for name, state in version.state.items())
        )
        rows.append(
            [
                version.view,
                version.version,
                "read" if version.promoted else "",
                alike,
                "; ".join(version.models),
            ]
        )
    return ShownTable("", ["view", "version", "by name", "state", "read by"], rows)


_COMMON = [*options.project(model=False), *options.store(), *options.models()]
_LIST = Verb(
    list_versions,
    [*_COMMON, *options.as_json()],
    help=__doc__,
    summary="list every version (default)",
    examples=["headwater views", "headwater views list --json"],
)

COMMAND = Actions(
    {
        "list": _LIST,
        "promote": Verb(
            promote,
            [
                Positional(
                    "version", metavar="VERSION", help="a view and its version, such as user@2"
                ),
                *_COMMON,
                *options.confirmation("read"),
                *options.as_json(),
            ],
            help="Let the bare name of a view read a version from now on.",
            summary="read a version by the view's name",
            examples=["headwater views promote user@2"],
        ),
        "rollback": Verb(
            rollback,
            [
                Positional("view", metavar="VIEW", help="the name of a view"),
                *_COMMON,
                *options.confirmation("read"),
                *options.as_json(),
            ],
            help=(
                "Let the bare name of a view read the previous version; repeated, the one before "
                "it."
            ),
            summary="read the previous version",
            examples=["headwater views rollback user"],
        ),
    },
    help=__doc__,
    default=_LIST,
)
