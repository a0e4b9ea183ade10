"""List the records of a source that were refused, or send them through acceptance again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Actions, Given, Positional, Verb, option, several, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen

if TYPE_CHECKING:
    from headwater.ingestion.dead_letters import DeadLetterFilter


def list_records(given: Given, screen: Screen) -> None:
    """Show them."""
    from rich import box
    from rich.table import Table

    from headwater.ingestion.dead_letters import dead_letters

    project = load(given.project).project
    rows = dead_letters(project, given.source, _which(given), store=given.store, folder=options.data_dir(given)).head(given.rows)
    shown = [{name: v.decode(errors="replace") if isinstance(v, bytes) else str(v) for name, v in row.items()} for row in rows.to_dicts()]
    table = Table(*rows.columns, box=box.SIMPLE_HEAD, show_edge=False)
    for row in shown:
        table.add_row(*row.values())
    screen.show(table, {"source": given.source, "refused": shown})


def replay(given: Given, screen: Screen) -> None:
    """Send them through acceptance again."""
    from headwater.ingestion.dead_letters import replay_dead_letters

    done = replay_dead_letters(
        load(given.project).project,
        given.source,
        _which(given),
        store=given.store,
        folder=options.data_dir(given),
        dry_run=given.dry_run,
    )
    lines = [f"{'would replay ' if given.dry_run else ''}{done}", *(f"refused again, {n:,}: {why}" for why, n in done.reasons.items())]
    told = {"source": done.source, "records": done.records, "replayed_before": done.before, "dry_run": given.dry_run}
    screen.show("\n".join(lines), {**told, "outcomes": dict(done.outcomes), "reasons": dict(done.reasons)})
    screen.next("headwater", "status", "--project", given.project, *options.same_store(given))


def _which(given: Given) -> DeadLetterFilter:
    """The records that the options choose."""
    from headwater.ingestion.dead_letters import DeadLetterFilter

    return DeadLetterFilter(given.reason, given.since, given.until, given.offset)


_COMMON = [
    Positional("source", metavar="SOURCE", help="whose records"),
    *options.project(model=False),
    *options.store(),
    option("--reason", metavar="TEXT", help="only those whose reason contains this"),
    option("--since", metavar="TIME", help="only those refused from this time on, ISO 8601 with an offset"),
    option("--until", metavar="TIME", help="only those refused before this time"),
    several("--offset", metavar="N", type=int, help="only this one; may be repeated"),
]

COMMAND = Actions(
    {
        "list": Verb(
            list_records,
            [
                *_COMMON,
                option("--rows", metavar="N", type=int, default=20, help="how many to show, the latest (default: {default})"),
                *options.as_json(),
            ],
            help="Show the records of a source that were refused, and why.",
            summary="show refused records",
        ),
        "replay": Verb(
            replay,
            [*_COMMON, switch("--dry-run", help="only show what would be accepted"), *options.as_json()],
            help="Send refused records through acceptance again, each at most once.",
            summary="send refused records through acceptance again",
        ),
    },
    help=__doc__,
)
