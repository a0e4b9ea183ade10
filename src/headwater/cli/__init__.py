"""The command line: a parser, one file a verb, and the line that no traceback crosses."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headwater.cli.parser import parse
from headwater.cli.screen import Screen
from headwater.errors import HeadwaterError, UsageError

if TYPE_CHECKING:
    from headwater.serving.leash import Leash

STOPPED = 130  # as a shell says it of a program ended by Ctrl-C


def main(argv: Sequence[str] | None = None, *, supervised: Leash | None = None) -> int:
    """Run one command, and return its exit code: 0, 1 where data or definitions are wrong, 2 where the call is.

    supervised: what ties this process to the one that supervises it, if one does.

    >>> main(["backtst"])
    2
    """
    given = list(sys.argv[1:] if argv is None else argv)
    screen = Screen(as_json="--json" in given)
    debug = "--debug" in given
    try:
        with warnings.catch_warnings():
            screen.take_warnings(every=debug)
            command = parse(given)
            if command is not None:
                command.options.supervised = supervised
                command.run(command.options, screen)
    except KeyboardInterrupt:
        screen.error("stopped")
        return STOPPED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stdout = None  # else the interpreter complains when it flushes
        return 0
    except Exception as error:
        if debug:
            raise
        screen.error(
            str(error) if isinstance(error, HeadwaterError) else f"{type(error).__name__}: {error}. Run again with --debug to see where"
        )
        return 2 if isinstance(error, UsageError) else 1
    return 0
