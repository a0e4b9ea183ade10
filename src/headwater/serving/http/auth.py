"""Access control: tokens with scopes, stored as hashes in a file that is read again when it
changes.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

from headwater import clock
from headwater.errors import UsageError, nearest

Scope = Literal["read", "predict", "write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""read: features and explanations. predict: predictions and rankings. write: events and outcomes.
admin: everything.
"""

GRACE: Final = 30.0
"""Seconds for which known tokens stay valid while the file of tokens cannot be read."""

_LOG: Final = logging.getLogger(__name__)
_SEEN: Final = 1024  # headers of known tokens
_LOOK: Final = 0.5  # seconds between two checks of the file
_PREFIX: Final = "hw"
_ID, _SECRET = 6, 32  # random bytes
_BEGIN: Final = b"Bearer hw_"
_ID_STARTS, _ID_ENDS = len(_BEGIN), len(_BEGIN) + 2 * _ID
_NOBODY: Final = bytes(32)


class Token(msgspec.Struct, frozen=True):
    """The stored record of a token, without its secret. digest: SHA-256 of the secret, in
    hexadecimal digits.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    digest: str
    made_at: datetime


class Denied(Exception):  # noqa: N818 (an error response)
    """Access denied: the status of the response, and the reason."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class TokenFile:
    """A file of tokens: read, add, revoke.

    Raises:
        UsageError: the file cannot be read, or holds no tokens.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Token]:
        """All tokens; an empty list where the file does not exist."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UsageError(
                f"the tokens in {self.path} cannot be read: {error.strerror or error}"
            ) from error
        try:
            return msgspec.json.decode(data, type=list[Token])
        except msgspec.DecodeError as error:
            raise UsageError(
                f"{self.path} is not a file of tokens: {error}; create one with `headwater token "
                "new`"
            ) from error

    def add(self, name: str, scopes: Collection[str]) -> str:
        """Create a token and return it; only its hash is stored.

        Raises:
            UsageError: no scope, or an unknown one.
        """
        for scope in scopes:
            if scope not in SCOPES:
                raise UsageError(f"unknown scope {scope!r}; {nearest(scope, SCOPES)}")
        if not scopes:
            raise UsageError(f"a token needs at least one scope: {', '.join(SCOPES)}")
        token_id, secret = secrets.token_hex(_ID), secrets.token_urlsafe(_SECRET)
        chosen = tuple(scope for scope in SCOPES if scope in scopes)
        self._write(
            [*self.read(), Token(token_id, name, chosen, _digest(secret).hex(), clock.now())]
        )
        return f"{_PREFIX}_{token_id}_{secret}"

    def revoke(self, token: str) -> Token:
        """Delete a token, by its id or name.

        Raises:
            UsageError: no token, or several tokens, of that name.
        """
        revoked = self.find(token)
        self._write([entry for entry in self.read() if entry.id != revoked.id])
        return revoked

    def find(self, token: str) -> Token:
        """A token by its id or name.

        Raises:
            UsageError: no token, or several tokens, of that name.
        """
        tokens = self.read()
        matching = [entry for entry in tokens if token in (entry.id, entry.name)]
        if not matching:
            names = [name for entry in tokens for name in (entry.id, entry.name) if name]
            raise UsageError(f"{self.path} has no token {token!r}; {nearest(token, names)}")
        if len(matching) > 1:
            raise UsageError(
                f"{len(matching)} tokens are named {token!r}; give the id of one: "
                f"{', '.join(entry.id for entry in matching)}"
            )
        return matching[0]

    def _write(self, tokens: list[Token]) -> None:
        """Replace the file atomically. It keeps its owner and mode, so that a service of another
        user still reads it; a new one is 0600.

        Raises:
            UsageError: it cannot be written, or its owner cannot be kept; nothing was changed.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary: Path | None = None
        try:
            before = self.path.stat() if self.path.exists() else None
            # 0600
            with tempfile.NamedTemporaryFile(
                dir=self.path.parent, prefix=self.path.name, delete=False
            ) as file:
                temporary = Path(file.name)
                if before is not None:
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
                file.write(msgspec.json.format(msgspec.json.encode(tokens)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except OSError as error:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            raise UsageError(
                f"the tokens in {self.path} cannot be written: {error.strerror or error}; nothing "
                "was changed. Run it as the file's owner, or as root"
            ) from error


class Access:
    """Checks the access of requests.

    With a file of tokens, a request needs `Authorization: Bearer TOKEN`. Without one, every client
    of this machine has access, and so the service listens on a loopback address only and refuses
    requests of web pages of other sites.

    Raises:
        UsageError: the file has no token.

    Args:
        tokens: the file of tokens, or None.
        now: a monotonic clock, seconds.
    """

    def __init__(self, tokens: Path | None, *, now: Callable[[], float] = clock.stopwatch) -> None:
        self._file, self._now = None if tokens is None else TokenFile(tokens), now
        self._looked, self._stamp = now(), _stamp(tokens)
        self._unread: float | None = None  # since when the file cannot be read
        self._seen: dict[bytes, frozenset[str]] = {}  # headers with a known token
        self._scopes_by_id: Mapping[bytes, tuple[bytes, frozenset[str]]] = (
            {} if self._file is None else _by_id(self._file.read())
        )
        if self._file is not None and not self._scopes_by_id:
            raise UsageError(
                f"{tokens} has no token; create one with `headwater token new --scope predict`"
            )

    @property
    def open(self) -> bool:
        """Whether requests need no token."""
        return self._file is None

    def scopes(self, authorization: bytes | None) -> frozenset[str]:
        """The scopes of the sender of a request.

        Raises:
            Denied: 401, no token or an unknown one.
        """
        if self._now() - self._looked > _LOOK:
            self._look()
        seen = None if authorization is None else self._seen.get(authorization)
        # whose hash was compared; a dictionary compares bytes only where their keyed hashes are
        # equal
        if seen is not None:
            return seen
        sent = authorization
        if authorization is None or authorization[:_ID_STARTS] != _BEGIN:
            authorization = _written(authorization)
        expected, scopes = self._scopes_by_id.get(
            authorization[_ID_STARTS:_ID_ENDS], (_NOBODY, _NOTHING)
        )
        if not hmac.compare_digest(
            hashlib.sha256(authorization[_ID_ENDS + 1 :]).digest(), expected
        ):
            raise Denied(401, "the token is unknown or was revoked")
        if sent is not None and len(self._seen) < _SEEN:
            self._seen[sent] = scopes
        return scopes

    def allow(self, headers: Mapping[bytes, bytes], needed: Scope | Literal["any"] | None) -> None:
        """Refuse a request whose sender may not send it.

        Args:
            headers: of the request, by lower-case name.
            needed: the scope; "any" is any token, and None needs none.

        Raises:
            Denied: as `scopes`, `check` and `check_page`.
        """
        if self._file is None:
            self.check_page(headers, writes=needed == "write")
        elif needed is not None:
            scopes = self.scopes(headers.get(b"authorization"))
            if needed != "any":
                self.check(scopes, needed)

    def check(self, scopes: frozenset[str], needed: Scope) -> None:
        """Refuse a request whose token lacks a scope.

        Raises:
            Denied: 403.
        """
        if needed not in scopes and "admin" not in scopes:
            raise Denied(
                403,
                f"this needs the scope {needed}, and the token has: {', '.join(sorted(scopes))}",
            )

    def check_page(self, headers: Mapping[bytes, bytes], *, writes: bool = False) -> None:
        """Without tokens: refuse requests of web pages of other sites (CSRF), and other host names
        (DNS rebinding).

        Args:
            headers: of the request, by lower-case name.
            writes: whether the request writes; then content types that a page may send without a
                preflight are refused too.

        Raises:
            Denied: 403, or 415 for the type of content.
        """
        name = headers.get(b"host", b"").decode("latin-1").lower()
        if not is_loopback(name.rpartition(":")[0] if _PORT.search(name) else name):
            raise Denied(
                403,
                "without tokens this service serves this machine only, and the request's Host is "
                f"{name[:100]!r}; create a token to serve others",
            )
        origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
        if origin is not None and origin.decode("latin-1").lower().partition("://")[2] != name:
            raise Denied(
                403,
                "the request is from a web page of another site; without tokens such requests are "
                "refused",
            )
        if site not in _OWN_SITE and (writes or headers.get(b"sec-fetch-mode") != b"navigate"):
            raise Denied(
                403,
                "the request is from a web page of another site; without tokens such requests are "
                "refused",
            )
        if (
            writes
            and (kind := headers.get(b"content-type", b"").partition(b";")[0].strip().lower())
            in _SIMPLE
        ):
            raise Denied(
                415,
                f"the content type is {kind.decode()}, which any web page may send; send "
                "application/json",
            )

    def _look(self) -> None:
        """Read the file again if it has changed. While it cannot be read, known tokens stay valid
        for `GRACE` seconds, then none is.
        """
        assert self._file is not None
        self._looked = self._now()
        stamp = _stamp(self._file.path)
        if stamp == self._stamp and self._unread is None:
            return
        self._seen.clear()
        try:
            if stamp is None:
                self._file.path.stat()  # raises with the reason
            self._scopes_by_id, self._stamp, self._unread = _by_id(self._file.read()), stamp, None
        except FileNotFoundError:
            self._scopes_by_id, self._stamp, self._unread = {}, None, None
        except (OSError, UsageError) as error:
            if self._unread is None:
                self._unread = self._looked
                _LOG.warning("%s; known tokens stay valid for %.0f more seconds", error, GRACE)
            elif self._looked - self._unread > GRACE and self._scopes_by_id:
                self._scopes_by_id = {}
                _LOG.error("%s; no token is accepted until it can be read again", error)


_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})
_PORT: Final = re.compile(r":\d+$")
# values of Sec-Fetch-Site; only browsers send it
_OWN_SITE: Final = (None, b"same-origin", b"none")
# sent to other sites without a preflight
_SIMPLE: Final = (b"text/plain", b"multipart/form-data", b"application/x-www-form-urlencoded")
_NOTHING: Final[frozenset[str]] = frozenset()


def is_loopback(host: str) -> bool:
    """Whether a host name or address is a loopback one.

    >>> is_loopback("127.0.0.2"), is_loopback("127.0.0.1.evil.example"), is_loopback("")
    (True, False, False)
    """
    return host in _LOOPBACK or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def check_bind(host: str, tokens: Path | None) -> None:
    """Refuse to listen on a network address without tokens.

    Raises:
        UsageError: there are no tokens, and the address is not a loopback one.
    """
    if tokens is None and not is_loopback(host):
        raise UsageError(
            f"without tokens only loopback addresses are allowed, and {host} is none: create a "
            "token with `headwater token new --scope predict`, or listen on 127.0.0.1"
        )


def _by_id(tokens: list[Token]) -> Mapping[bytes, tuple[bytes, frozenset[str]]]:
    return {
        token.id.encode(): (bytes.fromhex(token.digest), frozenset(token.scopes))
        for token in tokens
    }


def _written(authorization: bytes | None) -> bytes:
    """The header in its usual form.

    Raises:
        Denied: it has no headwater token.
    """
    kind, _, token = (authorization or b"").strip().partition(b" ")
    if kind.lower() != b"bearer" or not token.strip().startswith(b"hw_"):
        raise Denied(
            401,
            "give a token in the header Authorization: Bearer TOKEN; `headwater token new` "
            "creates one",
        )
    return b"Bearer " + token.strip()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Modification time, inode and size of the file, to detect changes."""
    try:
        info = None if path is None else path.stat()
    except OSError:
        return None
    return None if info is None else (info.st_mtime_ns, info.st_ino, info.st_size)
