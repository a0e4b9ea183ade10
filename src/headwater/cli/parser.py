"""The parser of the command line. The module of a command is loaded when it is called, and its
libraries when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click

from headwater import __version__, settings
from headwater.cli.command import DEBUG, Actions, Base, Command, origin
from headwater.errors import UsageError, nearest
from headwater.terminal.standard_streams import STDOUT

VERBS: Final = {
    "demo": (
        "backtest a model on real flights, ingest a month of them live, and serve predictions for "
        "a week"
    ),
    "init": "write a first features.py from your own tables",
    "dataset": "write training data, each feature as it would have been then",
    "train": "train a model as of a time, and keep it for serving",
    "models": "list versions of fitted models, promote one, or roll back",
    "backtest": "show what fresher features buy, before anything is built",
    "assess": (
        "assess whether real time is right: its lift, its cost, its blockers, and the first step"
    ),
    "plan": "show what applying the project would change, and break",
    "apply": "write the project's definitions to the catalog, which pipelines use",
    "materialize": (
        "compute batch views, or a model's predictions, up to their last cut, and publish it"
    ),
    "ingest": "read streams into the online store, and keep features fresh",
    "serve": "serve features and predictions over HTTP",
    "experiment": "plan, start, follow and analyse experiments in production",
    "watch": "compare what a served model delivered with what its backtest promised",
    "replay": (
        "replay a day at another level, or with something failing: what would have been served "
        "and decided"
    ),
    "status": "show the state of streams and views in the online store",
    "explain": "explain a value: the events that count, and why others do not",
    "parity": "compare served values with what training computes",
    "runs": "list and compare the results that were kept, or log one to MLflow",
    "console": "show the project in the browser: verdicts, features, freshness, serving",
    "mcp": "let assistants read the project over MCP",
    "doctor": "check machine, packages, project, store, streams and models",
    "logs": "ship logs to an object store or Kafka, or fetch those of all machines",
    "store": "create, compact, back up or restore the online store",
    "deadletters": "list refused records, or replay them after a fix",
    "erase": "remove one entity from the store, the archive and the logs",
    "token": "create, list or revoke the tokens of headwater serve",
    "help": "show the help of a command",
    "completion": "print the completion script of bash, zsh or fish",
}

_HELP: Final = """From batch to real-time machine learning: define a feature once, measure what
fresher signals buy, then serve it.

`headwater demo` shows it on real flights; `headwater init` starts with your own tables.
"""


class Root(Base, click.Group):
    """`headwater`: its commands, each loaded when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """The commands in the order of work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        """A command by name."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"headwater.cli.{cmd_name}").COMMAND
        command.name, command.short_help = cmd_name, VERBS[cmd_name]
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called; of a command with actions, the default if none is named.

        Raises:
            UsageError: an unknown command; the message has the nearest one.
        """
        if args[0] not in VERBS and not ctx.resilient_parsing:
            raise UsageError(f"headwater has no command {args[0]!r}; {nearest(args[0], VERBS)}")
        name, command, rest = super().resolve_command(ctx, args)
        if (
            isinstance(command, Actions)
            and command.default is not None
            and command.chosen(rest) is None
        ):
            return name, command.default, rest
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (click's signature)
        """One line a command, without loading it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


def root() -> Root:
    """The command line as a whole."""
    version = click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_version,
        help="print the version and stop",
    )
    debug = click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        callback=_debug,
        help="show where an error came from",
    )
    return Root(
        "headwater",
        params=[version, debug],
        help=_HELP,
        no_args_is_help=False,
        subcommand_metavar="COMMAND ...",
        context_settings={"max_content_width": 100},
    )


def parse(argv: Sequence[str]) -> Command | None:
    """The command of a command line; None after help or the version was printed.

    Raises:
        UsageError: an unknown command or option, with the nearest one; a missing or malformed
            value.
    """
    if not argv:
        show_help([])
        raise UsageError("no command was given; name one of those above")
    command = root()
    try:
        with command.make_context("headwater", list(argv)) as ctx:
            called = command.invoke(ctx)
    except click.exceptions.Exit:  # click has printed help or the version
        return None
    except click.NoSuchOption as error:
        raise UsageError(_no_option(error)) from error
    except click.UsageError as error:
        raise UsageError(_wrong(error)) from error
    return called if isinstance(called, Command) else None


def complete(instruction: str) -> int:
    """Print completions, or the completion script, for a shell; the exit code."""
    from click.shell_completion import shell_complete

    return shell_complete(root(), {}, "headwater", settings.COMPLETE, instruction)


def show_help(names: Sequence[str]) -> None:
    """Print the help of a command, or of all.

    Raises:
        UsageError: an unknown command.
    """
    if names:
        parse([*names, "--help"])
        return
    command = root()
    STDOUT.write(command.make_context("headwater", [], resilient_parsing=True).get_help() + "\n")


def _version(ctx: click.Context, _param: click.Parameter, value: object) -> None:
    if value and not ctx.resilient_parsing:
        STDOUT.write(f"headwater {__version__}\n")
        ctx.exit()


def _debug(ctx: click.Context, _param: click.Parameter, value: object) -> None:
    ctx.meta[DEBUG] = bool(value)


def _no_option(error: click.NoSuchOption) -> str:
    """The sentence about an unknown option, with the nearest one."""
    ctx = error.ctx
    assert ctx is not None
    names = [
        name
        for param in ctx.command.get_params(ctx)
        for name in (*param.opts, *param.secondary_opts)
        if name.startswith("-")
    ]
    problem = (
        f"{ctx.command_path} has no option {error.option_name}; {nearest(error.option_name, names)}"
    )
    return f"{problem}{'' if problem.endswith('?') else '.'} See: {ctx.command_path} --help"


def _wrong(error: click.UsageError) -> str:
    """The sentence about a missing or malformed value, with where it comes from."""
    message = error.format_message()
    ctx = error.ctx
    if ctx is None:
        return message
    param = error.param if isinstance(error, click.BadParameter) else None
    source = origin(ctx, param) if param is not None else None
    examples = (
        getattr(ctx.command, "examples", ()) if isinstance(error, click.MissingParameter) else ()
    )
    if examples:
        message = f"{message.removesuffix('.')}, as in: {examples[0].partition('  #')[0]}"
    end = "" if message.endswith(".") else "."
    origin_text = f" It comes from {source}." if source else ""
    return f"{message}{end}{origin_text} See: {ctx.command_path} --help"
