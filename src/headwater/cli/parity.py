"""Compare what the online store serves, now or as the served log has it, with what training computes of the same events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater import clock
from headwater.cli import options
from headwater.cli.command import Given, Positional, Verb, option, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import HeadwaterError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.monitoring.parity import Parity

_SHOWN = 20
REQUEST = "headwater_request"  # beside the keys of a served row, its request


def run(given: Given, screen: Screen) -> None:
    """Compare; ends with 1 where a value differs, or where there was nothing to compare."""
    project = load(given.project).project
    at, since = options.moment(given.at, "--at"), options.moment(given.since, "--since")
    if at is not None and given.served:
        raise UsageError("--served compares each row at the moment it asked; leave --at out")
    if since is not None and not given.served:
        raise UsageError("--since takes rows of the served log; add --served")
    place = options.data_dir(given)
    with screen.working("comparing"):
        if given.served:
            from headwater.monitoring.served_parity import served_parity

            found = served_parity(project, given.views, store=given.store, folder=place, rows=given.sample, since=since)
        else:
            from headwater.monitoring.parity import parity

            found = parity(project, given.views, store=given.store, folder=place, rows=given.sample, at=at)
    differing = [m for one in found for m in one.mismatches]
    screen.show(table(found), {"views": [one.to_dict() for one in found], "mismatches": len(differing)})
    for one in found:
        for reason, count in one.notes.items():
            screen.say(f"not compared, {one.view}: {count:,} {reason}")
    if differing:
        worst = differing[0]
        keys = [f"{name}={value}" for name, value in worst.keys.items() if value is not None and name != REQUEST]
        if worst.feature.partition("__")[1]:
            screen.next("headwater", "explain", worst.feature, *keys, "--project", given.project, *options.same_store(given))
        raise HeadwaterError(f"{len(differing)} of {sum(one.values for one in found):,} values differ from what training computes")
    if not any(one.values and (one.events or given.served) for one in found):
        raise HeadwaterError(f"nothing was compared: {'; '.join(map(_nothing, found)) or 'there is no view'}. {_REMEDIES[given.served]}")
    screen.next("headwater", "serve", "--project", given.project, *options.same_store(given))


_REMEDIES = {
    False: "See when the store was last written with `headwater status`, and for one key why no event counts with `headwater explain`",
    True: "Rows of the served log are written by `headwater serve --serving-log-sample 1`; give the --data-dir and the --since that it has",
}


def _nothing(found: Parity) -> str:
    """Why no event was compared for a view."""
    if found.notes:
        return f"{found.view}: {', '.join(f'{count:,} {reason}' for reason, count in found.notes.items())}"
    if not found.rows:
        return f"{found.view} has no keys"
    return f"{found.view}: no event of its {found.rows:,} keys lies in a window as of {clock.moment(found.T).isoformat()}"


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


COMMAND = Verb(
    run,
    [
        Positional("views", metavar="VIEW", nargs=-1, help="which views (default: all batch and streaming ones)"),
        *options.project(model=False),
        *options.store(),
        option(
            "--sample",
            old="--keys",
            metavar="N",
            type=int,
            default=1000,
            help="how many keys of each view, or served rows, at most (default: {default})",
        ),
        switch("--served", help="compare what was served, as the served log in --data-dir has it, each row at the commit it was read at"),
        option("--since", metavar="TIME", help="with --served, rows that asked from then on: ISO 8601 with an offset (default: all)"),
        option("--at", metavar="TIME", help="the moment of asking: ISO 8601 with an offset (default: now)"),
        *options.as_json(),
    ],
    help=__doc__,
)
