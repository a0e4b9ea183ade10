"""The process that writes one worker's segment files of the serving log: a slow disk delays this process, not the worker.

It imports nothing but the standard library, so it starts in 20 ms and takes 10 MB. The worker runs this file, and sends frames through a
pipe: their kind, channel, number of requests and size, then the bytes. A HEADER begins each segment of its channel; its first line is the
folder. RECORDS go to the channel's segment with one write for all that has arrived. A FLUSH is answered when all before it is written. The
answers are the numbers of requests written and of flushes so far, and the error of the last write, if it failed.

    FOLDER/model=churn/WORKER-000001.open       while it is written; this process holds a lock on it (flock) as long as it lives
    FOLDER/model=churn/WORKER-000001.segment    when it is complete. Renaming an open one makes this process close it

A write that failed is taken back and tried again; at the system's limit of a file's size, in a new segment. The process ends when the
worker has closed the pipe or has been killed, and everything that was in the pipe is written.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

FRAME = struct.Struct("<BIII")  # kind, channel, requests, size
ANSWER = struct.Struct("<QQH")  # requests written, flushes, length of the error
HEADER, RECORDS, FLUSH = 1, 2, 3
OPEN, CLOSED = ".open", ".segment"

_READ = 1 << 20
_AGAIN = 0.2  # seconds until a failed write is tried again
_PATIENCE = 60.0  # seconds for which it is tried after the worker has ended
_CONVERT = 60.0  # seconds between two conversions of complete segments
_CONVERT_ANYWAY = 3600.0  # also converts segments of processes that have ended, and deletes old days
_SHIPPING = "shipping"  # the folder beside the log where it is shipped, which is tried again each minute


class _Segment:
    """The open segment of a channel."""

    def __init__(self, path: Path) -> None:
        self.path, self.size, self.since = path.with_suffix(OPEN), 0, time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self.file = os.open(new, flags, 0o600)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX)
            new.rename(self.path)
        except OSError:
            os.close(self.file)
            raise

    def write(self, data: bytes) -> None:
        """Append all of the data, or nothing."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self.file, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self.file, self.size)
            raise
        self.size += len(data)

    def close(self) -> None:
        """Sync the file, and rename it to its final name."""
        with suppress(OSError):  # an unsynced segment is a segment too
            os.fsync(self.file)
        with suppress(OSError):  # another process has renamed it
            self.path.rename(self.path.with_suffix(CLOSED))
        os.close(self.file)


class SegmentWriter:
    """The segments of one worker.

    Args:
        folder: they lie in its subfolders. worker: the beginning of their names. most: bytes at which a segment is closed; every: seconds.
        convert: the command that converts complete segments; none where they stay as they are.
    """

    def __init__(self, folder: Path, worker: str, most: int, every: float, convert: list[str]) -> None:
        self.folder, self.worker, self.most, self.every, self.convert = folder, worker, most, every, convert
        self.segments: dict[int, _Segment] = {}
        self.headers: dict[int, tuple[str, bytes]] = {}
        self.number = self.written = self.flushes = self.complete = 0
        self.converted_at = time.monotonic()
        self.converter: subprocess.Popen[bytes] | None = None
        self.unread = False  # whether the worker has not taken the last answer
        os.set_blocking(1, False)

    def run(self) -> None:
        """Write frames until the worker has closed the pipe."""
        waiting = b""
        while True:
            if select.select([0], [], [], min(1.0, self.every))[0]:
                read = os.read(0, _READ)
                waiting = self._take(waiting + read if waiting else read)
                if not read:
                    break
            self._close_old()
            self._convert()
            if self.unread:
                self._answer("")
        if len(waiting) > FRAME.size and waiting[0] == RECORDS:  # the worker was killed in the middle of a batch
            self._write({FRAME.unpack_from(waiting)[1]: (waiting[FRAME.size :], 0)})
        for segment in self.segments.values():
            segment.close()
        if self.converter is not None:
            self.converter.terminate()
            self.converter.wait()

    def _take(self, data: bytes) -> bytes:
        """Write the complete frames at the beginning of some bytes; return the rest."""
        at, batches = 0, dict[int, tuple[bytes, int]]()
        while at + FRAME.size <= len(data):
            kind, channel, requests, size = FRAME.unpack_from(data, at)
            if at + FRAME.size + size > len(data):
                break
            at += FRAME.size
            body = data[at : at + size]
            at += size
            if kind == HEADER:
                subfolder, _, header = body.partition(b"\n")
                self.headers[channel] = subfolder.decode(), header
            elif kind == RECORDS:
                before, count = batches.get(channel, (b"", 0))
                batches[channel] = before + body, count + requests
            else:
                self._write(batches)
                batches = {}
                self.flushes += 1
                self._answer("")
        self._write(batches)
        return data[at:]

    def _write(self, batches: dict[int, tuple[bytes, int]]) -> None:
        for channel, (data, requests) in batches.items():
            begun = None
            while True:
                try:
                    self._append(channel, data)
                except OSError as error:
                    if error.errno == errno.EFBIG and channel in self.segments and self.segments[channel].size:
                        self._close(channel)  # the limit of a file's size: the data go to the next one
                        continue
                    self._answer(f"{type(error).__name__}: {error}")
                    begun = begun or time.monotonic()
                    if self._alone() and time.monotonic() - begun > _PATIENCE:
                        break
                    time.sleep(_AGAIN)
                    continue
                self.written += requests
                break
            self._answer("")

    def _append(self, channel: int, data: bytes) -> None:
        segment = self.segments.get(channel)
        if segment is not None and not segment.path.exists():
            self._close(channel)
            segment = None
        subfolder, header = self.headers[channel]
        if segment is None:
            self.number += 1
            segment = self.segments[channel] = _Segment(self.folder / subfolder / f"{self.worker}-{self.number:06d}")
        segment.write(data if segment.size else header + data)
        if segment.size >= self.most:
            self._close(channel)

    def _close(self, channel: int) -> None:
        self.segments.pop(channel).close()
        self.complete += 1

    def _close_old(self) -> None:
        """Close the segments that are old enough, and those that another process has asked for."""
        now = time.monotonic()
        for channel, segment in list(self.segments.items()):
            if now - segment.since >= self.every or not segment.path.exists():
                self._close(channel)

    def _convert(self) -> None:
        """Start a conversion when one is due, and the log has any."""
        if not self.convert:
            return
        passed = time.monotonic() - self.converted_at
        soon = self.complete or (self.folder.parents[1] / _SHIPPING).exists()
        if passed < (_CONVERT if soon else _CONVERT_ANYWAY) or (self.converter is not None and self.converter.poll() is None):
            return
        self.converted_at, self.complete = time.monotonic(), 0
        with suppress(OSError):
            self.converter = subprocess.Popen(  # noqa: S603 (the command line of the worker)
                self.convert, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )

    def _answer(self, error: str) -> None:
        text = error.encode()[:1000]
        try:
            os.write(1, ANSWER.pack(self.written, self.flushes, len(text)) + text)
            self.unread = False
        except OSError:  # the pipe is full, or the worker has ended
            self.unread = True

    def _alone(self) -> bool:
        """Whether the worker has ended."""
        poll = select.poll()
        poll.register(0, select.POLLIN)
        return any(events & select.POLLHUP for _, events in poll.poll(0))


if __name__ == "__main__":
    os.umask(0o077)
    folder_, worker_, most_, every_, *convert_ = sys.argv[1:]
    SegmentWriter(Path(folder_), worker_, int(most_), float(every_), convert_).run()
