"""Notifies systemd of readiness, liveness and shutdown: the protocol of sd_notify, without its
library.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final

_EVERY: Final = 1.0  # seconds


class Notifier:
    """Sends notifications to systemd, if it started the process with Type=notify.

    Args:
        address: of systemd's socket, from NOTIFY_SOCKET; None sends nothing.
    """

    def __init__(self, address: str | None) -> None:
        self._address = (
            None if not address else "\0" + address[1:] if address.startswith("@") else address
        )
        self._sent_at = -_EVERY

    def alive(self, now: float) -> None:
        """Send READY and WATCHDOG, at most once a second. now: seconds of a monotonic clock."""
        if self._address is not None and now - self._sent_at >= _EVERY:
            self._sent_at = now
            self._send(b"READY=1\nWATCHDOG=1")

    def stopping(self) -> None:
        """Send STOPPING."""
        if self._address is not None:
            self._send(b"STOPPING=1")

    def _send(self, message: bytes) -> None:
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel,
        ):
            channel.settimeout(0)
            channel.sendto(message, self._address or "")
