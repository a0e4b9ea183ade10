"""List the versions of fitted models, choose the one that is served, or go back to the one before."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.models.registry import ModelRegistry, Version

SUMMARY = "list versions of fitted models, promote one, or roll back"
_ACTIONS = {"list": 0, "promote": 1, "rollback": 0}


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `headwater models`."""
    parser.add_argument(
        "action",
        choices=list(_ACTIONS),
        nargs="?",
        default="list",
        help="list: every version (default); promote VERSION: serve it; rollback: serve the one that was served before",
    )
    parser.add_argument("version", nargs="?", metavar="VERSION", help="the number of a version")
    options.project(parser)
    options.level(parser)
    options.models(parser)
    options.as_json(parser)


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Do one of them."""
    if (given.version is not None) != bool(_ACTIONS[given.action]):
        raise UsageError(f"headwater models {given.action} {'needs a VERSION' if _ACTIONS[given.action] else 'takes nothing more'}")
    if given.version is not None and not given.version.isdecimal():
        raise UsageError(f"VERSION is {given.version!r}; give a whole number, as `headwater models` lists them")
    from headwater.models.registry import ModelRegistry

    registry = ModelRegistry(given.models)
    if given.action == "list":
        _list(registry, given, screen)
        return
    from headwater.definitions.arm import AS_DEFINED

    loaded = load(given.project)
    model, level = loaded.project.model(given.model).name, given.level or AS_DEFINED
    promoted = given.action == "promote"
    version = registry.promote(int(given.version), model, level) if promoted else registry.rollback(model, level)
    screen.say(f"{version} is served from now on")
    screen.show_json(_said(version, current=True))


def _list(registry: ModelRegistry, given: argparse.Namespace, screen: Screen) -> None:
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
