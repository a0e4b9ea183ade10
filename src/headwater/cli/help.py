"""Show the help of a command, and of an action of it: `headwater help store compact`."""

from __future__ import annotations

from headwater.cli.command import Arguments, Positional, Verb
from headwater.cli.screen import Screen


def run(args: Arguments, screen: Screen) -> None:  # noqa: ARG001 (as every command)
    """Print it."""
    from headwater.cli.parser import show_help

    show_help(args.command)


COMMAND = Verb(
    run,
    [Positional("command", nargs=-1, metavar="COMMAND", help="which one (default: all)")],
    help=__doc__,
    at_once=True,
    examples=["headwater help store compact"],
)
