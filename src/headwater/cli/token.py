"""Make, list and revoke the tokens that requests need; a service that runs takes up what changes."""

from __future__ import annotations

from headwater.cli import options
from headwater.cli.command import Actions, Given, Positional, Verb, option, several
from headwater.cli.screen import Screen


def new(given: Given, screen: Screen) -> None:
    """Make a token, and print it once."""
    from headwater.serving.http.auth import TokenFile

    file = TokenFile(options.tokens_file(given))
    made = file.add(given.name, given.scope)
    screen.show(made, {"token": made})
    screen.say(f"it is shown this once; {file.path} keeps its hash")
    screen.next("headwater", "serve")


def revoke(given: Given, screen: Screen) -> None:
    """Take a token away."""
    from headwater.serving.http.auth import TokenFile

    file = TokenFile(options.tokens_file(given))
    token = file.find(given.token)
    if given.dry_run:
        screen.show(f"would revoke {token.id} {token.name}".rstrip(), {"revoked": token.id, "dry_run": True})
        return
    question = (
        f"Requests with token {token.id}{f' ({token.name})' if token.name else ''} will be refused. This cannot be undone. Revoke it?"
    )
    if not options.confirmed(given, question):
        screen.say("nothing was revoked")
        return
    gone = file.revoke(token.id)
    screen.say(f"revoked {gone.id} {gone.name}".rstrip())
    screen.show_json({"revoked": gone.id})


def list_tokens(given: Given, screen: Screen) -> None:
    """Every token, without its secret."""
    from rich import box
    from rich.table import Table

    from headwater.serving.http.auth import TokenFile

    tokens = TokenFile(options.tokens_file(given)).read()
    table = Table("id", "name", "scopes", "made at", box=box.SIMPLE_HEAD, show_edge=False)
    for one in tokens:
        table.add_row(one.id, one.name, ", ".join(one.scopes), f"{one.made_at:%Y-%m-%d %H:%M:%S}")
    said = [{"id": one.id, "name": one.name, "scopes": list(one.scopes), "made_at": one.made_at.isoformat()} for one in tokens]
    screen.show(table, {"tokens": said})


COMMAND = Actions(
    {
        "new": Verb(
            new,
            [
                several(
                    "--scope",
                    metavar="SCOPE",
                    help="read (features), predict, write (events, outcomes) or admin (everything); once for each",
                ),
                option("--name", metavar="NAME", default="", help="what the token is called"),
                *options.tokens(),
                *options.as_json(),
            ],
            help="Make a token, which is printed once.",
            summary="make a token, which is printed once",
        ),
        "list": Verb(list_tokens, [*options.tokens(), *options.as_json()], help="List all tokens.", summary="list all tokens"),
        "revoke": Verb(
            revoke,
            [
                Positional("token", metavar="TOKEN", help="the id or the name of the token"),
                *options.tokens(),
                *options.confirmation("revoked"),
                *options.as_json(),
            ],
            help="Take a token away: requests with it are refused from then on.",
            summary="take a token away",
        ),
    },
    help=__doc__,
)
