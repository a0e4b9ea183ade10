"""Let assistants read the project over MCP: features and their state, explanations, kept results.
Read only.
"""

from __future__ import annotations

from contextlib import closing

from headwater.cli import options
from headwater.cli.command import Arguments, Verb, option, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen


def run(args: Arguments, screen: Screen) -> None:
    """Serve MCP on standard input and output, or over HTTP, until stopped."""
    from headwater.assistants.mcp_server import mcp_server, run_http
    from headwater.assistants.project_reader import ProjectReader

    reader = ProjectReader(
        load(args.project).project,
        args.store,
        options.data_dir(args),
        args.models,
        values=args.values,
    )
    server = mcp_server(reader)
    if args.listen is None:
        server.run()
        return
    from headwater.serving.http.auth import Access, check_bind
    from headwater.serving.process.ingest_process import address
    from headwater.serving.process.listening_socket import open_listener, url_of

    host, port = address(args.listen)
    tokens = options.tokens_file(args)
    tokens_file = tokens if args.tokens is not None or tokens.is_file() else None
    check_bind(host, tokens_file)
    access = Access(tokens_file)
    with closing(open_listener(host, port)) as listener:
        screen.say(f"MCP at {url_of(host, port)}/mcp")
        run_http(server, access, listener)


COMMAND = Verb(
    run,
    [
        *options.project(model=False),
        options.store()[0],
        *options.logs(),
        *options.models(),
        option(
            "--listen",
            metavar="HOST:PORT",
            help="serve over HTTP at this address (default: standard input and output)",
        ),
        *options.tokens(),
        switch(
            "--values",
            help=(
                "let explanations show values of entities; without it they show times and reasons "
                "only"
            ),
        ),
    ],
    help=__doc__,
    examples=["headwater mcp", "headwater mcp --listen 127.0.0.1:8340"],
)
