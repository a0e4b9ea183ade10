"""What sees the calls of a piece of work, and has one of them go wrong; see `faults`."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, TypeVar, get_args

Kind = Literal["end_after", "unanswered", "fail", "end_before", "hang"]
Interface = Literal["store", "stream", "disk"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
DEADLINE: Final = 10.0
"""Seconds that a call hangs at most."""

ENDED: Final = 86
"""The exit code of a process that a fault has ended."""
T = TypeVar("T")


@dataclass(frozen=True)
class WatchedCall:
    """A call of a piece of work: `number` of those to the same function about the same thing, from
    1. changes: whether it writes.
    """

    interface: Interface
    name: str
    about: str
    number: int
    changes: bool

    def __str__(self) -> str:
        return " ".join(
            part for part in (self.interface, self.name, self.about, str(self.number)) if part
        )


class CallWatch:
    """Sees the calls of one run of a piece of work; one of them may go wrong.

    Args:
        call, kind: which, and how; none without.
        meanwhile: a function to call while it hangs.

    calls: those that were made, in order. met: whether the one that goes wrong was among them.
    """

    def __init__(
        self,
        call: WatchedCall | None = None,
        kind: Kind = "fail",
        meanwhile: Callable[[], object] | None = None,
    ) -> None:
        self.calls: list[WatchedCall] = []
        self.met = False
        self.failure: BaseException | None = None  # of `meanwhile`
        self._call, self._kind, self._meanwhile = call, kind, meanwhile
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._lock, self._unseen = threading.Lock(), threading.local()

    def make(
        self,
        interface: Interface,
        name: str,
        function: Callable[[], T],
        error: Callable[[str], Exception],
        *,
        about: str = "",
        changes: bool = True,
        undo: Callable[[T], object] = lambda _: None,
    ) -> T:
        """Make a call, which goes wrong if it is the one.

        Args:
            interface, name, about, changes: see `WatchedCall`.
            function: makes it.
            error: the exception, by the kind of fault.
            undo: gives up what a call that is made has got for its caller, who is not answered.
        """
        if getattr(self._unseen, "now", False):
            return function()
        with self._lock:
            self._counts[interface, name, about] += 1
            call = WatchedCall(
                interface, name, about, self._counts[interface, name, about], changes
            )
            self.calls.append(call)
        if call != self._call:
            return function()
        self.met = True
        if self._kind == "end_before":
            os._exit(ENDED)
        if self._kind == "fail":
            raise error(f"{call} fails, for a test")
        if self._kind == "hang":
            self._hang(lambda: error(f"{call} hangs, for a test"))
            return function()
        if self._kind == "end_after":
            try:
                function()
            finally:
                os._exit(ENDED)
        undo(function())
        raise error(f"{call} is made and not answered, for a test")

    def _hang(self, error: Callable[[], Exception]) -> None:
        def run() -> None:
            try:
                with self.unseen():
                    if self._meanwhile is not None:
                        self._meanwhile()
            except BaseException as problem:  # noqa: BLE001 (raised by `every`)
                self.failure = problem

        thread = threading.Thread(target=run, daemon=True, name="meanwhile")
        thread.start()
        thread.join(DEADLINE)
        if thread.is_alive():
            raise error()

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """While the context lasts, calls of this thread are no part of the work."""
        self._unseen.now = True
        try:
            yield
        finally:
            self._unseen.now = False
