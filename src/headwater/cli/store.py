"""Maintain an online store: create it, drop expired state, back it up, or restore it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Actions, Arguments, Positional, Verb
from headwater.cli.projects import load
from headwater.cli.screen import Screen

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.jobs.compact_views import CompactedView


def create(args: Arguments, screen: Screen) -> None:
    """Create an online store, and the table of DynamoDB that it is in."""
    from headwater import settings
    from headwater.online_stores import create_store

    url = args.store or settings.store()
    place = options.shown_url(url, "the store")
    with screen.working("creating the store"):
        made = create_store(url)
    lines = [f"created the table {made.table}, billed on demand"] if made.new_table else []
    lines += [f"the table {made.table} was there"] if made.table and not made.new_table else []
    lines += [f"created an empty store in {place}" if made.new_store else f"a store was in {place}; nothing in it was changed"]
    screen.show("\n".join(lines), {"store": place, "table": made.table, "new_table": made.new_table, "new_store": made.new_store})
    screen.next("headwater", "apply", "--project", args.project)


def compact(args: Arguments, screen: Screen) -> None:
    """Drop state that no window reaches."""
    from headwater.jobs.compact_views import compact_store

    project = load(args.project).project
    if not args.dry_run and not options.confirmed(
        args, screen, "State that no window reaches is removed from the store. Compact it?", undoable=True
    ):
        screen.say("nothing was compacted")
        return
    with screen.working("looking" if args.dry_run else "compacting"):
        kept = compact_store(project, store=args.store, dry_run=args.dry_run)
    screen.show(_table(kept), {"views": [_record(view) for view in kept], "dry_run": args.dry_run})
    if args.dry_run:
        screen.say("nothing was compacted: without --dry-run, the store would have the sizes above")
        return
    screen.next("headwater", "status", "--project", args.project, *options.same_store(args))


def _record(view: CompactedView) -> dict[str, object]:
    before, after = view.compaction.before, view.compaction.after
    sizes = {"records_before": before.records, "records": after.records, "bytes_before": before.bytes, "bytes": after.bytes}
    return {"view": view.view, **sizes, "tiles_before": before.tiles, "tiles": after.tiles, "busy": view.compaction.busy}


def _table(kept: list[CompactedView]) -> RenderableType:
    from headwater.terminal.layout import ShownTable

    rows = []
    for view in kept:
        before, after = view.compaction.before, view.compaction.after
        numbers = (before.records, after.records, before.bytes, after.bytes)
        rows.append([view.view, *(f"{n:,}" for n in numbers), f"{after.mean_bytes:,.0f}", f"{after.mean_tiles:.1f}"])
    return ShownTable("", ["view", "records", "left", "bytes", "bytes left", "bytes a record", "tiles a record"], rows)


def backup(args: Arguments, screen: Screen) -> None:
    """Write all that the store holds into a folder."""
    from headwater.online_stores import opened

    with opened(args.store) as store, screen.working("writing the backup"):
        store.backup(Path(args.folder))
    screen.say(f"backup: {args.folder}. The archive in {options.data_dir(args) / 'archive'} is files: copy them after the backup")
    screen.next("headwater", "store", "restore", args.folder, "--store", "URL")


def restore_backup(args: Arguments, screen: Screen) -> None:
    """Write a backup into an empty store."""
    from headwater import settings
    from headwater.online_stores.backup import check_restorable, restore

    backup, url = Path(args.folder), args.store or settings.store()
    place = options.shown_url(url, "the store")
    check_restorable(backup, url)
    if args.dry_run:
        screen.show(f"would restore {backup} into {place}, which is empty", {"backup": str(backup), "dry_run": True})
        return
    if not options.confirmed(args, screen, f"Ingestion goes on from where {backup} was made. Restore it into {place}?"):
        screen.say("nothing was restored")
        return
    with screen.working("restoring"):
        restore(backup, url)
    screen.say(f"restored {backup}; ingestion goes on from the offsets in it")
    screen.next("headwater", "ingest", "--project", args.project, *options.same_store(args))


def repair(args: Arguments, screen: Screen) -> None:
    """Set streams that are ahead because of a wrong clock back to the present."""
    from headwater.ingestion.repair_clock import repair_clock

    with screen.working("setting streams back to the present"):
        repairs = repair_clock(load(args.project).project, store=args.store, data_dir=options.data_dir(args))
    rows = [
        {
            "source": repair.source,
            "partition": repair.partition,
            "seconds_ahead": repair.ahead,
            "filled_again": list(repair.refilled),
            "incomplete": list(repair.incomplete),
        }
        for repair in repairs
    ]
    lines = []
    for repair in repairs:
        subject = f"{repair.source}{'' if repair.partition is None else ', partition ' + repair.partition} was {repair.ahead:,.0f} s ahead"
        again = f"; the next ingestion fills again: {', '.join(repair.refilled)}" if repair.refilled else ""
        lacking = f"; incomplete, since the archive lacks events: {', '.join(repair.incomplete)}" if repair.incomplete else ""
        lines.append(f"{subject}{again}{lacking}")
    screen.show("\n".join(lines) or "no stream is ahead of the clock", {"repaired": rows})
    screen.next("headwater", "ingest", "--project", args.project, *options.same_store(args))


_EMPTIED = (
    "a server has lost commits that others have: all records of this store are removed, of every project. `headwater ingest` fills streaming "
    "views again from the archive, and `headwater materialize` batch views and precomputed predictions from histories"
)


def repair_lost(args: Arguments, screen: Screen) -> None:
    """Repair what a store that has lost its last commits left behind."""
    from dataclasses import asdict

    from headwater.ingestion.repair_loss import repair_loss

    project, data_dir = load(args.project).project, options.data_dir(args)
    found = repair_loss(project, store=args.store, data_dir=data_dir, dry_run=True)
    lines = [_EMPTIED] if found.emptied else []
    for lost in found.lost:
        subject = lost.source if lost.partition is None else f"{lost.source}, partition {lost.partition}"
        told = f", senders were told of {lost.acknowledged:,}" if lost.acknowledged else ""
        lines.append(f"{subject}: the store has made {lost.made:,} commits, the archive holds up to {lost.archived:,}{told}")
        lines += [f"  {lost.read_again:,} events leave the archive, and are read from the stream again"] if lost.read_again else []
        lines += [f"  {lost.committed_again:,} pushed events of the archive are committed again"] if lost.committed_again else []
        lines += [f"  {lost.lost:,} pushed records at most are in no file, and are lost: send them again if you can"] if lost.lost else []
    record = {"lost": [asdict(lost) for lost in found.lost], "emptied": found.emptied, "dry_run": args.dry_run}
    if not found or args.dry_run:
        screen.show("\n".join(lines) or "nothing is lost: archive and senders know of no later commit than the store", record)
        return
    if not options.confirmed(args, screen, "\n".join([*lines, "Repair archive and store?"])):
        screen.say("nothing was repaired")
        return
    with screen.working("repairing archive and store"):
        repair_loss(project, store=args.store, data_dir=data_dir)
    screen.show("\n".join(["repaired", *lines]), record)
    screen.next("headwater", "ingest", "--project", args.project, *options.same_store(args))


_COMMON = [*options.project(model=False), *options.store()]
_FOLDER = Positional("folder", metavar="FOLDER", help="where the backup is")

COMMAND = Actions(
    {
        "create": Verb(
            create,
            [*_COMMON, *options.as_json()],
            help="Create an online store, and on DynamoDB its table, which no other command creates. Elsewhere `headwater ingest` and `headwater "
            "materialize` create a store too.",
            summary="create a store, and its table on DynamoDB",
            examples=["headwater store create --store 'dynamodb://features?region=eu-west-1'"],
        ),
        "compact": Verb(
            compact,
            [*_COMMON, *options.confirmation("dropped"), *options.as_json()],
            help="Drop state that no window reaches, while events are ingested and values are served. No value changes.",
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
        "repair-clock": Verb(
            repair,
            [*_COMMON, *options.as_json()],
            help="Set streams that are ahead because of a wrong clock back to the present.",
            summary="set streams that are ahead back to the present",
            examples=["headwater store repair-clock"],
        ),
        "repair-loss": Verb(
            repair_lost,
            [*_COMMON, *options.confirmation("repaired"), *options.as_json()],
            help="Repair archive and store after the store has lost its last commits: a standby without them took over, or an older copy was "
            "restored. Stop ingestion first.",
            summary="repair archive and store after lost commits",
            examples=["headwater store repair-loss --dry-run"],
        ),
    },
    help=__doc__,
)
