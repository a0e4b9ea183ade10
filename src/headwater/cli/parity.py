"""Compare what the online store serves now with what training computes of the same events."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import HeadwaterError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.pipelines.parity import Parity

SUMMARY = "compare served values with what training computes"
_SHOWN = 20


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `headwater parity`."""
    parser.add_argument("views", nargs="*", metavar="VIEW", help="which views (default: all batch and streaming ones)")
    options.project(parser, model=False)
    options.store(parser)
    parser.add_argument("--keys", type=int, default=1000, metavar="N", help="how many keys of each view at most (default: %(default)s)")
    parser.add_argument("--at", metavar="TIME", help="the moment of asking: ISO 8601 with an offset (default: now)")
    options.as_json(parser)


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Compare; ends with 1 where a value differs."""
    project = load(given.project).project
    at = options.moment(given.at, "--at")
    from headwater.pipelines.parity import parity

    with screen.working("comparing"):
        found = parity(project, given.views, store=given.store, folder=options.place(given), rows=given.keys, at=at)
    differing = [m for one in found for m in one.mismatches]
    screen.show(table(found), {"views": [one.to_dict() for one in found], "mismatches": len(differing)})
    if differing:
        worst = differing[0]
        keys = [f"{name}={value}" for name, value in worst.keys.items() if value is not None]
        screen.next("headwater", "explain", worst.feature, *keys, "--project", given.project, *options.same_store(given))
        raise HeadwaterError(f"{len(differing)} of {sum(one.values for one in found):,} values differ from what training computes")
    screen.next("headwater", "status", "--project", given.project, *options.same_store(given))


def table(found: list[Parity]) -> RenderableType:
    """One line a view, then the first values that differ."""
    from rich import box
    from rich.console import Group
    from rich.table import Table

    made = Table("view", "keys", "values", "events", "mismatches", box=box.SIMPLE_HEAD, show_edge=False)
    for one in found:
        made.add_row(one.view, f"{one.rows:,}", f"{one.values:,}", f"{one.events:,}", f"{len(one.mismatches):,}")
    differing = [m for one in found for m in one.mismatches]
    if not differing:
        return made
    details = Table("feature", "keys", "online", "offline", "reason", box=box.SIMPLE_HEAD, show_edge=False)
    for m in differing[:_SHOWN]:
        details.add_row(m.feature, str(dict(m.keys)), repr(m.online), repr(m.offline), m.reason)
    return Group(made, details)
