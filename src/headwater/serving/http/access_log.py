"""Access log: one JSON line a request, with id, route, status and duration, and no content of
requests or responses.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TextIO

import msgspec

from headwater import clock
from headwater.serving.http.response_encoder import iso_timestamp

_EVERY: Final = 0.2  # seconds between two writes
_AT_ONCE: Final = 4096  # bytes; all but names are ASCII
_MOST: Final = 100_000  # lines that wait for a slow reader


class AccessLine(NamedTuple):
    """A line of the log. at: time of the response, microseconds. failed: class and code location of
    an unexpected error.
    """

    at: int
    id: str
    route: str
    name: str
    status: int
    seconds: float
    rows: int
    failed: str = ""


class RequestLog:
    """A bounded queue of lines and the thread that writes them, so that a slow disk delays no
    response; `dropped` counts overflow.

    Args:
        out: the stream to write to; None writes nothing.
        sample: the share of responses below status 400 that are logged; all others are.
    """

    def __init__(self, out: TextIO | None, *, sample: float = 1.0) -> None:
        self._out, self._step, self._owed = out, sample, 0.0
        self._lines: deque[AccessLine] = deque()
        self.dropped = 0
        self.on = out is not None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="request log", daemon=True)
        if out is not None:
            self._thread.start()

    def put(self, line: AccessLine) -> None:
        """Add a line, unless the sample leaves it out."""
        if not self.on:
            return
        if self._step < 1 and line.status < 400:
            self._owed += self._step
            if self._owed < 1:
                return
            self._owed -= 1
        if len(self._lines) < _MOST:
            self._lines.append(line)
        else:
            self.dropped += 1

    def close(self) -> None:
        """Write the queued lines, and stop."""
        if self._out is not None and self._thread.is_alive():
            self._stop.set()
            self._thread.join()

    def _run(self) -> None:
        while not clock.wait(_EVERY, self._stop):
            self._write()
        self._write()

    def _write(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if lines and self._out is not None:
            try:
                for chunk in _parts(map(_text, lines)):
                    self._out.write(chunk)
                    self._out.flush()
            except (OSError, ValueError):  # the reader has closed the pipe
                self.dropped += len(lines)


def _parts(texts: Iterable[str]) -> Iterator[str]:
    """Chunks of whole lines that a pipe takes in one write, so that lines of several processes do
    not mix.
    """
    held: list[str] = []
    size = 0
    for text in texts:
        if size + len(text) > _AT_ONCE and held:
            yield "".join(held)
            held, size = [], 0
        held.append(text)
        size += len(text)
    yield "".join(held)


def _text(line: AccessLine) -> str:
    """The line as JSON; ids and routes have no character that JSON escapes; the name may be the
    key of a flag, as a client wrote it.
    """
    name = f',"name":{msgspec.json.encode(line.name).decode()}' if line.name else ""
    failed = f',"failed":{msgspec.json.encode(line.failed).decode()}' if line.failed else ""
    return (
        f'{{"at":"{iso_timestamp(line.at)}","id":"{line.id}","route":"{line.route}"{name},'
        f'"status":{line.status},"ms":{line.seconds * 1000:.3f},"rows":{line.rows}{failed}}}\n'
    )
