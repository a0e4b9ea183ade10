"""Logins: a token is exchanged for a cookie. Sessions are in memory only; a revoked token ends its
sessions.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from headwater import clock
from headwater.serving.http.auth import Access, Denied

COOKIE: Final = "headwater_console"
_LIFETIME: Final = 12 * 3600.0  # seconds
_MOST: Final = 1000  # sessions; beyond them the oldest ends
# failed logins of an address in `_WITHIN` seconds, and ten times as many of all addresses
_WRONG: Final = 10
_WITHIN: Final = 60.0
_EVERYTHING: Final = frozenset({"admin"})


@dataclass
class Session:
    """A logged-in browser.

    authorization: its token as a header; None where no tokens are used. csrf: of its forms.
    message: for the next page.
    """

    authorization: bytes | None
    began: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    message: str = ""

    def take_message(self) -> str:
        """The message for the next page, which is shown once."""
        message, self.message = self.message, ""
        return message

    def is_own(self, csrf: str) -> bool:
        """Whether a form is of this session."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode())


class Sessions:
    """Begins, finds and ends sessions.

    Args:
        access: knows the tokens.
        now: a monotonic clock, seconds.
    """

    def __init__(self, access: Access, *, now: Callable[[], float] = clock.stopwatch) -> None:
        self._access, self._now = access, now
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._failed: dict[str, deque[float]] = {}

    def begin(self, token: str, address: str) -> str:
        """A new session; returns the cookie's value. Failed logins are limited, and never one with
        a token that may read.

        Raises:
            Denied: 401, an unknown token; 403, it cannot read; 429, too many failed logins.
        """
        authorization = b"Bearer " + token.strip().encode("utf-8", "replace")
        try:
            self._access.check(self._access.scopes(authorization), "read")
        except Denied:
            self._check_rate(address)
            for name in (address, ""):
                self._failed.setdefault(name, deque(maxlen=10 * _WRONG)).append(self._now())
            raise
        return self._add(Session(authorization, self._now()))

    def open(self) -> str:
        """A session without login, where no tokens are used."""
        return self._add(Session(None, self._now()))

    def find(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None where it has ended."""
        session = None if cookie is None else self._sessions.get(cookie)
        if cookie is None or session is None or self._now() - session.began > _LIFETIME:
            self._sessions.pop(cookie or "", None)
            return None
        return session

    def scopes(self, session: Session) -> frozenset[str]:
        """The scopes of its token as of now.

        Raises:
            Denied: 401, the token was revoked.
        """
        return (
            _EVERYTHING
            if session.authorization is None and self._access.open
            else self._access.scopes(session.authorization)
        )

    def end(self, cookie: str | None) -> None:
        """Log out."""
        self._sessions.pop(cookie or "", None)

    def _add(self, session: Session) -> str:
        cookie = secrets.token_urlsafe(32)
        self._sessions[cookie] = session
        while len(self._sessions) > _MOST:
            self._sessions.popitem(last=False)
        return cookie

    def _check_rate(self, address: str) -> None:
        now = self._now()
        if len(self._failed) > _MOST:
            self._failed = {
                name: times for name, times in self._failed.items() if now - times[-1] < _WITHIN
            }
        for name, most in ((address, _WRONG), ("", 10 * _WRONG)):
            if sum(now - at < _WITHIN for at in self._failed.get(name, ())) >= most:
                raise Denied(429, "too many failed logins; wait a minute and try again")


def cookies(headers: Mapping[bytes, bytes]) -> Mapping[str, str]:
    """The cookies of a request by name.

    >>> dict(cookies({b"cookie": b"a=1; headwater_console=x"}))
    {'a': '1', 'headwater_console': 'x'}
    """
    pairs = (
        pair.strip().partition("=")
        for pair in headers.get(b"cookie", b"").decode("latin-1").split(";")
    )
    return {name: value for name, _, value in pairs if name}
