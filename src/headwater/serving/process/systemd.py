"""Tells systemd that a service lives or stops: the protocol of sd_notify, without its library."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

_EVERY: Final = 1.0  # seconds


class Notifier:
    """Tells systemd, where it started the process and wants to be told; else nothing.

    Args:
        address: of systemd's socket, as NOTIFY_SOCKET has it; None tells nobody.
    """

    def __init__(self, address: str | None) -> None:
        self._address = None if not address else "\0" + address[1:] if address.startswith("@") else address
        self._told = -_EVERY

    def alive(self, now: float) -> None:
        """Say that the process lives, at most once a second, by a clock in seconds."""
        if self._address is not None and now - self._told >= _EVERY:
            self._told = now
            self._send(b"READY=1\nWATCHDOG=1")

    def stopping(self) -> None:
        """Say that the service ends."""
        if self._address is not None:
            self._send(b"STOPPING=1")

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.settimeout(0)
            one.sendto(message, self._address or "")
