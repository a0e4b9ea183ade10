"""The listening socket of a service: how it is opened, and how it takes no further connections
before it is closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import sys
from typing import Final

from headwater.errors import UsageError

BACKLOG: Final = 2048

_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)
_ATTACH_FILTER: Final = 26  # SO_ATTACH_FILTER of asm-generic/socket.h, which Python has no name for
_FLAGS: Final = 13  # byte of a TCP header
_SYN, _ACK = 0x02, 0x10
# classic BPF (linux/filter.h): code, jump if true, jump if false, operand
_NO_NEW_CONNECTIONS: Final = (
    (0x30, 0, 0, _FLAGS),  # load the byte of flags
    (0x54, 0, 0, _SYN | _ACK),  # and
    (0x15, 0, 1, _SYN),  # the first packet of a connection?
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # let everything else pass
)


def open_listener(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Raises:
        UsageError: the address is in use, or not one of this machine.
    """
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
        )
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while ")[0]  # Python repeats the address
        raise UsageError(
            f"cannot listen on {_bracketed(host)}:{port}: {why}; give another address with --listen"
        ) from error


def url_of(host: str, port: int) -> str:
    """The URL at which clients reach a listening address.

    >>> url_of("127.0.0.1", 8320), url_of("::1", 8320)
    ('http://127.0.0.1:8320', 'http://[::1]:8320')
    """
    return f"http://{socket.gethostname() if host in _EVERYWHERE else _bracketed(host)}:{port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def stop_new_connections(listener: socket.socket) -> None:
    """Ignore the first packet of every further connection, until the socket is closed.

    The operating system resets connections that were not accepted when a socket is closed, and a
    client that is connected may have sent a request already. After this call no new ones arrive:
    accept the pending ones, then close. Clients that try meanwhile are refused at their next
    attempt. Only Linux can do this; elsewhere a connection in the instant of closing is reset.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *line) for line in _NO_NEW_CONNECTIONS)
    )
    with contextlib.suppress(OSError):  # a sandbox may forbid filters
        listener.setsockopt(
            socket.SOL_SOCKET,
            _ATTACH_FILTER,
            struct.pack("HP", len(_NO_NEW_CONNECTIONS), ctypes.addressof(program)),
        )
