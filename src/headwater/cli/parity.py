"""Compare online values, current or from the serving log, with what training computes from the same
events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Arguments, Positional, Verb, option, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import HeadwaterError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.monitoring.parity import Parity

_SHOWN = 20
REQUEST = "headwater_request"  # the key column with the request of a served row


def run(args: Arguments, screen: Screen) -> None:
    """Compare; the exit code is 1 where a value differs, or where there was nothing to compare."""
    project = load(args.project).project
    at, since = options.timestamp(args.at, "--at"), options.timestamp(args.since, "--since")
    if at is not None and args.served:
        raise UsageError("--served compares each row at its request time; leave out --at")
    if since is not None and not args.served:
        raise UsageError("--since selects rows of the serving log; add --served")
    folder = options.data_dir(args)
    with screen.working("comparing"):
        if args.served:
            from headwater.monitoring.served_parity import served_parity

            results = served_parity(
                project,
                args.views,
                store=args.store,
                data_dir=folder,
                rows=args.sample,
                since=since,
            )
        else:
            from headwater.monitoring.parity import parity

            results = parity(
                project, args.views, store=args.store, data_dir=folder, rows=args.sample, at=at
            )
    differing = [m for result in results for m in result.mismatches]
    screen.show(
        table(results),
        {"views": [result.to_dict() for result in results], "mismatches": len(differing)},
    )
    for result in results:
        for reason, count in result.notes.items():
            screen.say(f"not compared, {result.view}: {count:,} {reason}")
        for finding in result.findings:
            screen.say(f"{result.view}: {finding}")
    if differing:
        worst = differing[0]
        keys = [
            f"{name}={value}"
            for name, value in worst.keys.items()
            if value is not None and name != REQUEST
        ]
        if worst.feature.partition("__")[1]:
            screen.next(
                "headwater",
                "explain",
                worst.feature,
                *keys,
                "--project",
                args.project,
                *options.same_store(args),
            )
        raise HeadwaterError(
            f"{len(differing)} of {sum(result.values for result in results):,} values differ from "
            "what training computes"
        )
    if not any(result.values and (result.events or args.served) for result in results):
        raise HeadwaterError(
            "nothing was compared: "
            f"{'; '.join(map(_nothing, results)) or 'the project has no view'}. "
            f"{_REMEDIES[args.served]}"
        )
    following = (
        "ingest" if any(result.notes and not result.values for result in results) else "serve"
    )
    screen.next("headwater", following, "--project", args.project, *options.same_store(args))


_REMEDIES = {
    False: (
        "See when the store was last written with `headwater status`, and for one key why no "
        "event counts with `headwater explain`"
    ),
    True: (
        "Rows of the serving log are written by `headwater serve --serving-log-sample 1`; give "
        "its --data-dir, and a --since that it covers"
    ),
}


def _nothing(result: Parity) -> str:
    """Why no event was compared for a view."""
    if result.notes:
        return (
            f"{result.view}: "
            f"{', '.join(f'{count:,} {reason}' for reason, count in result.notes.items())}"
        )
    if not result.rows:
        return f"{result.view} has no keys"
    return (
        f"{result.view}: no event of its {result.rows:,} keys lies in a window as of "
        f"{result.T.isoformat()}"
    )


def table(results: list[Parity]) -> RenderableType:
    """One line a view, then the first values that differ."""
    from headwater.terminal.layout import Group, Shown, ShownTable

    counts = [
        [
            result.view,
            f"{result.rows:,}",
            f"{result.values:,}",
            f"{result.events:,}",
            f"{len(result.mismatches):,}",
        ]
        for result in results
    ]
    summary = ShownTable("", ["view", "keys", "values", "events", "mismatches"], counts)
    differing = [m for result in results for m in result.mismatches]
    if not differing:
        return summary
    values = [
        [m.feature, dict(m.keys), repr(m.online), repr(m.offline), m.reason]
        for m in differing[:_SHOWN]
    ]
    return Group(
        summary,
        Shown(""),
        ShownTable("", ["feature", "keys", "online", "offline", "reason"], values),
    )


COMMAND = Verb(
    run,
    [
        Positional(
            "views",
            metavar="VIEW",
            nargs=-1,
            help="which views (default: all batch and streaming ones)",
        ),
        *options.project(model=False),
        *options.store(),
        option(
            "--sample",
            metavar="N",
            type=int,
            default=1000,
            help="how many keys of each view, or served rows, at most (default: {default})",
        ),
        switch(
            "--served",
            help=(
                "compare the served values in the serving log of --data-dir, each row at the "
                "commit that it was read at"
            ),
        ),
        option(
            "--since",
            metavar="TIME",
            help=(
                "with --served, rows requested from this time on: ISO 8601 with an offset "
                "(default: all)"
            ),
        ),
        option(
            "--at", metavar="TIME", help="the request time: ISO 8601 with an offset (default: now)"
        ),
        *options.as_json(),
    ],
    help=__doc__,
    examples=["headwater parity", "headwater parity --served  # of what was answered"],
)
