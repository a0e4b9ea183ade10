"""Ship the logs of a data directory to a destination that many machines share. The process that
converts the serving log does it.

A part leaves the queue after the destination has it, so it arrives at least once; its name makes
that once (`log_destination`). While the destination is away the parts wait here, up to a size of
the local log; beyond it the oldest are deleted, and counted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Final

import msgspec
import polars as pl

from headwater import clock, disk
from headwater.engine.checkpoint import lock
from headwater.errors import ConnectError, DataError, StoreError
from headwater.journal import shipping_queue
from headwater.journal.format import EXPOSURES, OUTCOMES
from headwater.journal.journal_files import (
    CLOSED,
    close_abandoned,
    content,
    is_complete,
    journal_files,
)
from headwater.journal.log_destination import LogDestination, destination
from headwater.journal.sample_rates import RATES
from headwater.journal.serving_log_files import SERVED
from headwater.journal.shipping_queue import SHIPPING

_LOG = logging.getLogger(__name__)
_STATE: Final = "state.json"
_CHUNK: Final = 256 << 10  # bytes of a file in a row
_LOOK: Final = 0.05  # seconds


class ShippingState(msgspec.Struct):
    """What was shipped from a data directory.

    url: the destination. parts, rows: of the serving log that arrived. waiting,
    waiting_bytes: parts that have not. dropped: parts that never will, since the local log was full
    or too old. error: why the last attempt failed, and since when attempts fail, microseconds.
    files: of exposures and outcomes that arrived and are still here. rates: the sample rates that
    did.
    """

    url: str
    parts: int = 0
    rows: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    dropped: int = 0
    error: str | None = None
    failing_since: int | None = None
    files: list[str] = msgspec.field(default_factory=list)
    rates: list[str] = msgspec.field(default_factory=list)


def shipping_state(folder: Path) -> ShippingState | None:
    """The state of a data directory; None where nothing is shipped from it.

    Raises:
        StoreError: the file is damaged.
    """
    path = folder / SHIPPING / _STATE
    try:
        return msgspec.json.decode(path.read_bytes(), type=ShippingState)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise StoreError(
            f"{path} is damaged: {error}. Delete the folder {path.parent}: all logs that are here "
            "are then shipped again, and count once"
        ) from error


def ship(folder: Path, url: str, *, most: int, wait: float = 0.0) -> ShippingState | None:
    """Ship what the destination does not have; None where another process is at it.

    Args:
        folder: the data directory.
        url: of the destination.
        most: bytes that the local files of the serving log may take.
        wait: seconds to wait for another process.

    Raises:
        UsageError: not a URL of a destination, or logs of this folder go to another one.
        StoreError: the state is damaged.
    """
    target = destination(url)
    shipping_queue.begin(folder)
    with _alone(folder, clock.stopwatch() + wait) as locked:
        if not locked:
            return None
        previous = shipping_state(folder)
        if previous is not None and previous.url == url:
            state = previous
        else:  # it may have nothing of what is here
            state = ShippingState(url)
            shipping_queue.add_all(folder)
        shipment = _Shipment(folder, target, state)
        try:
            shipment.run()
        except (ConnectError, DataError, OSError) as error:
            if state.error is None:
                _LOG.warning(
                    "logs of %s are not shipped: %s; they stay here, and are tried again",
                    folder,
                    error,
                )
                state.failing_since = clock.now_micros()
            state.error = str(error)
        else:
            state.error = state.failing_since = None
        finally:
            shipment.shorten(most)
            disk.replace_file(folder / SHIPPING / _STATE, msgspec.json.encode(state))
    return state


@dataclass
class _Shipment:
    """One attempt. found: the queue's parts."""

    folder: Path
    target: LogDestination
    state: ShippingState
    _rows: int = field(default=0, init=False)

    def run(self) -> None:
        """Put all parts, those that are needed to read others first."""
        for path in sorted((self.folder / SERVED / RATES).glob("*")):
            if path.name not in self.state.rates:
                self.target.put(
                    f"{SERVED}/{RATES}/{path.name}.parquet",
                    pl.DataFrame({"rate": [float(path.read_text(encoding="utf-8"))]}),
                )
                self.state.rates.append(path.name)
        self._closed()
        while links := shipping_queue.waiting(self.folder):
            for link, name in links:
                try:
                    frame = pl.read_parquet(self.folder / name, hive_partitioning=False)
                except FileNotFoundError:  # its day was deleted
                    self.state.dropped += 1
                else:
                    self.target.put(name, frame)
                    self.state.parts, self.state.rows = (
                        self.state.parts + 1,
                        self.state.rows + frame.height,
                    )
                link.unlink()

    def shorten(self, most: int) -> None:
        """Delete the oldest local files beyond `most` bytes, shipped ones first; count the waiting
        ones.
        """
        links = {name: link for link, name in shipping_queue.waiting(self.folder)}
        sizes: dict[str, int] = {}
        for path in sorted(
            (self.folder / SERVED).glob("headwater_date=*/*/*.parquet"),
            key=lambda path: (path.parts[-3], path.name),
        ):
            with suppress(FileNotFoundError):
                sizes[path.relative_to(self.folder).as_posix()] = path.stat().st_size
        excess = sum(sizes.values()) - most
        for name in [
            *(name for name in sizes if name not in links),
            *(name for name in sizes if name in links),
        ]:
            if excess <= 0:
                break
            (self.folder / name).unlink(missing_ok=True)
            excess -= sizes.pop(name)
            if name in links:
                links.pop(name).unlink(missing_ok=True)
                self.state.dropped += 1
        self.state.waiting, self.state.waiting_bytes = (
            len(links),
            sum(sizes.get(name, 0) for name in links),
        )

    def _closed(self) -> None:
        """Put the closed files of exposures and outcomes. Each never changes, and has a name of its
        own over all machines.
        """
        there = []
        for kind in (EXPOSURES, OUTCOMES):
            close_abandoned(journal_files(self.folder, kind))
            for path in journal_files(self.folder, kind):
                if path.suffix != CLOSED or not is_complete(path):
                    continue
                name = path.relative_to(self.folder).with_suffix(".parquet").as_posix()
                there.append(name)
                if name not in self.state.files:
                    data = content(path)
                    chunks = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)]
                    self.target.put(
                        name, pl.DataFrame({"bytes": chunks}, schema={"bytes": pl.Binary})
                    )
                    self.state.files.append(name)
        self.state.files = [name for name in self.state.files if name in there]


@contextmanager
def _alone(folder: Path, until: float) -> Iterator[bool]:
    """Whether no other process ships from this folder."""
    with disk.open_private(folder / SHIPPING / "lock", "ab") as file:
        while not (locked := lock(file)) and clock.stopwatch() < until:
            sleep(_LOOK)
        yield locked
