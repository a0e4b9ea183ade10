"""How Ctrl-C and SIGTERM end a command.

Most commands end immediately: files on disk are never half written. Long-running commands use
`stopped`, finish the work in progress and end; a second signal ends them immediately.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Final, NoReturn

from headwater.terminal.standard_streams import last_words

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_UNSAFE: Final = frozenset(
    {"_frozen_importlib", "_frozen_importlib_external", "importlib", "llvmlite", "numba", "polars"}
)
_AGAIN: Final = 0.02  # seconds until an interrupt that was deferred is tried again
# the first process of a container: the kernel ignores each signal to it that has no handler
_INIT: Final = 1
# seconds that an interrupted command may take to clean up before the process exits without it
_PATIENCE: Final = 1.0


@contextmanager
def interruptible(*, quiet: bool = False) -> Iterator[Interrupts]:
    """Let SIGINT and SIGTERM end the block, also at a prompt and inside polars; does nothing
    outside of the main thread.

    polars is imported here: it installs a handler of SIGINT that stops its queries, but has system
    calls restarted, so that a prompt would go on waiting.

    quiet: print nothing where the process exits without coming back here.
    """
    interrupts = Interrupts(quiet=quiet)
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    with interrupts.watched():
        try:
            for number in _SIGNALS:
                if before[number] is not signal.SIG_IGN:
                    signal.signal(number, interrupts.received)
            import polars as pl  # noqa: F401 (it is imported for its handler of signals)

            signal.siginterrupt(signal.SIGINT, True)  # noqa: FBT003 (positional only)
            yield interrupts
        finally:
            for number, old in before.items():
                signal.signal(number, old)


class Interrupts:
    """Interrupts of a command.

    number: the first signal, else 0. over: whether the command has ended, so that further signals
    have no effect.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._deferred = False
        self.number = 0
        self.over = False

    @property
    def code(self) -> int:
        """The exit code of a process that the signal ended, as a shell reports it."""
        return 128 + (self.number or signal.SIGINT)

    def received(self, number: int, frame: FrameType | None) -> None:
        """The handler of a signal: raise KeyboardInterrupt, or have it raised again soon where the
        stack is `_unsafe`.
        """
        self.number = self.number or number
        self._deferred = not self.over and _unsafe(frame)
        if not self._deferred and not self.over:
            raise KeyboardInterrupt

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Repeat deferred interrupts, and exit the process if it does not end soon.

        The interpreter writes the number of each signal into a pipe when it arrives, also while the
        main thread is inside a library.
        """
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        done = threading.Event()

        def watch() -> None:
            while numbers := os.read(reader, 64):
                handled = [
                    number
                    for number in numbers
                    if number and signal.getsignal(number) == self.received
                ]
                if not handled:
                    continue
                for _ in range(round(_PATIENCE / _AGAIN)):
                    if done.wait(_AGAIN):
                        break
                    if self._deferred:
                        _thread.interrupt_main(signal.Signals(handled[0]))
                else:
                    self.number = self.number or handled[0]
                    self._exit()
            os.close(reader)

        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        thread = threading.Thread(target=watch, name="interrupts", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            signal.set_wakeup_fd(before)
            os.close(writer)

    def _exit(self) -> NoReturn:
        """Exit without cleaning up; the main thread may be in the middle of a line."""
        if not self._quiet:
            last_words("error: stopped")
        os._exit(self.code)


@contextmanager
def stopped(notice: Callable[[], None] | None = None) -> Iterator[threading.Event]:
    """An event that is set by the first stop signal; the second one ends the process immediately.

    notice: called once the event is set, in a thread of its own: a handler of signals may not
    print, nor take any lock, since the main thread may hold it.
    """
    stop = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def received(_number: int, _frame: FrameType | None) -> None:
        for number in _SIGNALS:
            signal.signal(number, _heard if os.getpid() == _INIT else signal.SIG_DFL)

    def wait() -> None:
        if _stop_signal(reader):
            stop.set()
            telling = threading.Thread(target=notice or _nothing, name="notice", daemon=True)
            telling.start()
            if number := _stop_signal(reader):  # until `writer` is closed
                os._exit(128 + number)
            telling.join(_PATIENCE)
        os.close(reader)

    thread = threading.Thread(target=wait, name="stopped", daemon=True)
    thread.start()
    # The interpreter writes the number of each signal when it comes. A handler runs in the main
    # thread alone, and not while that waits for a lock if another thread got the signal, or if it
    # came just before the wait.
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, received) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)
        signal.set_wakeup_fd(wakeup)
        os.close(writer)
        thread.join(_PATIENCE)


def _stop_signal(reader: int) -> int:
    """The next stop signal whose number is written to the pipe; 0 once its other end is closed."""
    while number := os.read(reader, 1):
        if number[0] in _SIGNALS:
            return number[0]
    return 0


def _heard(_number: int, _frame: FrameType | None) -> None:
    """The handler of a signal that a thread handles."""


def _nothing() -> None:
    """The default notice."""


def stopped_where(*, watching: bool) -> AbstractContextManager[threading.Event]:
    """`stopped()` for a long-running command; for others an event that is never set, since a signal
    ends the command itself.
    """
    return stopped() if watching else nullcontext(threading.Event())


def _unsafe(frame: FrameType | None) -> bool:
    """Whether polars, numba or an import is on the stack: there, an exception becomes a panic of
    Rust, or is printed and ignored.
    """
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] in _UNSAFE:
            return True
        frame = frame.f_back
    return False
