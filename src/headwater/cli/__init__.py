"""The command line: parses and runs a command, and prints errors without a traceback."""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headwater.cli.command import Arguments, Command
from headwater.cli.parser import complete, parse
from headwater.cli.screen import Ended, Screen
from headwater.cli.signals import interruptible
from headwater.errors import DefinitionError, HeadwaterError, UsageError
from headwater.settings import completing, has_home, project_folder, share_processors
from headwater.terminal.standard_streams import STDERR, STDOUT, open_closed

if TYPE_CHECKING:
    from headwater.serving.process.supervisor_link import SupervisorLink

_DENIED: Final = (
    "Give this user the right to read and write there, or name another folder: --data-dir, "
    "HEADWATER_HOME or --output"
)
_FULL: Final = (
    "Make room on the disk, or name another folder: --data-dir, HEADWATER_HOME or --output"
)
_REMEDIES: Final = {
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: _DENIED,
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EMFILE: "Allow the process more open files: ulimit -n 65536",
}


def main(argv: Sequence[str] | None = None, *, supervised: SupervisorLink | None = None) -> int:
    """Run one command, and return its exit code: 0; 1 for wrong data or definitions; 2 for a usage
    error; 130 after Ctrl-C.

    supervised: the link to the supervisor of this process, if it has one.

    >>> main(["backtst"])
    2
    """
    open_closed()
    share_processors()
    if shell := completing():
        return complete(shell)
    args = list(sys.argv[1:] if argv is None else argv)
    screen = Screen(as_json="--json" in args)
    debug = "--debug" in args
    command: Command | None = None
    try:
        with warnings.catch_warnings():
            screen.take_warnings(every=debug)
            command = parse(args)
            if command is not None:
                command.options.supervised = supervised
                return _run(command, screen)
    except KeyboardInterrupt:  # at the start or end of a command
        screen.error("stopped")
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of a pipe has seen enough
        return 0
    except Ended:
        return 1
    except Exception as error:
        if debug:
            raise
        screen.error(_message(error, command))
        # a supervisor need not start a command again that fails the same way
        final = UsageError if supervised is None else (UsageError, DefinitionError)
        return 2 if isinstance(error, final) else 1
    finally:
        STDOUT.finish()
        STDERR.finish()
    return 0


def _message(error: Exception, command: Command | None) -> str:
    """The message of an error, with the origin of values that it names and that are not from the
    command line.
    """
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return (
            f"{error.filename}: {error.strerror}. "
            f"{_REMEDIES.get(error.errno or 0, 'Run again with --debug to see where')}"
        )
    if not isinstance(error, HeadwaterError):
        return f"{type(error).__name__}: {error}. Run again with --debug to see where"
    message = str(error)
    if command is None:
        return message
    args = command.options
    named = [
        f"{flag[2:]} comes from {origin}"
        for name, origin in args.origins.items()
        if (flag := f"--{name.replace('_', '-')}") in message
        or (isinstance(value := getattr(args, name), str) and value and value in message)
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
            # also where the interrupt was converted, such as to a panic of polars
            screen.error("stopped")
            return interrupts.code
    return 0


def _folder_of(options: Arguments, screen: Screen) -> Path:
    """The folder of the project file, to which its relative paths and headwater's home are
    relative.
    """
    folder = Path(getattr(options, "project", "")).parent
    home, here = folder / ".headwater", Path(".headwater")
    if here.is_dir() and not home.exists() and home.resolve() != here.resolve() and not has_home():
        screen.say(
            f"warning: headwater's home is {home}, in the folder of the project file; {here} in "
            f"the working folder is not used. Set HEADWATER_HOME={here} to use it"
        )
    return folder
