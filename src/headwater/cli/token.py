"""Make, list and revoke the tokens that requests need; a service that runs takes up what changes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.serving.access import Token

SUMMARY = "make, list or revoke the tokens of headwater serve"
_ACTIONS = ("new", "list", "revoke")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `headwater token`."""
    parser.add_argument(
        "action", choices=_ACTIONS, help="new: make one, which is printed once; list: all of them; revoke TOKEN: take one away"
    )
    parser.add_argument("token", nargs="?", metavar="TOKEN", help="the id or the name of the token to revoke")
    parser.add_argument(
        "--scope",
        action="append",
        default=[],
        metavar="SCOPE",
        help="of a new token: read (features), predict, write (events, outcomes) or admin (everything); once for each",
    )
    parser.add_argument("--name", default="", help="what a new token is called")
    options.tokens(parser)
    options.as_json(parser)


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Do one of them."""
    from headwater.serving.access import TokenFile

    if (given.token is not None) != (given.action == "revoke"):
        raise UsageError(
            f"headwater token {given.action} {'needs the id or name of a token' if given.action == 'revoke' else 'takes nothing more'}"
        )
    file = TokenFile(options.tokens_file(given))
    if given.action == "new":
        made = file.add(given.name, given.scope)
        screen.show(made, {"token": made})
        screen.say(f"it is shown this once; {file.path} keeps its hash")
        screen.next("headwater", "serve")
    elif given.action == "revoke":
        gone = file.revoke(given.token)
        screen.say(f"revoked {gone.id} {gone.name}".rstrip())
        screen.show_json({"revoked": gone.id})
    else:
        _list(file.read(), screen)


def _list(tokens: list[Token], screen: Screen) -> None:
    from rich import box
    from rich.table import Table

    table = Table("id", "name", "scopes", "made at", box=box.SIMPLE_HEAD, show_edge=False)
    for one in tokens:
        table.add_row(one.id, one.name, ", ".join(one.scopes), f"{one.made_at:%Y-%m-%d %H:%M:%S}")
    said = [{"id": one.id, "name": one.name, "scopes": list(one.scopes), "made_at": one.made_at.isoformat()} for one in tokens]
    screen.show(table, {"tokens": said})
