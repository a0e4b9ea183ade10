"""Explain a value: the events that count, those that do not and why, the tiles they are in, the value served and the value made anew."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from headwater import clock
from headwater.cli import options
from headwater.cli.command import Given, Positional, Verb, option
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.definitions.project import Project
    from headwater.monitoring.explain import Explanation


def run(given: Given, screen: Screen) -> None:
    """Find out, and print."""
    project = load(given.project).project
    at = options.moment(given.at, "--at")
    keys = _keys(project, given)
    from headwater.monitoring.explain import explain

    found = explain(project, given.feature, keys, store=given.store, folder=options.data_dir(given), at=at)
    screen.show(_shown(found, given.events), found.to_dict(given.events))


def _keys(project: Project, given: Given) -> dict[str, object]:
    """The keys as values of the types that the view's keys have."""
    for part in given.keys:
        if "=" not in part:
            raise UsageError(f"the key {part!r} has no value; write {part}=VALUE")
    said = dict(part.partition("=")[::2] for part in given.keys)
    from headwater.monitoring.explain import typed_keys

    return typed_keys(project, given.feature, said)


def _shown(found: Explanation, events: int) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    window = f"T {clock.moment(found.T).isoformat()}, K {clock.moment(found.K).isoformat()}, age {found.age:.3f} s"
    served = f"online {found.online!r}, " if found.served else ""
    lines = [
        Text(f"{found.feature} of {dict(found.keys)} at {clock.moment(found.at).isoformat()}"),
        Text(f"{served}offline {found.offline!r}, status {found.status}"),
        Text(window),
    ]
    table = Table(*found.events.columns, box=box.SIMPLE_HEAD, show_edge=False)
    for row in found.events.head(events).iter_rows():
        table.add_row(*map(_cell, row))
    lines += [Text(f"not known: {count:,} {reason}") for reason, count in found.notes.items()]
    counted = int(found.events["counts"].sum())
    lines.append(Text(f"{counted:,} of {found.events.height:,} events of the key count" + (":" if found.events.height else "")))
    if not found.tiles.height:
        return Group(*lines, table)
    tiles = Table("tile begins", "events", box=box.SIMPLE_HEAD, show_edge=False)
    for start, count in found.tiles.tail(events).iter_rows():
        tiles.add_row("before all others" if start is None else _cell(start), str(count))
    if found.tiles.height > events:
        lines.insert(-1, Text(f"{found.tiles.height:,} tiles hold them, of which the last {events} are shown"))
    return Group(*lines, table, tiles)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S.%f}".removesuffix(".000000")
    return "" if value is None else str(value)


COMMAND = Verb(
    run,
    [
        Positional("feature", metavar="FEATURE", help="its full name, such as card__mean_amount_30d"),
        Positional("keys", metavar="KEY=VALUE", nargs=-1, help="the keys of its view"),
        *options.project(model=False),
        *options.store(),
        option("--at", metavar="TIME", help="the moment of asking: ISO 8601 with an offset (default: now, with the value served)"),
        option("--events", metavar="N", type=int, default=20, help="how many events to show, the latest (default: {default})"),
        *options.as_json(),
    ],
    help=__doc__,
)
