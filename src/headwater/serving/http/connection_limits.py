"""Limits of client connections, and how many may be open."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

OTHER_FILES: Final = 128
"""Open files and sockets besides client connections."""


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of client connections and request headers.

    connections: open ones, at most the process's limit of open files; beyond it, those idle for
    longest are closed.
    requests: in progress concurrently; beyond them, one whose body has been arriving for more than
    `arrival_seconds` ends for another.
    always: paths whose requests do not count against `requests`: liveness does not depend on load.
    header_seconds: from the first byte of a request, or from opening the connection, to the end of
    its header.
    idle_seconds: between two requests of a connection; longer than proxies use, so that the proxy
    closes first.
    write_seconds: until a client must read more of a response.
    header_bytes, headers: of one request; a URL may take half of the bytes.
    body_parts: chunks of one body, or packets of a body without chunks: a row each of the largest
    requests, and as many separators.
    dropped_bytes: of a body that go on after the response to its request.
    """

    connections: int = 10_000
    requests: int = 4096
    arrival_seconds: float = 1.0
    always: frozenset[bytes] = frozenset((b"/healthz",))
    header_seconds: float = 5.0
    idle_seconds: float = 75.0
    write_seconds: float = 30.0
    header_bytes: int = 32_768
    headers: int = 100
    body_parts: int = 20_000
    dropped_bytes: int = 100_000_000


def open_files(wanted: int) -> int:
    """How many files and sockets this process may open: `wanted` where the system lets it raise its
    soft limit so far.
    """
    if sys.platform == "win32":
        return 8192
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        return raised
    return soft
