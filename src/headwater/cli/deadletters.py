"""List the records of a source that were refused, or send them through acceptance again."""

from __future__ import annotations

import argparse

from headwater.cli import options
from headwater.cli.projects import load
from headwater.cli.screen import Screen

SUMMARY = "list refused records, or replay them once their cause is mended"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `headwater deadletters`."""
    parser.add_argument("action", choices=["list", "replay"], help="list: show them; replay: send them through acceptance again")
    parser.add_argument("source", metavar="SOURCE", help="whose records")
    options.project(parser, model=False)
    options.store(parser)
    parser.add_argument("--reason", metavar="TEXT", help="only those whose reason contains this")
    parser.add_argument("--since", metavar="TIME", help="only those refused from this time on, ISO 8601 with an offset")
    parser.add_argument("--until", metavar="TIME", help="only those refused before this time")
    parser.add_argument("--offset", type=int, action="append", default=[], metavar="N", help="only this one; may be repeated")
    parser.add_argument("--dry-run", action="store_true", help="with replay, only say what would be accepted")
    parser.add_argument("--rows", type=int, default=20, metavar="N", help="with list, how many to show, the latest (default: %(default)s)")
    options.as_json(parser)


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Do one of them."""
    from headwater.pipelines.dead_letters import DeadLetterFilter, dead_letters, replay_dead_letters

    which = DeadLetterFilter(given.reason, given.since, given.until, given.offset)
    project, place = load(given.project).project, options.place(given)
    if given.action == "list":
        rows = dead_letters(
            project,
            given.source,
            which,
            store=given.store,
            folder=place,
        ).head(given.rows)
        shown = [
            {name: v.decode(errors="replace") if isinstance(v, bytes) else str(v) for name, v in row.items()} for row in rows.to_dicts()
        ]
        from rich import box
        from rich.table import Table

        table = Table(*rows.columns, box=box.SIMPLE_HEAD, show_edge=False)
        for row in shown:
            table.add_row(*row.values())
        screen.show(table, {"source": given.source, "refused": shown})
        return
    done = replay_dead_letters(
        project,
        given.source,
        which,
        store=given.store,
        folder=place,
        dry_run=given.dry_run,
    )
    lines = [f"{'would replay ' if given.dry_run else ''}{done}", *(f"refused again, {n:,}: {why}" for why, n in done.reasons.items())]
    told = {"source": done.source, "records": done.records, "replayed_before": done.before, "dry_run": given.dry_run}
    screen.show("\n".join(lines), {**told, "outcomes": dict(done.outcomes), "reasons": dict(done.reasons)})
    screen.next("headwater", "status", "--project", given.project, *options.same_store(given))
