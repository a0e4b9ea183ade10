"""The worker's end of the pipe to the process that writes segments (`segment_writer`). Only `close` waits."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from headwater import clock
from headwater.journal import segment_writer
from headwater.journal.segment_writer import ANSWER, FLUSH, FRAME, HEADER, RECORDS

_SIZE: Final = 1 << 20  # bytes that the pipe holds, where the system has it
_AGAIN: Final = 1.0  # seconds between two starts
_LOOK: Final = 0.02  # seconds
_LAST_TRY: Final = 0.5  # seconds for which failing writes are tried again when the log is closed
_LEFT: Final = 5.0  # seconds to wait for the process of a log that was garbage-collected without `close`
_KILLED: Final = 0.5  # seconds until a killed process has ended, unless its disk is stuck


class EntryBatch(NamedTuple):
    """Encoded entries of one channel; a flush has none. header: the channel's folder as the first line, then its segment header."""

    kind: int
    channel: int
    entries: int
    data: bytes
    header: bytes = b""


class SegmentPipe:
    """A running `segment_writer`, restarted when it dies, and the batches that wait for room in its pipe.

    Args:
        arguments: of the process.
        resend: keep what was sent until a flush after it is done, and send it again to the next process where this one dies: entries may
            then be in two segments, and none is lost.

    Attributes:
        held: bytes that wait here. written: entries in segments. lost: entries that were in the pipe when the process died. flushed: how
        many flushes are done. error: of the last write, if it failed.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self, arguments: Sequence[str], *, resend: bool = False) -> None:
        self._folder, self._name, *self._arguments = arguments
        self._resend, self._starts = resend, 0
        self._kept: deque[EntryBatch] = deque()  # sent to this process, and not flushed yet
        self._batches: deque[EntryBatch] = deque()
        self._unsent = memoryview(b"")
        self.held = self.written = self.lost = self.flushed = 0
        self.error: str | None = None
        self._pipe = self._answers = -1
        self._dead = False
        self._before = 0, 0  # written and flushed by processes that have died
        self._in_pipe = self._flushes = 0  # entries and flushes that went to this one
        self._start()

    def add(self, batch: EntryBatch) -> None:
        """Queue a batch."""
        self._batches.append(batch)
        self.held += len(batch.data)

    def send(self) -> None:
        """Write batches into the pipe until it is full, after taking the answers of the process."""
        self.hear()
        if self._dead and self._resend and not self._restarted():
            return
        while self._unsent or self._batches:
            if self._dead and not self._restarted():
                return
            if not self._unsent:
                self._unsent = memoryview(self._framed(self._batches.popleft()))
            try:
                self._unsent = self._unsent[os.write(self._pipe, self._unsent) :]
            except BlockingIOError:
                return
            except OSError:
                self._dead = True

    def hear(self) -> None:
        """Take the answers of the process."""
        try:
            while not self._dead:
                read = os.read(self._answers, 1 << 16)
                self._heard += read
                self._dead = not read
        except OSError:
            pass
        at = 0
        while at + ANSWER.size <= len(self._heard):
            written, flushed, length = ANSWER.unpack_from(self._heard, at)
            end = at + ANSWER.size + length
            if end > len(self._heard):
                break
            self._forget(self._before[1] + flushed - self.flushed)
            self.written, self.flushed = self._before[0] + written, self._before[1] + flushed
            self.error = self._heard[at + ANSWER.size : end].decode(errors="replace") or None
            at = end
        del self._heard[:at]

    @property
    def sent(self) -> bool:
        """Whether everything is in the pipe."""
        return not self._unsent and not self._batches

    @property
    def dead(self) -> bool:
        """Whether the process has ended, and was not started again yet."""
        return self._dead

    def wait(self, seconds: float) -> None:
        """Wait until the process has answered, or there is room in the pipe."""
        if self._dead:
            select.select([], [], [], min(seconds, 0.05))
        else:
            select.select([self._answers], [self._pipe] if self._unsent else [], [], seconds)

    def close(self, seconds: float) -> bool:
        """End the process after it has written the rest of the pipe; False if that takes too long, and then it is killed: sooner if
        writes fail.
        """
        self._release.detach()
        self._closed(self._pipe)
        until, failing = clock.stopwatch() + seconds, None
        while self._process.poll() is None and not (failing is not None and clock.stopwatch() - failing > _LAST_TRY):
            if clock.stopwatch() >= until:
                break
            select.select([] if self._dead else [self._answers], [], [], _LOOK)
            self.hear()
            failing = None if self.error is None else failing or clock.stopwatch()
        ended = self._process.poll() is not None
        if not ended:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # it ends once the disk answers
                self._process.wait(_KILLED)
        self.hear()
        self._closed(self._answers)
        self._batches.clear()
        self.held = 0
        if ended and self._process.returncode:
            self._count_lost()
        return ended

    def _framed(self, batch: EntryBatch) -> bytes:
        """The frames of a batch; the header of its channel comes first if the process does not have it yet."""
        self.held -= len(batch.data)
        if self._resend:
            self._kept.append(batch)
        self._in_pipe += batch.entries
        self._flushes += batch.kind == FLUSH
        frame = FRAME.pack(batch.kind, batch.channel, batch.entries, len(batch.data)) + batch.data
        if batch.kind != RECORDS or batch.channel in self._announced:
            return frame
        self._announced.add(batch.channel)
        return FRAME.pack(HEADER, batch.channel, 0, len(batch.header)) + batch.header + frame

    @staticmethod
    def _closed(end: int) -> None:
        if end >= 0:
            os.close(end)

    def _restarted(self) -> bool:
        """Whether the process could be started again after its death."""
        if clock.stopwatch() - self._started < _AGAIN:
            return False
        self._process.poll()
        self._count_lost()
        self._unsent = memoryview(b"")
        self._release()
        self._pipe = self._answers = -1
        try:
            self._start()
        except OSError as error:
            self.error = f"the process that writes cannot be started: {error}"
            self._dead = True
        return not self._dead

    def _forget(self, flushes: int) -> None:
        """Drop what is in segments after some more flushes are done."""
        while flushes and self._kept:
            flushes -= self._kept.popleft().kind == FLUSH

    def _count_lost(self) -> None:
        if self._resend:
            self._batches.extendleft(reversed(self._kept))
            self.held += sum(len(batch.data) for batch in self._kept)
            self._kept.clear()
            return
        self.lost += self._in_pipe - (self.written - self._before[0])
        self.flushed = self._before[1] + self._flushes
        self._in_pipe = self.written - self._before[0]

    def _start(self) -> None:
        self._starts += 1
        self._announced = set[int]()
        self._heard, self._dead, self._started = bytearray(), False, clock.stopwatch()
        self._before = self.written, self.flushed
        self._in_pipe = self._flushes = 0
        theirs, pipe = os.pipe()
        mine, answers = os.pipe()
        own = [self._folder, f"{self._name}x{self._starts}", *self._arguments]  # no file name of an earlier process is reused
        try:
            self._process = subprocess.Popen(  # noqa: S603 (our own command line)
                [sys.executable, "-I", "-S", segment_writer.__file__, *own],
                stdin=theirs,
                stdout=answers,
                start_new_session=True,  # signals of the terminal reach only the worker, which has something to write until its end
            )
        except OSError:
            os.close(pipe)
            os.close(mine)
            raise
        finally:
            os.close(theirs)
            os.close(answers)
        self._pipe, self._answers = pipe, mine
        self._release = weakref.finalize(self, _release, self._process, self._pipe, self._answers)  # if the log is never closed
        for end in (self._pipe, self._answers):
            os.set_blocking(end, False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):  # the user has too many large pipes
                fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _SIZE)


def _release(process: subprocess.Popen[bytes], *ends: int) -> None:
    """Close the ends of the pipes and wait for the process: it writes the rest of its pipe and exits."""
    for end in ends:
        os.close(end)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_LEFT)
