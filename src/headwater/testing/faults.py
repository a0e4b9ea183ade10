"""Faults by enumeration: each call of a piece of work to its store, its streams and its disk goes
wrong once, in each way that it can.

A recording run lists the calls in their order. Then the work is done once for each of them, in a
fresh place, and that one call goes wrong:

| kind | what happens to the call |
|---|---|
| `fail` | it is not made, and raises what a dead server or a full disk gives |
| `unanswered` | it is made, and raises the same |
| `hang` | it waits at most 10 s while `meanwhile` runs, and is made then; too late, it fails |
| `end_before` | the process ends before it, as by kill -9 |
| `end_after` | the process ends after it, as by kill -9 |

A law does the work again after each fault, and compares what came of it with a run without a fault.
`work` takes a `Watch` and a place, and gives its store, and what it does on the disk and with
streams, to the watch:

    def work(watch, folder):
        with closing(watch.store(hw.operations.open_store(f"lmdb:{folder}/online"))) as store,
            watch.disk(folder), watch.streams(): hw.ingest(project, store, data_dir=folder,
            once=True)

The store may be any `OnlineStore`, a plugin's too. Works whose process is to end are done in
processes of their own, so `prepare`, `work` and the place must be picklable. Not seen: writes of a
library by itself (LMDB into its file, polars into a file that was opened), and the loss of the
machine's power.

>>> import tempfile, headwater as hw
>>> from pathlib import Path
>>> from headwater.testing import faults
>>> def prepare():
...     return Path(tempfile.mkdtemp())
>>> def work(watch, folder):
...     with watch.disk(folder):
...         _ = (folder / "draft").write_text("all of it")
...         (folder / "draft").rename(folder / "result")
>>> print(*faults.calls(prepare, work), sep=", ")
disk open draft 1, disk rename result 1
>>> for fault in faults.every(prepare, work, kinds=["fail", "unanswered"]):
...     work(faults.Watch(), fault.place)
...     print(fault, "->", (fault.place / "result").read_text())
disk open draft 1: fail -> all of it
disk open draft 1: unanswered -> all of it
disk rename result 1: fail -> all of it
disk rename result 1: unanswered -> all of it
"""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, Generic, TypeVar

from headwater.errors import HeadwaterError
from headwater.stores import OnlineStore
from headwater.testing.call_watch import ENDED, KINDS, CallWatch, Kind, WatchedCall
from headwater.testing.faulty_disk import watched_disk
from headwater.testing.faulty_feeds import watched_streams
from headwater.testing.faulty_store import FaultyStore
from headwater.testing.processes import Process

# a process that ends at a read leaves what the write before it has left
_OF_READS: Final = ("fail", "hang")
P = TypeVar("P")


@dataclass(frozen=True)
class InjectedFault(Generic[P]):
    """A piece of work that was done with one fault, and what came of it.

    place: where it was done. met: whether the call was made again, which may depend on time where
    the work has threads. error: what it raised; None where it came to its end, or its process
    ended.
    """

    call: WatchedCall
    kind: Kind
    place: P
    met: bool
    error: HeadwaterError | OSError | None = None

    def __str__(self) -> str:
        return f"{self.call}: {self.kind}"


class Watch(CallWatch):
    """Sees the calls of one run of a piece of work; one of them may go wrong, as of `CallWatch`."""

    def store(self, store: OnlineStore) -> OnlineStore:
        """The store, whose calls are seen; closing it closes `store`."""
        return FaultyStore(store, self)

    def streams(self) -> AbstractContextManager[None]:
        """While the context lasts, calls to all streams that this process opens are seen."""
        return watched_streams(self)

    def disk(self, folder: Path | str) -> AbstractContextManager[None]:
        """While the context lasts, calls of `os`, `open` and SQLite that change files in the folder
        are seen.
        """
        return watched_disk(self, Path(folder))


def calls(prepare: Callable[[], P], work: Callable[[Watch, P], object]) -> list[WatchedCall]:
    """The calls of a piece of work, in order.

    Args:
        prepare: makes a fresh place to do it in.
        work: does it there.
    """
    watch = Watch()
    work(watch, prepare())
    return watch.calls


def every(
    prepare: Callable[[], P],
    work: Callable[[Watch, P], object],
    *,
    kinds: Sequence[Kind] = KINDS,
    in_turn: bool = False,
    meanwhile: Callable[[P], object] | None = None,
) -> Iterator[InjectedFault[P]]:
    """Do the work with each fault that it can meet, one after the other; what came of each.

    Args:
        prepare: makes a fresh place to do it in.
        work: does it there; it makes the same calls each time, but for a few that depend on time.
        kinds: how calls go wrong. Those that only read fail or hang: a process that ends at one
            leaves what the write before it left.
        in_turn: a short form: calls that write alone, of each one kind, and the next one for the
            next call of that name and name of a file.
        meanwhile: a function to run in the place while a call hangs, in another thread, such as
            reads of what the work changes.

    Raises:
        AssertionError: at the end, where more than one in ten of the calls were not made again.
    """
    recorded, missed, done = calls(prepare, work), list[WatchedCall](), 0
    turns: Counter[tuple[str, str, str]] = Counter()
    for call in recorded:
        able = [kind for kind in kinds if call.changes or (kind in _OF_READS and not in_turn)]
        if in_turn and able:
            alike = (call.interface, call.name, call.about.rpartition("/")[2])
            able = [able[turns[alike] % len(able)]]
            turns[alike] += 1
        for kind in able:
            fault = (_ended if kind.startswith("end") else _failed)(
                work, call, kind, prepare(), meanwhile
            )
            done += 1
            missed += [] if fault.met else [call]
            yield fault
    assert len(missed) <= done / 10, (
        f"{len(missed)} of {done} calls were recorded, and not made again: "
        f"{', '.join(map(str, missed[:5]))}"
    )


def _failed(
    work: Callable[[Watch, P], object],
    call: WatchedCall,
    kind: Kind,
    place: P,
    meanwhile: Callable[[P], object] | None,
) -> InjectedFault[P]:
    """The work with a fault in this process."""
    watch = Watch(call, kind, None if meanwhile is None else lambda: meanwhile(place))
    failure: HeadwaterError | OSError | None = None
    try:
        work(watch, place)
    except (HeadwaterError, OSError) as error:
        failure = error
    if watch.failure is not None:
        raise watch.failure
    return InjectedFault(call, kind, place, watch.met, failure)


def _ended(
    work: Callable[[Watch, P], object], call: WatchedCall, kind: Kind, place: P, _: object
) -> InjectedFault[P]:
    """The work with a fault that ends its process."""
    code, text = Process(_work, work, call, kind, place).end()
    assert code in (ENDED, 0), f"{call}: the process of the work ended with {code}: {text}"
    return InjectedFault(call, kind, place, code == ENDED)


def _work(
    pipe: Connection, work: Callable[[Watch, P], object], call: WatchedCall, kind: Kind, place: P
) -> None:
    try:
        work(Watch(call, kind), place)
    except BaseException:  # noqa: BLE001 (told to the process that waits)
        pipe.send(traceback.format_exc())
        sys.exit(1)
