"""Commands, options and arguments on click: old names of options, sections of a help page, and options whose value may be left out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Final

import click
from click.core import ParameterSource

from headwater.cli.screen import Screen
from headwater.errors import UsageError, nearest

_OLD_NAMES: Final = "headwater.old_names"  # keys of click's Context.meta
FILE: Final = "headwater.file"
_MARK: Final = "\0"  # before a value that stands behind an equals sign: else click takes one that begins with dashes for an option
SECTIONS: Final = ("serve", "ingest", "materialize")  # of headwater.toml; options of these have variables of their own too
_TYPES: Final[Mapping[str | None, click.Path]] = {"FILE": click.Path(), "FOLDER": click.Path()}  # a shell completes these


class Given(SimpleNamespace):
    """The values of a command's options and arguments, by name.

    origins: the variable or the file that a value comes from, by name; nothing for values of the command line, and for defaults.
    file: the values of headwater.toml that are for every command, by the name of the option.
    supervised: what ties this process to the one that supervises it, if one does.
    """

    origins: Mapping[str, str]
    file: Mapping[str, str]

    def by_flag(self, name: str) -> bool:
        """Whether the value was given on the command line."""
        return getattr(self, name, None) is not None and name not in self.origins


@dataclass(frozen=True)
class Command:
    """What a command line calls: the function and the values of its options; old_names: remarks on options that were renamed."""

    run: Callable[[Given, Screen], None]
    options: Given
    old_names: Sequence[str] = ()


class Flag(click.Option):
    """An option; old_names go on working for one release. section: the heading that it is listed under."""

    old_names: tuple[str, ...] = ()
    section: str | None = None
    may_be_bare = False  # whether its value may be left out

    @property
    def flag(self) -> str:
        """Its name as it is typed."""
        return self.opts[0]


def _unmarked(value: str) -> str:
    """A value without the mark before it."""
    return value.removeprefix(_MARK)


def option(name: str, *, old: str | None = None, metavar: str | None = None, help: str, **more: object) -> Flag:  # noqa: A002 (click's word)
    """An option with a value; `{default}` in its help is the default. Paths, by their metavar, can be completed by a shell.

    >>> option("--rows", type=int, default=20, metavar="N", help="how many rows (default: {default})").help
    'how many rows (default: 20)'
    """
    if metavar in _TYPES:
        more.setdefault("type", _TYPES[metavar])
    shown = help.replace("{default}", str(more.get("default")))
    made = Flag([name], metavar=metavar, help=shown, **more)  # type: ignore[arg-type]  # click's own keywords
    made.old_names = (old,) if old else ()
    return made


def switch(name: str, *, old: str | None = None, help: str) -> Flag:  # noqa: A002 (click's word)
    """An option without a value."""
    return option(name, old=old, help=help, is_flag=True)


def several(name: str, *, old: str | None = None, metavar: str, help: str, type: type = str, required: bool = False) -> Flag:  # noqa: A002 (click's words)
    """An option that may be repeated."""
    return option(name, old=old, metavar=metavar, help=help, multiple=True, type=type, required=required)


def optional(name: str, *, metavar: str, help: str) -> Flag:  # noqa: A002 (click's word)
    """An option whose value may be left out, which is the empty string then; None where the option is not given."""
    made = option(name, metavar=metavar, help=help, type=_unmarked, is_flag=False, flag_value="")
    made.metavar = f"[{metavar}]"
    made.may_be_bare = True
    return made


def section(title: str, options: Sequence[Flag]) -> list[Flag]:
    """Options under a heading of their own in the help."""
    for one in options:
        one.section = title
    return list(options)


class Positional(click.Argument):
    """An argument with a help text of its own."""

    def __init__(self, name: str, *, metavar: str, help: str, **more: object) -> None:  # noqa: A002 (click's word)
        if metavar in _TYPES:
            more.setdefault("type", _TYPES[metavar])
        super().__init__([name], metavar=metavar, **more)  # type: ignore[arg-type]  # click's own keywords
        self.own_help = help


class Base(click.Command):
    """What every command shares: the words of --help."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """The option --help."""
        made = super().get_help_option(ctx)
        if made is not None:
            made.help = "show this help and stop"
        return made


class Verb(Base):
    """A command. Being invoked, it returns a `Command`, or runs at once where it is `at_once`: nothing is loaded for that.

    actions: the commands of a group that this one stands for where none of them is named.
    """

    def __init__(
        self,
        run: Callable[[Given, Screen], None],
        params: Sequence[click.Parameter],
        *,
        help: str | None,  # noqa: A002 (click's word)
        summary: str = "",
        at_once: bool = False,
    ) -> None:
        debug = [] if at_once else [switch("--debug", help="show where an error came from")]
        super().__init__(None, params=[*params, *debug], help=help, short_help=summary)
        self.run = run
        self.at_once = at_once
        self.actions: Mapping[str, Verb] = {}
        self.context_settings["max_content_width"] = 100

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; old names of options become the new ones, and what is left over is an error that names the nearest action."""
        if ctx.auto_envvar_prefix is None and self.name in SECTIONS:
            ctx.auto_envvar_prefix = f"HEADWATER_{self.name.upper()}"
        ctx.allow_extra_args = True
        left = super().parse_args(ctx, self._renamed(ctx, args))
        if left and not ctx.resilient_parsing:
            near = f"; {nearest(left[0], self.actions)}" if self.actions else ""
            what = f"{ctx.command_path} does not take {left[0]!r} here{near}"
            raise UsageError(f"{what}{'' if what.endswith('?') else '.'} See: {ctx.command_path} --help")
        return left

    def _renamed(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The command line with the new names of options, and with the values marked that may be left out."""
        options = [param for param in self.params if isinstance(param, Flag)]
        new = {old: param.flag for param in options for old in param.old_names}
        optional = {param.flag for param in options if param.may_be_bare}
        changed: list[str] = []
        rest = iter(args)
        for arg in rest:
            if arg == "--":
                return [*changed, arg, *rest]
            if changed and changed[-1] in optional and arg.startswith("-") and " " in arg:  # several options in one text
                changed[-1] += f"={_MARK}{arg}"
                continue
            name, equals, value = arg.partition("=")
            if name in new:
                ctx.meta.setdefault(_OLD_NAMES, []).append(f"{name} is now {new[name]}; the old name will be gone in the next release")
                name = new[name]
            changed.append(f"{name}={_MARK}{value}" if equals and name in optional else name + equals + value)
        return changed

    def invoke(self, ctx: click.Context) -> Command | None:
        """The command with its values; None where it has run."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in ctx.params.items()}
        file = ctx.meta[FILE].shared if FILE in ctx.meta else {}
        given = Given(**values, origins=dict(_origins(ctx)), file=file, supervised=None)
        if self.at_once:
            self.run(given, Screen(as_json=False))
            return None
        return Command(self.run, given, tuple(ctx.meta.get(_OLD_NAMES, ())))

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What follows the name in the line of usage."""
        return [*super().collect_usage_pieces(ctx), *(["[ACTION]"] if self.actions else [])]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Arguments, options by section, and the actions of the group."""
        arguments = [(p.make_metavar(ctx), p.own_help) for p in self.params if isinstance(p, Positional)]
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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[click.shell_completion.CompletionItem]:
        """Options, and the actions of the group."""
        items = super().shell_complete(ctx, incomplete)
        item = click.shell_completion.CompletionItem
        return [*(item(name) for name in self.actions if name.startswith(incomplete)), *items]


class Actions(Base, click.Group):
    """A command of several actions, such as `headwater store compact`. default: what it does where no action is named."""

    def __init__(self, actions: Mapping[str, Verb], *, help: str | None, default: Verb | None = None) -> None:  # noqa: A002 (click's word)
        super().__init__(None, commands=dict(actions), help=help, subcommand_metavar="ACTION ...")
        self.context_settings["max_content_width"] = 100
        for name, verb in actions.items():
            verb.name = name
        self.default = copy.copy(default)  # of its own help page, which lists the actions
        if self.default is not None:
            self.default.actions = actions

    def chosen(self, args: Sequence[str]) -> int | None:
        """Where the action stands: options may come before it, each with its value. None where no action is named."""
        verbs = [verb for verb in [*self.commands.values(), self.default] if verb is not None]
        options = [param for verb in verbs for param in verb.params if isinstance(param, Flag)]
        valued = {name for one in options if not (one.is_flag or one.may_be_bare) for name in (*one.opts, *one.old_names)}
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
        if n is None and not set(args) & set(self.get_help_option_names(ctx)) and not ctx.resilient_parsing:
            raise UsageError(f"{ctx.command_path} needs an action: {', '.join(self.commands)}. See: {ctx.command_path} --help")
        return super().parse_args(ctx, args if n is None else [args[n], *args[:n], *args[n + 1 :]])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The action.

        Raises:
            UsageError: there is none of that name; with the nearest one.
        """
        if args[0] not in self.commands and not ctx.resilient_parsing:
            raise UsageError(f"{ctx.command_path} has no action {args[0]!r}; {nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its options, which is --help alone, and its actions."""
        _listed(formatter, "Options", [record for one in self.get_params(ctx) if (record := one.get_help_record(ctx))])
        list_actions(formatter, self.commands)


def list_actions(formatter: click.HelpFormatter, actions: Mapping[str, click.Command]) -> None:
    """Write the names of actions with one line for each."""
    _listed(formatter, "Actions", [(name, one.short_help or "") for name, one in actions.items()])


def origin(ctx: click.Context, param: click.Parameter) -> str | None:
    """The variable or the file that a value comes from; None for a value of the command line and for a default."""
    source = ctx.get_parameter_source(param.name or "")
    if source is ParameterSource.ENVIRONMENT:
        return str(param.envvar or f"{ctx.auto_envvar_prefix}_{(param.name or '').upper()}")
    if source is ParameterSource.DEFAULT_MAP:
        return str(ctx.meta[FILE].path)
    return None


def _origins(ctx: click.Context) -> Iterator[tuple[str, str]]:
    for param in ctx.command.params:
        if param.name is not None and (found := origin(ctx, param)) is not None:
            yield param.name, found


def _listed(formatter: click.HelpFormatter, title: str, records: Sequence[tuple[str, str]]) -> None:
    if records:
        with formatter.section(title):
            formatter.write_dl(records)
