"""The command line: a parser, one file a verb, and the line that no traceback crosses."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli.command import Command, Given
from headwater.cli.parser import complete, parse
from headwater.cli.screen import Screen
from headwater.cli.signals import interruptible
from headwater.errors import HeadwaterError, UsageError
from headwater.settings import completing, has_home, project_folder, share_processors

if TYPE_CHECKING:
    from headwater.serving.process.supervisor_link import SupervisorLink


def main(argv: Sequence[str] | None = None, *, supervised: SupervisorLink | None = None) -> int:
    """Run one command, and return its exit code: 0, 1 where data or definitions are wrong, 2 where the call is, 130 after Ctrl-C.

    supervised: what ties this process to the one that supervises it, if one does.

    >>> main(["backtst"])
    2
    """
    share_processors()
    if shell := completing():
        return complete(shell)
    given = list(sys.argv[1:] if argv is None else argv)
    screen = Screen(as_json="--json" in given)
    debug = "--debug" in given
    command: Command | None = None
    try:
        with warnings.catch_warnings():
            screen.take_warnings(every=debug)
            command = parse(given)
            if command is not None:
                for remark in command.old_names:
                    screen.warning(remark)
                command.options.supervised = supervised
                return _run(command, screen)
    except KeyboardInterrupt:  # at the very begin or end of a command
        screen.error("stopped")
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stdout = None  # else the interpreter complains when it flushes
        return 0
    except Exception as error:
        if debug:
            raise
        screen.error(_message(error, command))
        return 2 if isinstance(error, UsageError) else 1
    return 0


def _message(error: Exception, command: Command | None) -> str:
    """What an error says, with where the values come from that it names and that are not of the command line."""
    if not isinstance(error, HeadwaterError):
        return f"{type(error).__name__}: {error}. Run again with --debug to see where"
    message = str(error)
    if command is None:
        return message
    given = command.options
    named = [
        f"{flag[2:]} comes from {place}"
        for name, place in given.origins.items()
        if (flag := f"--{name.replace('_', '-')}") in message
        or (isinstance(value := getattr(given, name), str) and value and value in message)
    ]
    return f"{message} ({'; '.join(named)})" if named else message


def _run(command: Command, screen: Screen) -> int:
    """Run a command until it ends, or a signal ends it."""
    with interruptible(quiet=command.options.supervised is not None) as interrupts:
        try:
            with project_folder(_folder_of(command.options, screen)):
                command.run(command.options, screen)
        except BaseException:
            interrupts.over = interrupts.number > 0
            if not interrupts.number:
                raise
            screen.error("stopped")  # whatever the interrupt became on its way, such as a panic of polars
            return interrupts.code
    return 0


def _folder_of(options: Given, screen: Screen) -> Path:
    """The folder in which what the project file names by relative paths lies, and headwater's home."""
    folder = Path(getattr(options, "project", "")).parent
    own, here = folder / ".headwater", Path(".headwater")
    if here.is_dir() and not own.exists() and own.resolve() != here.resolve() and not has_home():
        screen.say(
            f"warning: headwater's home is {own}, beside the project file; {here} of the working folder is left alone. "
            f"HEADWATER_HOME={here} goes on with it"
        )
    return folder
