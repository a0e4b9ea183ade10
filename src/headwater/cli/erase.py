"""Remove one entity from everything that headwater stores, and write a receipt."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.pipelines.erase_receipt import Receipt

SUMMARY = "remove one entity from the store, the archive and the logs"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `headwater erase`."""
    options.project(parser, model=False)
    options.store(parser)
    parser.add_argument(
        "--key", action="append", required=True, metavar="COLUMN=VALUE", help="the entity: a column of a view's key; once for each column"
    )
    parser.add_argument("--dry-run", action="store_true", help="only count what would be removed")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    options.as_json(parser)


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Count, ask, erase."""
    from headwater.pipelines.erase import erase

    key: dict[str, object] = {}
    for text in given.key:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--key is {text!r}; give COLUMN=VALUE, such as --key user=7")
        if name in key:
            raise UsageError(f"--key {name} is given twice; one command erases one entity")
        key[name] = value
    project, place = load(given.project).project, options.place(given)
    if not given.dry_run and not given.yes:
        if not sys.stdin.isatty():
            raise UsageError(
                "erasing cannot be undone, and nobody can be asked here; give --yes, or --dry-run to see what would be removed"
            )
        _show(erase(project, key, store=given.store, folder=place, dry_run=True), screen)
        sys.stderr.write("This cannot be undone. Erase? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            screen.say("nothing was erased")
            return
    with screen.working("erasing"):
        receipt = erase(project, key, store=given.store, folder=place, dry_run=given.dry_run)
    _show(receipt, screen)
    if not given.dry_run:
        screen.say(f"receipt: {receipt.path}")
        screen.next("headwater", "parity", "--project", given.project, *options.same_store(given))


def _show(receipt: Receipt, screen: Screen) -> None:
    from rich import box
    from rich.table import Table

    table = Table("place", "rows", box=box.SIMPLE_HEAD, show_edge=False)
    for place, rows in receipt.rows.items():
        table.add_row(place, f"{rows:,}")
    for one in receipt.not_searched:
        table.add_row(f"not searched: {one.place}", one.why)
    screen.show(table, receipt.to_dict())
