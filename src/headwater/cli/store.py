"""Keep an online store: drop what no window reaches any more, back it up, restore it, or see what was refused."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.pipelines.upkeep import Kept

SUMMARY = "compact, back up or restore the online store; show refused records"
_ACTIONS = {"compact": 0, "backup": 1, "restore": 1, "refused": 1, "repair-clock": 0}


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `headwater store`."""
    parser.add_argument(
        "action",
        choices=list(_ACTIONS),
        help="compact: drop what no window reaches; backup FOLDER; restore FOLDER; refused SOURCE; "
        "repair-clock: set streams that a wrong clock put ahead back to the present",
    )
    parser.add_argument("what", nargs="?", metavar="FOLDER|SOURCE", help="where the backup is, or whose refused records to show")
    options.project(parser, model=False)
    options.store(parser)
    parser.add_argument(
        "--rows", type=int, default=20, metavar="N", help="how many refused records to show, the latest (default: %(default)s)"
    )
    options.as_json(parser)


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Do one of them."""
    if (given.what is not None) != bool(_ACTIONS[given.action]):
        takes = "takes nothing more" if not _ACTIONS[given.action] else "needs a SOURCE" if given.action == "refused" else "needs a FOLDER"
        raise UsageError(f"headwater store {given.action} {takes}")
    {"compact": _compact, "backup": _backup, "restore": _restore, "refused": _refused, "repair-clock": _repair}[given.action](given, screen)


def _compact(given: argparse.Namespace, screen: Screen) -> None:
    from headwater.pipelines.upkeep import compact_store

    with screen.working("compacting"):
        kept = compact_store(load(given.project).project, store=given.store)
    screen.show(_table(kept), {"views": [_said(one) for one in kept]})
    screen.next("headwater", "status", "--project", given.project, *options.same_store(given))


def _said(one: Kept) -> dict[str, object]:
    before, after = one.compaction.before, one.compaction.after
    sizes = {"records_before": before.records, "records": after.records, "bytes_before": before.bytes, "bytes": after.bytes}
    return {"view": one.view, **sizes, "tiles_before": before.tiles, "tiles": after.tiles, "busy": one.compaction.busy}


def _table(kept: list[Kept]) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table("view", "records", "left", "bytes", "left", "bytes a record", "tiles a record", box=box.SIMPLE_HEAD, show_edge=False)
    for one in kept:
        before, after = one.compaction.before, one.compaction.after
        numbers = (before.records, after.records, before.bytes, after.bytes)
        table.add_row(one.view, *(f"{n:,}" for n in numbers), f"{after.mean_bytes:,.0f}", f"{after.mean_tiles:.1f}")
    return table


def _backup(given: argparse.Namespace, screen: Screen) -> None:
    from headwater.online_stores import opened

    with opened(given.store) as store, screen.working("writing the backup"):
        store.backup(Path(given.what))
    screen.say(f"backup: {given.what}. The archive in {options.place(given) / 'archive'} is files: copy them after the backup")
    screen.next("headwater", "store", "restore", given.what, "--store", "URL")


def _restore(given: argparse.Namespace, screen: Screen) -> None:
    from headwater import settings
    from headwater.online_stores.backups import restore

    with screen.working("restoring"):
        restore(Path(given.what), given.store or settings.store())
    screen.say(f"restored {given.what}; ingestion goes on from the offsets in it")
    screen.next("headwater", "ingest", "--project", given.project, *options.same_store(given))


def _repair(given: argparse.Namespace, screen: Screen) -> None:
    from headwater.pipelines.repair_clock import repair_clock

    with screen.working("setting streams back to the present"):
        found = repair_clock(load(given.project).project, store=given.store, folder=options.place(given))
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


def _refused(given: argparse.Namespace, screen: Screen) -> None:
    from rich import box
    from rich.table import Table

    from headwater.online_stores import opened
    from headwater.pipelines.status import refused

    with opened(given.store, readonly=True) as store:
        rows = refused(store, load(given.project).project, given.what, options.place(given)).head(given.rows)
    table = Table(*rows.columns, box=box.SIMPLE_HEAD, show_edge=False)
    for row in rows.iter_rows():
        table.add_row(*("" if v is None else v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in row))
    said = [{name: v.decode(errors="replace") if isinstance(v, bytes) else str(v) for name, v in row.items()} for row in rows.to_dicts()]
    screen.show(table, {"source": given.what, "refused": said})
