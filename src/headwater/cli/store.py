"""Keep an online store: drop what no window reaches any more, back it up, restore it, or see what was refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Actions, Given, Positional, Verb, option
from headwater.cli.projects import load
from headwater.cli.screen import Screen

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.jobs.compact_views import CompactedView


def compact(given: Given, screen: Screen) -> None:
    """Drop what no window reaches any more."""
    from headwater.jobs.compact_views import compact_store

    project = load(given.project).project
    if not given.dry_run and not options.confirmed(given, "What no window reaches is removed from the store. Compact it?", undoable=True):
        screen.say("nothing was compacted")
        return
    with screen.working("looking" if given.dry_run else "compacting"):
        kept = compact_store(project, store=given.store, dry_run=given.dry_run)
    screen.show(_table(kept), {"views": [_said(one) for one in kept], "dry_run": given.dry_run})
    if given.dry_run:
        screen.say("nothing was compacted: without --dry-run, this is what is left")
        return
    screen.next("headwater", "status", "--project", given.project, *options.same_store(given))


def _said(one: CompactedView) -> dict[str, object]:
    before, after = one.compaction.before, one.compaction.after
    sizes = {"records_before": before.records, "records": after.records, "bytes_before": before.bytes, "bytes": after.bytes}
    return {"view": one.view, **sizes, "tiles_before": before.tiles, "tiles": after.tiles, "busy": one.compaction.busy}


def _table(kept: list[CompactedView]) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table("view", "records", "left", "bytes", "left", "bytes a record", "tiles a record", box=box.SIMPLE_HEAD, show_edge=False)
    for one in kept:
        before, after = one.compaction.before, one.compaction.after
        numbers = (before.records, after.records, before.bytes, after.bytes)
        table.add_row(one.view, *(f"{n:,}" for n in numbers), f"{after.mean_bytes:,.0f}", f"{after.mean_tiles:.1f}")
    return table


def backup(given: Given, screen: Screen) -> None:
    """Write all that the store holds into a folder."""
    from headwater.online_stores import opened

    with opened(given.store) as store, screen.working("writing the backup"):
        store.backup(Path(given.folder))
    screen.say(f"backup: {given.folder}. The archive in {options.data_dir(given) / 'archive'} is files: copy them after the backup")
    screen.next("headwater", "store", "restore", given.folder, "--store", "URL")


def restore_backup(given: Given, screen: Screen) -> None:
    """Write a backup into an empty store."""
    from headwater import settings
    from headwater.online_stores.backup import check_restorable, restore

    backup, url = Path(given.folder), given.store or settings.store()
    check_restorable(backup, url)
    if given.dry_run:
        screen.show(f"would restore {backup} into {_place(url)}, which is empty", {"backup": str(backup), "dry_run": True})
        return
    if not options.confirmed(given, f"Ingestion goes on from where {backup} was made. Restore it into {_place(url)}?"):
        screen.say("nothing was restored")
        return
    with screen.working("restoring"):
        restore(backup, url)
    screen.say(f"restored {backup}; ingestion goes on from the offsets in it")
    screen.next("headwater", "ingest", "--project", given.project, *options.same_store(given))


def repair(given: Given, screen: Screen) -> None:
    """Set streams that a wrong clock put ahead back to the present."""
    from headwater.ingestion.repair_clock import repair_clock

    with screen.working("setting streams back to the present"):
        found = repair_clock(load(given.project).project, store=given.store, folder=options.data_dir(given))
    rows = [
        {
            "source": one.source,
            "partition": one.partition,
            "seconds_ahead": one.ahead,
            "filled_again": list(one.refilled),
            "incomplete": list(one.incomplete),
        }
        for one in found
    ]
    lines = []
    for one in found:
        what = f"{one.source}{'' if one.partition is None else ', partition ' + one.partition} was {one.ahead:,.0f} s ahead"
        again = f"; the next ingestion fills again: {', '.join(one.refilled)}" if one.refilled else ""
        lacking = f"; incomplete, since the archive lacks events: {', '.join(one.incomplete)}" if one.incomplete else ""
        lines.append(f"{what}{again}{lacking}")
    screen.show("\n".join(lines) or "no stream is ahead of the clock", {"repaired": rows})
    screen.next("headwater", "ingest", "--project", given.project, *options.same_store(given))


def refused_records(given: Given, screen: Screen) -> None:
    """Show the records of a source that were refused."""
    from rich import box
    from rich.table import Table

    from headwater.monitoring.status import refused
    from headwater.online_stores import opened

    with opened(given.store, readonly=True) as store:
        rows = refused(store, load(given.project).project, given.source, options.data_dir(given)).head(given.rows)
    table = Table(*rows.columns, box=box.SIMPLE_HEAD, show_edge=False)
    for row in rows.iter_rows():
        table.add_row(*("" if v is None else v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in row))
    said = [{name: v.decode(errors="replace") if isinstance(v, bytes) else str(v) for name, v in row.items()} for row in rows.to_dicts()]
    screen.show(table, {"source": given.source, "refused": said})


def _place(url: str) -> str:
    """A store as a message may name it: a URL with a password is not repeated."""
    return "the store" if "@" in url else url


_COMMON = [*options.project(model=False), *options.store()]
_FOLDER = Positional("folder", metavar="FOLDER", help="where the backup is")

COMMAND = Actions(
    {
        "compact": Verb(
            compact,
            [*_COMMON, *options.confirmation("dropped"), *options.as_json()],
            help="Drop what no window reaches any more, while events are ingested and values are served. No value changes.",
            summary="drop what no window reaches any more",
        ),
        "backup": Verb(
            backup,
            [_FOLDER, *_COMMON, *options.as_json()],
            help="Write all that the store holds into a new folder.",
            summary="write a backup",
        ),
        "restore": Verb(
            restore_backup,
            [_FOLDER, *_COMMON, *options.confirmation("restored"), *options.as_json()],
            help="Write a backup into an empty store. Ingestion goes on from the offsets in it.",
            summary="write a backup into an empty store",
        ),
        "refused": Verb(
            refused_records,
            [
                Positional("source", metavar="SOURCE", help="whose records"),
                *_COMMON,
                option("--rows", metavar="N", type=int, default=20, help="how many to show, the latest (default: {default})"),
                *options.as_json(),
            ],
            help="Show the records of a source that were refused, and why.",
            summary="show refused records",
        ),
        "repair-clock": Verb(
            repair,
            [*_COMMON, *options.as_json()],
            help="Set streams that a wrong clock put ahead back to the present.",
            summary="set streams that a wrong clock put ahead back to the present",
        ),
    },
    help=__doc__,
)
