"""Maintain an online store: create it, drop expired state, back it up, restore it, or set it
right.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Actions, Arguments, Positional, Verb
from headwater.cli.projects import load
from headwater.cli.screen import Screen

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.ingestion.rewind import Rewound
    from headwater.jobs.compact_views import CompactedView


def create(args: Arguments, screen: Screen) -> None:
    """Create an online store, and its table where it has one of its own."""
    from headwater import settings
    from headwater.stores import create_store

    url = args.store or settings.store()
    address = options.shown_url(url, "the store")
    with screen.working("creating the store"):
        made = create_store(url)
    lines = [f"created the table {made.table}, billed on demand"] if made.new_table else []
    lines += [f"the table {made.table} was there"] if made.table and not made.new_table else []
    lines += [
        f"created an empty store in {address}"
        if made.new_store
        else f"a store was in {address}; nothing in it was changed"
    ]
    screen.show(
        "\n".join(lines),
        {
            "store": address,
            "table": made.table,
            "new_table": made.new_table,
            "new_store": made.new_store,
        },
    )
    screen.next("headwater", "apply", "--project", args.project)


def compact(args: Arguments, screen: Screen) -> None:
    """Drop state that no window reaches."""
    from headwater.jobs.compact_views import compact_store

    project = load(args.project).project
    if not args.dry_run and not options.confirmed(
        args,
        screen,
        "State that no window reaches is removed from the store. Compact it?",
        undoable=True,
    ):
        screen.say("nothing was compacted")
        return
    with screen.working("looking" if args.dry_run else "compacting"):
        compacted = compact_store(project, store=args.store, dry_run=args.dry_run)
    screen.show(
        _table(compacted), {"views": [_record(view) for view in compacted], "dry_run": args.dry_run}
    )
    if args.dry_run:
        screen.say("nothing was compacted: without --dry-run, the store would have the sizes above")
        return
    screen.next("headwater", "status", "--project", args.project, *options.same_store(args))


def _record(view: CompactedView) -> dict[str, object]:
    before, after = view.compaction.before, view.compaction.after
    sizes = {
        "records_before": before.records,
        "records": after.records,
        "bytes_before": before.bytes,
        "bytes": after.bytes,
    }
    return {
        "view": view.view,
        **sizes,
        "tiles_before": before.tiles,
        "tiles": after.tiles,
        "busy": view.compaction.busy,
    }


def _table(compacted: list[CompactedView]) -> RenderableType:
    from headwater.terminal.layout import ShownTable

    rows = []
    for view in compacted:
        before, after = view.compaction.before, view.compaction.after
        numbers = (before.records, after.records, before.bytes, after.bytes)
        rows.append(
            [
                view.view,
                *(f"{n:,}" for n in numbers),
                f"{after.mean_bytes:,.0f}",
                f"{after.mean_tiles:.1f}",
            ]
        )
    return ShownTable(
        "",
        ["view", "records", "left", "bytes", "bytes left", "bytes a record", "tiles a record"],
        rows,
    )


def backup(args: Arguments, screen: Screen) -> None:
    """Write all that the store holds into a folder."""
    from headwater.stores import opened

    with opened(args.store) as store, screen.working("writing the backup"):
        store.backup(Path(args.folder))
    screen.say(
        f"backup: {args.folder}. The archive in {options.data_dir(args) / 'archive'} is files: "
        "copy them after the backup"
    )
    screen.next("headwater", "store", "restore", args.folder, "--store", "URL")


def restore_backup(args: Arguments, screen: Screen) -> None:
    """Write a backup into an empty store."""
    from headwater import settings
    from headwater.stores.backup import check_restorable, restore

    backup, url = Path(args.folder), args.store or settings.store()
    address = options.shown_url(url, "the store")
    check_restorable(backup, url)
    if args.dry_run:
        screen.show(
            f"would restore {backup} into {address}, which is empty",
            {"backup": str(backup), "dry_run": True},
        )
        return
    if not options.confirmed(
        args, screen, f"Ingestion goes on from where {backup} was made. Restore it into {address}?"
    ):
        screen.say("nothing was restored")
        return
    with screen.working("restoring"):
        restore(backup, url)
    screen.say(f"restored {backup}; ingestion goes on from the offsets in it")
    screen.next("headwater", "ingest", "--project", args.project, *options.same_store(args))


_EMPTIED = (
    "a server has lost commits that others have: all records of this store are removed, of every "
    "project. `headwater ingest` fills streaming views again from the archive, and `headwater "
    "materialize` batch views and precomputed predictions from histories"
)


def rewind_sources(args: Arguments, screen: Screen) -> None:
    """Set archive and store right after a failover, a restored backup or a wrong clock."""
    from dataclasses import asdict

    from headwater.ingestion.rewind import rewind

    project, data_dir = load(args.project).project, options.data_dir(args)
    planned = rewind(project, args.sources, store=args.store, data_dir=data_dir, dry_run=True)
    if args.dry_run:
        none = (
            "nothing is to be rewound: archive and senders know of no later commit than the "
            "store, and no time is ahead"
        )
        record = {
            "sources": [asdict(source) for source in planned.sources],
            "emptied": planned.emptied,
            "dry_run": True,
        }
        screen.show("\n".join(_rewound(planned)) or none, record)
        return
    if planned and not options.confirmed(
        args, screen, "\n".join([*_rewound(planned), "Change archive and store?"])
    ):
        screen.say("nothing was changed")
        return
    with screen.working("rewinding"):
        done = rewind(project, args.sources, store=args.store, data_dir=data_dir)
    record = {
        "sources": [asdict(source) for source in done.sources],
        "emptied": done.emptied,
        "dry_run": False,
    }
    screen.show(
        "\n".join(["rewound", *_rewound(done)]) if done else "nothing was to be rewound", record
    )
    screen.next("headwater", "ingest", "--project", args.project, *options.same_store(args))


def _rewound(rewound: Rewound) -> list[str]:
    """In words, what a rewind does."""
    lines = [_EMPTIED] if rewound.emptied else []
    for source in rewound.sources:
        subject = (
            source.source
            if source.partition is None
            else f"{source.source}, partition {source.partition}"
        )
        if max(source.archived, source.acknowledged) > source.made:
            acknowledged = (
                f", senders were told of {source.acknowledged:,}" if source.acknowledged else ""
            )
            lines.append(
                f"{subject}: the store has made {source.made:,} commits, the archive holds up to "
                f"{source.archived:,}{acknowledged}"
            )
        if source.ahead:
            lines.append(f"{subject}: the store is {source.ahead:,.0f} s ahead of the clock")
        lines += (
            [
                (
                    f"  {source.read_again:,} events leave the archive, and are read from the "
                    "stream again"
                )
            ]
            if source.read_again
            else []
        )
        lines += (
            [f"  {source.committed_again:,} pushed events of the archive are committed again"]
            if source.committed_again
            else []
        )
        lines += (
            [
                (
                    f"  {source.lost:,} pushed records at most are in no file, and are lost: send "
                    "them again if you can"
                )
            ]
            if source.lost
            else []
        )
        lines += (
            [f"  the next ingestion fills again: {', '.join(source.filled_again)}"]
            if source.filled_again
            else []
        )
        lines += (
            [f"  incomplete, since the archive lacks events: {', '.join(source.incomplete)}"]
            if source.incomplete
            else []
        )
        lines += (
            [
                (
                    f"{subject}: {source.accepted:,} rows that were refused or left out are "
                    "accepted by its rules of today"
                )
            ]
            if source.accepted
            else []
        )
    return lines


def fill_views(args: Arguments, screen: Screen) -> None:
    """Make the records of streaming views again from archive and history."""
    from headwater.ingestion.fill import fill

    with screen.working("filling"):
        filled = fill(
            load(args.project).project,
            args.views,
            store=args.store,
            data_dir=options.data_dir(args),
        )
    screen.show(
        "\n".join(
            f"{view}: filled with {events:,} event{'' if events == 1 else 's'}"
            for view, events in filled.items()
        ),
        {"filled": filled},
    )
    screen.next("headwater", "parity", "--project", args.project, *options.same_store(args))


_COMMON = [*options.project(model=False), *options.store()]
_SOURCES = Positional(
    "sources",
    metavar="[SOURCE]...",
    nargs=-1,
    required=False,
    help="of which sources (default: all)",
)
_VIEWS = Positional("views", metavar="VIEW...", nargs=-1, required=True, help="which views")
_FOLDER = Positional("folder", metavar="FOLDER", help="where the backup is")

COMMAND = Actions(
    {
        "create": Verb(
            create,
            [*_COMMON, *options.as_json()],
            help=(
                "Create an online store. One in a hosted table that is billed by itself is created "
                "by no other command; elsewhere `headwater ingest` and `headwater materialize` "
                "create a store too."
            ),
            summary="create a store, and its table where it has one",
            examples=["headwater store create --store lmdb:online"],
        ),
        "compact": Verb(
            compact,
            [*_COMMON, *options.confirmation("dropped"), *options.as_json()],
            help=(
                "Drop state that no window reaches, while events are ingested and values are "
                "served. No value changes."
            ),
            summary="drop state that no window reaches",
            examples=["headwater store compact"],
        ),
        "backup": Verb(
            backup,
            [_FOLDER, *_COMMON, *options.as_json()],
            help="Write all that the store holds into a new folder.",
            summary="write a backup",
            examples=["headwater store backup /backups/2026-11-12"],
        ),
        "restore": Verb(
            restore_backup,
            [_FOLDER, *_COMMON, *options.confirmation("restored"), *options.as_json()],
            help="Write a backup into an empty store. Ingestion goes on from the offsets in it.",
            summary="write a backup into an empty store",
            examples=["headwater store restore /backups/2026-11-12 --store lmdb:restored"],
        ),
        "rewind": Verb(
            rewind_sources,
            [_SOURCES, *_COMMON, *options.confirmation("changed"), *options.as_json()],
            help=(
                "Set archive and store right after a failover to a standby without the last "
                "commits, a restored backup or a wrong clock: files are cut behind the last "
                "commit, times that lie ahead become now, pushed events are committed again, and "
                "rows are judged by the rules of today. Stop ingestion first."
            ),
            summary="set a store right after a failover or a wrong clock",
            examples=["headwater store rewind --dry-run", "headwater store rewind visits"],
        ),
        "fill": Verb(
            fill_views,
            [_VIEWS, *_COMMON, *options.as_json()],
            help=(
                "Make the records of streaming views again from archive and history. Ingestion "
                "fills new and changed views by itself. Where it runs, it fills these too, while "
                "the stream goes on; with LMDB, stop it first."
            ),
            summary="make the records of streaming views again",
            examples=["headwater store fill user"],
        ),
    },
    help=__doc__,
)
