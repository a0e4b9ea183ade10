"""`headwater` and `python -m headwater`."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from headwater.terminal.standard_streams import last_words


def main() -> int:
    """Run the command line; Ctrl-C while it is still being imported exits without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)
    from headwater.cli import main as run

    code = run()
    if code > 128:  # a signal: threads that still compute are not waited for
        os._exit(code)
    return code


def _exit(_number: int, _frame: FrameType | None) -> NoReturn:
    last_words("error: stopped")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
