"""Remove one entity from everything that headwater stores, and write a receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Arguments, Verb, several
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.jobs.erasure_receipt import Receipt


def run(args: Arguments, screen: Screen) -> None:
    """Count, ask, erase."""
    from headwater.jobs.erase import erase

    key: dict[str, object] = {}
    for text in args.key:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--key is {text!r}; give COLUMN=VALUE, such as --key user=7")
        if name in key:
            raise UsageError(f"--key {name} is given twice; one command erases one entity")
        key[name] = value
    project, folder = load(args.project).project, options.data_dir(args)
    if not args.dry_run and not args.yes and screen.asks:
        _show(erase(project, key, store=args.store, data_dir=folder, dry_run=True), screen)
    if not args.dry_run and not options.confirmed(args, screen, "Erasing cannot be undone. Erase?"):
        screen.say("nothing was erased")
        return
    with screen.working("erasing"):
        receipt = erase(project, key, store=args.store, data_dir=folder, dry_run=args.dry_run)
    _show(receipt, screen)
    if not args.dry_run:
        screen.say(f"receipt: {receipt.path}")
        screen.next("headwater", "parity", "--project", args.project, *options.same_store(args))


def _show(receipt: Receipt, screen: Screen) -> None:
    from headwater.terminal.layout import ShownTable

    rows = [(location, f"{count:,}") for location, count in receipt.rows.items()]
    rows += [(f"not searched: {skipped.place}", skipped.why) for skipped in receipt.not_searched]
    screen.show(ShownTable("", ["place", "rows"], rows), receipt.to_dict())


COMMAND = Verb(
    run,
    [
        *options.project(model=False),
        *options.store(),
        several(
            "--key",
            metavar="COLUMN=VALUE",
            required=True,
            help="the entity: a column of a view's key; once for each column",
        ),
        *options.confirmation("removed"),
        *options.as_json(),
    ],
    help=__doc__,
    examples=["headwater erase --key user=7"],
)
