"""Explain a value: its events, counted or not and why, their tiles, the online value, and the value
recomputed from events.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Arguments, Positional, Verb, option
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.definitions.project import Project
    from headwater.monitoring.explain import Explanation


def run(args: Arguments, screen: Screen) -> None:
    """Explain, and print."""
    project = load(args.project).project
    at = options.timestamp(args.at, "--at")
    keys = _keys(project, args)
    from headwater.monitoring.explain import explain

    explanation = explain(
        project, args.feature, keys, store=args.store, data_dir=options.data_dir(args), at=at
    )
    screen.show(_shown(explanation, args.events), explanation.first(args.events).to_dict())


def _keys(project: Project, args: Arguments) -> dict[str, object]:
    """The keys, in the types of the view's keys."""
    for pair in args.keys:
        if "=" not in pair:
            raise UsageError(f"the key {pair!r} has no value; write {pair}=VALUE")
    values = dict(pair.partition("=")[::2] for pair in args.keys)
    from headwater.monitoring.explain import typed_keys

    return typed_keys(project, args.feature, values)


def _shown(explanation: Explanation, events: int) -> RenderableType:
    from headwater.terminal.layout import Group, Shown, ShownTable

    window = (
        f"T {explanation.T.isoformat()}, K {explanation.K.isoformat()}, age {explanation.age:.3f} s"
    )
    served = f"online {explanation.online!r}, " if explanation.served else ""
    lines = [
        Shown(f"{explanation.feature} of {dict(explanation.keys)} at {explanation.at.isoformat()}"),
        Shown(f"{served}offline {explanation.offline!r}, status {explanation.status}"),
        Shown(window),
    ]
    shown = [list(map(_cell, row)) for row in explanation.events.head(events).iter_rows()]
    table = ShownTable("", explanation.events.columns, shown)
    lines += [
        Shown(f"not known: {count:,} {reason}") for reason, count in explanation.notes.items()
    ]
    counted = int(explanation.events["counts"].sum())
    lines.append(
        Shown(
            f"{counted:,} of {explanation.events.height:,} events of the key count"
            + (":" if explanation.events.height else "")
        )
    )
    if not explanation.tiles.height:
        return Group(*lines, table)
    begun = [
        ["before all others" if start is None else _cell(start), count]
        for start, count in explanation.tiles.tail(events).iter_rows()
    ]
    if explanation.tiles.height > events:
        lines.insert(-1, Shown(f"{explanation.tiles.height:,} tiles; the last {events} are shown"))
    return Group(*lines, table, ShownTable("", ["tile begins", "events"], begun))


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S.%f}".removesuffix(".000000")
    return "" if value is None else str(value)


COMMAND = Verb(
    run,
    [
        Positional(
            "feature", metavar="FEATURE", help="its full name, such as card__mean_amount_30d"
        ),
        Positional("keys", metavar="KEY=VALUE", nargs=-1, help="the keys of its view"),
        *options.project(model=False),
        *options.store(),
        option(
            "--at",
            metavar="TIME",
            help="the request time: ISO 8601 with an offset (default: now, with the online value)",
        ),
        option(
            "--events",
            metavar="N",
            type=int,
            default=20,
            help="how many events to show, the latest (default: {default})",
        ),
        *options.as_json(),
    ],
    help=__doc__,
    examples=["headwater explain card__mean_amount_30d card=4711"],
)
