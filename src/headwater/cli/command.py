"""Commands, options and arguments on click: sections of help pages, and options with an optional
value.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Final

import click
from click.core import ParameterSource

from headwater.cli.help_page import HelpContext, show_page
from headwater.cli.screen import Screen
from headwater.errors import UsageError, nearest

FILE: Final = "headwater.file"  # keys of click's Context.meta
DEBUG: Final = "headwater.debug"
# before a value after an equals sign: else click takes one that begins with dashes for an option
_MARK: Final = "\0"
# of headwater.toml; their options also have environment variables
SECTIONS: Final = ("serve", "ingest", "materialize", "watch", "plan")
# a shell completes these
_TYPES: Final[Mapping[str | None, click.Path]] = {"FILE": click.Path(), "FOLDER": click.Path()}


class Arguments(SimpleNamespace):
    """The values of a command's options and arguments, by name.

    origins: the environment variable or file of a value, by name; values of the command line and
    defaults have none.
    file: the values of headwater.toml for every command, by the name of the option.
    supervised: the link to the supervisor of this process, if it has one.
    """

    origins: Mapping[str, str]
    file: Mapping[str, str]

    def by_flag(self, name: str) -> bool:
        """Whether the value was given on the command line."""
        return getattr(self, name, None) is not None and name not in self.origins


@dataclass(frozen=True)
class Command:
    """A parsed command line: the function and the values of its options."""

    run: Callable[[Arguments, Screen], None]
    options: Arguments


class Flag(click.Option):
    """An option. section: its heading on the help page."""

    section: str | None = None
    may_be_bare = False  # whether its value may be left out

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return self.opts[0]


def _unmarked(value: str) -> str:
    """A value without the mark before it."""
    return value.removeprefix(_MARK)


def option(name: str, *, metavar: str | None = None, help: str, **more: object) -> Flag:  # noqa: A002 (click's word)
    """An option with a value; `{default}` in its help is the default. Paths, by their metavar, can
    be completed by a shell.

    >>> option(
    ...     "--rows", type=int, default=20, metavar="N", help="how many rows (default: {default})"
    ... ).help
    'how many rows (default: 20)'
    """
    if metavar in _TYPES:
        more.setdefault("type", _TYPES[metavar])
    shown = help.replace("{default}", str(more.get("default")))
    return Flag([name], metavar=metavar, help=shown, **more)  # type: ignore[arg-type]  # click's own keywords


def switch(name: str, *, help: str) -> Flag:  # noqa: A002 (click's word)
    """An option without a value."""
    return option(name, help=help, is_flag=True)


def several(
    name: str,
    *,
    metavar: str,
    help: str,  # noqa: A002
    type: type = str,  # noqa: A002
    required: bool = False,
) -> Flag:
    """An option that may be repeated."""
    return option(name, metavar=metavar, help=help, multiple=True, type=type, required=required)


def optional(name: str, *, metavar: str, help: str) -> Flag:  # noqa: A002 (click's word)
    """An option whose value may be left out, which is the empty string then; None where the option
    is not given.
    """
    flag = option(name, metavar=metavar, help=help, type=_unmarked, is_flag=False, flag_value="")
    flag.metavar = f"[{metavar}]"
    flag.may_be_bare = True
    return flag


def section(title: str, options: Sequence[Flag]) -> list[Flag]:
    """Options under a heading of their own in the help."""
    for flag in options:
        flag.section = title
    return list(options)


class Positional(click.Argument):
    """An argument with a help text of its own."""

    def __init__(self, name: str, *, metavar: str, help: str, **more: object) -> None:  # noqa: A002 (click's word)
        if metavar in _TYPES:
            more.setdefault("type", _TYPES[metavar])
        super().__init__([name], metavar=metavar, **more)  # type: ignore[arg-type]  # click's own keywords
        self.own_help = help


class Base(click.Command):
    """What every command shares: its help page, and the words of --help."""

    context_class = HelpContext

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """The option --help."""
        help_option = super().get_help_option(ctx)
        if help_option is not None:
            help_option.help = "show this help and stop"
            help_option.callback = show_page
        return help_option


class Verb(Base):
    """A command. When invoked it returns a `Command`; with `at_once` it runs immediately, without
    loading anything.

    examples: command lines, shown on the help page; each may end with a comment.
    actions: the commands of a group, if this one is its default.
    """

    def __init__(
        self,
        run: Callable[[Arguments, Screen], None],
        params: Sequence[click.Parameter],
        *,
        help: str | None,  # noqa: A002 (click's word)
        examples: Sequence[str],
        summary: str = "",
        at_once: bool = False,
    ) -> None:
        debug = [] if at_once else [switch("--debug", help="show where an error came from")]
        super().__init__(None, params=[*params, *debug], help=help, short_help=summary)
        self.run = run
        self.at_once = at_once
        self.examples = examples
        self.actions: Mapping[str, Verb] = {}
        self.context_settings["max_content_width"] = 100

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; extra arguments are an error with the nearest action."""
        if ctx.auto_envvar_prefix is None and self.name in SECTIONS:
            ctx.auto_envvar_prefix = f"HEADWATER_{self.name.upper()}"
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, self._marked(args))
        if rest and not ctx.resilient_parsing:
            near = f"; {nearest(rest[0], self.actions)}" if self.actions else ""
            problem = f"{ctx.command_path} does not take {rest[0]!r} here{near}"
            raise UsageError(
                f"{problem}{'' if problem.endswith('?') else '.'} See: {ctx.command_path} --help"
            )
        return rest

    def _marked(self, args: list[str]) -> list[str]:
        """The command line with optional values marked."""
        options = [param for param in self.params if isinstance(param, Flag)]
        optional = {param.flag for param in options if param.may_be_bare}
        changed: list[str] = []
        rest = iter(args)
        for arg in rest:
            if arg == "--":
                return [*changed, arg, *rest]
            # several options in one string
            if changed and changed[-1] in optional and arg.startswith("-") and " " in arg:
                changed[-1] += f"={_MARK}{arg}"
                continue
            name, equals, value = arg.partition("=")
            changed.append(
                f"{name}={_MARK}{value}" if equals and name in optional else name + equals + value
            )
        return changed

    def invoke(self, ctx: click.Context) -> Command | None:
        """The command with its values; None where it has run."""
        values = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in ctx.params.items()
        }
        file = ctx.meta[FILE].shared if FILE in ctx.meta else {}
        values["debug"] = values.get("debug", False) or ctx.meta.get(DEBUG, False)
        arguments = Arguments(**values, origins=dict(_origins(ctx)), file=file, supervised=None)
        if self.at_once:
            self.run(arguments, Screen(as_json=False))
            return None
        return Command(self.run, arguments)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What follows the name in the line of usage."""
        return [*super().collect_usage_pieces(ctx), *(["[ACTION]"] if self.actions else [])]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, arguments, options by section, and the actions of the group."""
        with formatter.section("Examples"):
            formatter.write("".join(f"  {line}\n" for line in self.examples))
        arguments = [
            (p.make_metavar(ctx), p.own_help) for p in self.params if isinstance(p, Positional)
        ]
        _listed(formatter, "Arguments", arguments)
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for param in self.get_params(ctx):
            if isinstance(param, Positional):
                continue
            title = getattr(param, "section", None) or "Options"
            if record := param.get_help_record(ctx):
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            _listed(formatter, title, records)
        list_actions(formatter, self.actions)

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Options, and the actions of the group."""
        items = super().shell_complete(ctx, incomplete)
        item = click.shell_completion.CompletionItem
        return [*(item(name) for name in self.actions if name.startswith(incomplete)), *items]


class Actions(Base, click.Group):
    """A command of several actions, such as `headwater store compact`. default: the action if none
    is named.
    """

    def __init__(
        self,
        actions: Mapping[str, Verb],
        *,
        help: str | None,  # noqa: A002
        default: Verb | None = None,
    ) -> None:
        super().__init__(None, commands=dict(actions), help=help, subcommand_metavar="ACTION ...")
        self.context_settings["max_content_width"] = 100
        for name, verb in actions.items():
            verb.name = name
        self.default = copy.copy(default)  # its help page lists the actions
        if self.default is not None:
            self.default.actions = actions

    def chosen(self, args: Sequence[str]) -> int | None:
        """The index of the action: options may come before it, each with its value. None where no
        action is named.
        """
        verbs = [verb for verb in [*self.commands.values(), self.default] if verb is not None]
        options = [param for verb in verbs for param in verb.params if isinstance(param, Flag)]
        valued = {
            name
            for flag_param in options
            if not (flag_param.is_flag or flag_param.may_be_bare)
            for name in flag_param.opts
        }
        skip = False
        for n, arg in enumerate(args):
            if skip:
                skip = False
            elif not arg.startswith("-"):
                return n if arg in self.commands or self.default is None else None
            else:
                skip = arg in valued
        return None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with the action first."""
        n = self.chosen(args)
        if (
            n is None
            and not set(args) & set(self.get_help_option_names(ctx))
            and not ctx.resilient_parsing
        ):
            raise UsageError(
                f"{ctx.command_path} needs an action: {', '.join(self.commands)}. See: "
                f"{ctx.command_path} --help"
            )
        return super().parse_args(ctx, args if n is None else [args[n], *args[:n], *args[n + 1 :]])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The action.

        Raises:
            UsageError: an unknown action; the message has the nearest one.
        """
        if args[0] not in self.commands and not ctx.resilient_parsing:
            raise UsageError(
                f"{ctx.command_path} has no action {args[0]!r}; {nearest(args[0], self.commands)}"
            )
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its only option, --help, and its actions."""
        _listed(
            formatter,
            "Options",
            [record for param in self.get_params(ctx) if (record := param.get_help_record(ctx))],
        )
        list_actions(formatter, self.commands)


def list_actions(formatter: click.HelpFormatter, actions: Mapping[str, click.Command]) -> None:
    """Write the names of actions with one line for each."""
    _listed(
        formatter, "Actions", [(name, action.short_help or "") for name, action in actions.items()]
    )


def origin(ctx: click.Context, param: click.Parameter) -> str | None:
    """The environment variable or file of a value; None for a value of the command line and for a
    default.
    """
    source = ctx.get_parameter_source(param.name or "")
    if source is ParameterSource.ENVIRONMENT:
        return str(param.envvar or f"{ctx.auto_envvar_prefix}_{(param.name or '').upper()}")
    if source is ParameterSource.DEFAULT_MAP:
        return str(ctx.meta[FILE].path)
    return None


def _origins(ctx: click.Context) -> Iterator[tuple[str, str]]:
    for param in ctx.command.params:
        if param.name is not None and (source := origin(ctx, param)) is not None:
            yield param.name, source


def _listed(formatter: click.HelpFormatter, title: str, records: Sequence[tuple[str, str]]) -> None:
    if records:
        with formatter.section(title):
            formatter.write_dl(records)
