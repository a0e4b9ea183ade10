"""List the versions of fitted models, choose the one that is served, or go back to the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Actions, Given, Positional, Verb
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.models.registry import ModelRegistry, Version


def promote(given: Given, screen: Screen) -> None:
    """Serve a version from now on."""
    if not given.version.isdecimal():
        raise UsageError(f"VERSION is {given.version!r}; give a whole number, as `headwater models` lists them")
    registry, model, level = _arm(given)
    _served(registry.promote(int(given.version), model, level), screen)


def rollback(given: Given, screen: Screen) -> None:
    """Serve the version that was served before."""
    registry, model, level = _arm(given)
    before = registry.before(model, level)
    if given.dry_run:
        screen.show(f"would serve {before}", {**_said(before, current=False), "dry_run": True})
        return
    if not options.confirmed(given, f"Serve {before} from now on?", undoable=True):
        screen.say("nothing was changed")
        return
    _served(registry.rollback(model, level), screen)


def _arm(given: Given) -> tuple[ModelRegistry, str, str]:
    """The registry, and the names of the model and the level that are meant."""
    from headwater.definitions.arm import AS_DEFINED
    from headwater.models.registry import ModelRegistry

    return ModelRegistry(given.models), load(given.project).project.model(given.model).name, given.level or AS_DEFINED


def _served(version: Version, screen: Screen) -> None:
    screen.say(f"{version} is served from now on")
    screen.show_json(_said(version, current=True))


def list_versions(given: Given, screen: Screen) -> None:
    """Every version of every model, or of one."""
    from headwater.models.registry import ModelRegistry

    registry = ModelRegistry(given.models)
    arms = [(m, level) for m, level in registry.arms() if given.model in (None, m) and given.level in (None, level)]
    found = []
    for model, level in arms:
        current = registry.current(model, level).number
        found += [(version, version.number == current) for version in registry.versions(model, level)]
    screen.show(
        _table(found), {"folder": str(registry.folder), "versions": [_said(version, current=is_current) for version, is_current in found]}
    )
    if not found:
        screen.next("headwater", "train", "--project", given.project)


def _said(version: Version, *, current: bool) -> dict[str, object]:
    manifest = version.manifest
    return {
        "model": version.model,
        "level": version.level,
        "version": version.number,
        "current": current,
        "created_at": manifest.created_at,
        "until": manifest.until,
        "rows": manifest.rows,
        "estimator": manifest.estimator,
        "metrics": manifest.metrics,
        "folder": str(version.folder),
    }


def _table(found: list[tuple[Version, bool]]) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table("model", "level", "version", "made", "rows", "measured", "estimator", box=box.SIMPLE_HEAD, show_edge=False)
    for version, current in found:
        made = version.manifest
        metrics = made.metrics.get("holdout") or made.metrics.get("training") or {}
        measured = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if value is not None)
        where = "" if not metrics else " (held out)" if "holdout" in made.metrics else " (training)"
        number = f"{version.number} served" if current else str(version.number)
        table.add_row(version.model, version.level, number, made.created_at, f"{made.rows:,}", measured + where, made.estimator)
    return table


_COMMON = [*options.project(), *options.level(), *options.models()]
_LIST = Verb(list_versions, [*_COMMON, *options.as_json()], help=__doc__, summary="list every version (default)")

COMMAND = Actions(
    {
        "list": _LIST,
        "promote": Verb(
            promote,
            [Positional("version", metavar="VERSION", help="the number of a version"), *_COMMON, *options.as_json()],
            help="Serve a version from now on.",
            summary="serve a version",
        ),
        "rollback": Verb(
            rollback,
            [*_COMMON, *options.confirmation("served"), *options.as_json()],
            help="Serve the version that was served before; again, the one before that.",
            summary="serve the version that was served before",
        ),
    },
    help=__doc__,
    default=_LIST,
)
