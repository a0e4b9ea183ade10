"""Show the project in the browser: verdicts, features, freshness, serving. Until stopped."""

from __future__ import annotations

import os
from typing import Final

from headwater import clock
from headwater.cli import options
from headwater.cli.command import Arguments, Verb, option
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.cli.signals import stopped

_NICENESS: Final = 10


def run(args: Arguments, screen: Screen) -> None:
    """Serve the console until stopped."""
    from headwater.console.console_app import console_app
    from headwater.console.console_context import ConsoleContext
    from headwater.serving.http.auth import check_bind
    from headwater.serving.http.console_proxy import BASE
    from headwater.serving.process.ingest_process import address
    from headwater.serving.process.uvicorn_server import ServerOptions, serving

    host, port = address(args.listen)
    tokens = options.tokens_file(args)
    tokens_file = tokens if args.tokens is not None or tokens.is_file() else None
    check_bind(host, tokens_file)
    at = options.timestamp(args.at, "--at")
    context = ConsoleContext(
        load(args.project).project,
        options.data_dir(args),
        file=args.project,
        store=args.store,
        models=args.models,
        catalog=args.catalog,
        now=clock.now_micros if at is None else lambda: clock.micros(at),
    )
    link = args.supervised
    if link is not None:
        os.nice(_NICENESS)  # workers come first
    serves = (
        ServerOptions()
        if link is None
        else ServerOptions(link.listener, shared=lambda: True, grace=0.5)
    )
    try:
        with (
            stopped() as stop,
            serving(
                console_app(context, tokens_file, proxied=link is not None),
                host,
                port,
                options=serves,
            ) as url,
        ):
            if link is None:
                screen.say(f"console of {context.project.name} at {url}{BASE}")
            else:
                link.watch(list)
            stop.wait()
    finally:
        context.close()
    if link is not None:
        return
    screen.say("stopping")
    screen.next("headwater", "status", "--project", args.project, *options.same_store(args))


COMMAND = Verb(
    run,
    [
        *options.project(model=False),
        option(
            "--listen",
            metavar="HOST:PORT",
            default="127.0.0.1:8330",
            help="where to listen (default: {default})",
        ),
        options.store()[0],
        *options.reads(),
        *options.logs(),
        *options.models(),
        *options.catalog(),
        *options.tokens(),
        option(
            "--at",
            metavar="TIME",
            help="show ages and logs as of this time: ISO 8601 with an offset (default: now)",
        ),
    ],
    help=__doc__,
    examples=[
        "headwater console",
        "headwater console --project shop/features.py --listen 127.0.0.1:8331",
    ],
)
