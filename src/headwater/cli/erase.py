"""Remove one entity from everything that headwater stores, and write a receipt."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Given, Verb, several
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.erasure.receipt import Receipt


def run(given: Given, screen: Screen) -> None:
    """Count, ask, erase."""
    from headwater.erasure.erase import erase

    key: dict[str, object] = {}
    for text in given.key:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--key is {text!r}; give COLUMN=VALUE, such as --key user=7")
        if name in key:
            raise UsageError(f"--key {name} is given twice; one command erases one entity")
        key[name] = value
    project, place = load(given.project).project, options.data_dir(given)
    if not given.dry_run and not given.yes and sys.stdin.isatty():
        _show(erase(project, key, store=given.store, folder=place, dry_run=True), screen)
    if not given.dry_run and not options.confirmed(given, "Erasing cannot be undone. Erase?"):
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


COMMAND = Verb(
    run,
    [
        *options.project(model=False),
        *options.store(),
        several("--key", metavar="COLUMN=VALUE", required=True, help="the entity: a column of a view's key; once for each column"),
        *options.confirmation("removed"),
        *options.as_json(),
    ],
    help=__doc__,
)
