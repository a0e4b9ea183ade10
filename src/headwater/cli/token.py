"""Create, list and revoke the tokens of requests; a running service reads changes."""

from __future__ import annotations

from headwater.cli import options
from headwater.cli.command import Actions, Arguments, Positional, Verb, option, several
from headwater.cli.screen import Screen


def new(args: Arguments, screen: Screen) -> None:
    """Create a token, and print it once."""
    from headwater.serving.http.auth import TokenFile

    screen.check_seen("a token is printed only once")
    file = TokenFile(options.tokens_file(args))
    token = file.add(args.name, args.scope)
    screen.show(token, {"token": token})
    screen.say(f"it is shown only once; {file.path} has its hash")
    screen.next("headwater", "serve")


def revoke(args: Arguments, screen: Screen) -> None:
    """Revoke a token."""
    from headwater.serving.http.auth import TokenFile

    file = TokenFile(options.tokens_file(args))
    token = file.find(args.token)
    if args.dry_run:
        screen.show(
            f"would revoke {token.id} {token.name}".rstrip(), {"revoked": token.id, "dry_run": True}
        )
        return
    question = (
        f"Requests with token {token.id}{f' ({token.name})' if token.name else ''} will be "
        "refused. This cannot be undone. Revoke it?"
    )
    if not options.confirmed(args, screen, question):
        screen.say("nothing was revoked")
        return
    revoked = file.revoke(token.id)
    screen.say(f"revoked {revoked.id} {revoked.name}".rstrip())
    screen.show_json({"revoked": revoked.id})


def list_tokens(args: Arguments, screen: Screen) -> None:
    """Every token, without its secret."""
    from headwater.serving.http.auth import TokenFile
    from headwater.terminal.layout import ShownTable

    tokens = TokenFile(options.tokens_file(args)).read()
    rows = [
        [token.id, token.name, ", ".join(token.scopes), f"{token.made_at:%Y-%m-%d %H:%M:%S}"]
        for token in tokens
    ]
    records = [
        {
            "id": token.id,
            "name": token.name,
            "scopes": list(token.scopes),
            "made_at": token.made_at.isoformat(),
        }
        for token in tokens
    ]
    screen.show(ShownTable("", ["id", "name", "scopes", "made at"], rows), {"tokens": records})


COMMAND = Actions(
    {
        "new": Verb(
            new,
            [
                several(
                    "--scope",
                    metavar="SCOPE",
                    help=(
                        "read (features), predict, write (events, outcomes) or admin "
                        "(everything); once for each"
                    ),
                ),
                option("--name", metavar="NAME", default="", help="a name for the token"),
                *options.tokens(),
                *options.as_json(),
            ],
            help="Create a token, which is printed once.",
            summary="create a token, which is printed once",
            examples=["headwater token new --name checkout --scope predict --scope write"],
        ),
        "list": Verb(
            list_tokens,
            [*options.tokens(), *options.as_json()],
            help="List all tokens.",
            summary="list all tokens",
            examples=["headwater token list"],
        ),
        "revoke": Verb(
            revoke,
            [
                Positional("token", metavar="TOKEN", help="the id or the name of the token"),
                *options.tokens(),
                *options.confirmation("revoked"),
                *options.as_json(),
            ],
            help="Revoke a token: requests with it are refused from then on.",
            summary="revoke a token",
            examples=["headwater token revoke checkout"],
        ),
    },
    help=__doc__,
)
