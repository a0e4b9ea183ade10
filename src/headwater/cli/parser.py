"""What a command line means. Argparse, since it loads in a few milliseconds; the commands load what they need when they run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from headwater import __version__
from headwater.cli import (
    apply,
    assess,
    backtest,
    dataset,
    deadletters,
    demo,
    erase,
    explain,
    ingest,
    init,
    materialize,
    models,
    parity,
    plan,
    serve,
    status,
    store,
    token,
    train,
)
from headwater.cli.screen import Screen
from headwater.errors import UsageError, nearest

VERBS = {
    verb.__name__.rpartition(".")[2]: verb
    for verb in (
        demo,
        init,
        dataset,
        train,
        models,
        backtest,
        assess,
        plan,
        apply,
        materialize,
        ingest,
        serve,
        status,
        explain,
        parity,
        store,
        deadletters,
        erase,
        token,
    )
}

_HELP = """
From batch to real-time machine learning: define a feature once, measure what fresher signals buy, then serve it.
`headwater demo` shows it on real flights; `headwater init` starts with your own tables.
"""


@dataclass(frozen=True)
class Command:
    """A verb's function, and the options that it was called with."""

    run: Callable[[argparse.Namespace, Screen], None]
    options: argparse.Namespace


class _Parser(argparse.ArgumentParser):
    """Argparse that raises, so that a bad call is reported like every other error."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. See: {self.prog} --help")


def parse(argv: Sequence[str]) -> Command | None:
    """The command of a command line; None where help or the version was asked for and printed.

    Raises:
        UsageError: an unknown verb or option, with the nearest one; a missing or malformed value.
    """
    parser, verbs = _build()
    if not argv:
        parser.print_help()
        raise UsageError(f"name a command: {', '.join(VERBS)}")
    if not argv[0].startswith("-") and argv[0] not in VERBS:
        raise UsageError(f"headwater has no command {argv[0]!r}; {nearest(argv[0], VERBS)}")
    try:
        options, unknown = parser.parse_known_args(argv)
    except SystemExit:  # argparse has printed what was asked for
        return None
    if unknown:
        own = [option for action in verbs[options.verb]._actions for option in action.option_strings]  # noqa: SLF001 (argparse shows them nowhere else)
        given = unknown[0].partition("=")[0]
        what = f"has no option {given}; {nearest(given, own)}" if given.startswith("-") else f"does not take {given!r} here"
        raise UsageError(f"headwater {options.verb} {what}{'' if what.endswith('?') else '.'} See: headwater {options.verb} --help")
    return Command(VERBS[options.verb].run, options)


def _build() -> tuple[_Parser, dict[str, _Parser]]:
    parser = _Parser(prog="headwater", description=_HELP, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"headwater {__version__}", help="print the version and stop")
    subparsers = parser.add_subparsers(dest="verb", metavar="COMMAND", title="commands", required=True)
    verbs = {}
    for name, verb in VERBS.items():
        made = subparsers.add_parser(name, help=verb.SUMMARY, description=verb.__doc__, allow_abbrev=False)
        verb.arguments(made)
        made.add_argument("--debug", action="store_true", help="show where an error came from")
        verbs[name] = made
    return parser, verbs
