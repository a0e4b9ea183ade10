"""List the refused records of a source, or replay them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Actions, Arguments, Positional, Verb, option, several, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.ingestion.dead_letters import DeadLetterFilter


def list_records(args: Arguments, screen: Screen) -> None:
    """Show them."""
    import polars as pl

    from headwater.ingestion.archive import KNOWN_AT
    from headwater.ingestion.dead_letters import dead_letters
    from headwater.terminal.layout import ShownTable

    project, chosen = load(args.project).project, _filter(args)
    sources = (
        [args.source]
        if args.source
        else [source.name for source in project.sources if source.stream is not None]
    )
    if not sources:
        raise UsageError(
            f"project {project.name!r} has no source with a stream, so no records were refused"
        )
    frames = {
        source: dead_letters(
            project, source, chosen, store=args.store, data_dir=options.data_dir(args)
        )
        for source in sources
    }
    if len(frames) == 1:
        [rows] = frames.values()
    else:
        named = [
            frame.select(pl.lit(source).alias("source"), pl.all())
            for source, frame in frames.items()
        ]
        rows = pl.concat(named).sort(KNOWN_AT, descending=True, maintain_order=True)
    rows = rows.head(args.rows)
    shown = [
        {
            name: v.decode(errors="replace") if isinstance(v, bytes) else str(v)
            for name, v in row.items()
        }
        for row in rows.to_dicts()
    ]
    screen.show(
        ShownTable("", rows.columns, rows.rows()), {"source": args.source, "refused": shown}
    )


def replay(args: Arguments, screen: Screen) -> None:
    """Replay refused records."""
    from headwater.ingestion.dead_letters import replay_dead_letters

    done = replay_dead_letters(
        load(args.project).project,
        args.source,
        _filter(args),
        store=args.store,
        data_dir=options.data_dir(args),
        dry_run=args.dry_run,
    )
    lines = [
        f"{'would replay ' if args.dry_run else ''}{done}",
        *(f"refused again, {n:,}: {why}" for why, n in done.reasons.items()),
    ]
    summary = {
        "source": done.source,
        "records": done.records,
        "replayed_before": done.before,
        "dry_run": args.dry_run,
    }
    screen.show(
        "\n".join(lines),
        {**summary, "outcomes": dict(done.outcomes), "reasons": dict(done.reasons)},
    )
    screen.next("headwater", "status", "--project", args.project, *options.same_store(args))


def _filter(args: Arguments) -> DeadLetterFilter:
    """The records that the options choose."""
    from headwater.ingestion.dead_letters import DeadLetterFilter

    return DeadLetterFilter(args.reason, args.since, args.until, args.offset)


_CHOICE = [
    *options.project(model=False),
    *options.store(),
    option("--reason", metavar="TEXT", help="only those whose reason contains this"),
    option(
        "--since",
        metavar="TIME",
        help="only those refused from this time on, ISO 8601 with an offset",
    ),
    option("--until", metavar="TIME", help="only those refused before this time"),
    several("--offset", metavar="N", type=int, help="only this one; may be repeated"),
]

COMMAND = Actions(
    {
        "list": Verb(
            list_records,
            [
                Positional(
                    "source",
                    metavar="SOURCE",
                    required=False,
                    help="whose records (default: of every source with a stream)",
                ),
                *_CHOICE,
                option(
                    "--rows",
                    metavar="N",
                    type=int,
                    default=20,
                    help="how many to show, the latest (default: {default})",
                ),
                *options.as_json(),
            ],
            help="Show the records that were refused, and why.",
            summary="show refused records",
            examples=["headwater deadletters list", "headwater deadletters list payments"],
        ),
        "replay": Verb(
            replay,
            [
                Positional("source", metavar="SOURCE", help="whose records"),
                *_CHOICE,
                switch("--dry-run", help="only show what would be accepted"),
                *options.as_json(),
            ],
            help="Send refused records through acceptance again, each at most once.",
            summary="send refused records through acceptance again",
            examples=[
                "headwater deadletters replay payments --dry-run",
                "headwater deadletters replay payments",
            ],
        ),
    },
    help=__doc__,
)
