"""HTTP/1.1 of the clients, without I/O: the address of a service, requests as bytes, and responses
from bytes.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

import httptools

from headwater.errors import DataError, UsageError
from headwater.serving.client.protocol import Call, Lost, Reply

CONNECT_SECONDS: Final = 2.0
"""Seconds that opening a connection may take, at most."""
IDLE_SECONDS: Final = 30.0
"""Seconds that an unused connection is kept."""
IDLE_CONNECTIONS: Final = 100
"""Unused connections that are kept."""

_PORTS: Final = {"http": 80, "https": 443}
_UNRESERVED: Final = "/%!$&'()*+,;=:@~"


class ServiceAddress:
    """The address of a service, and the headers that all its requests have.

    Args:
        url: such as http://127.0.0.1:8320, or with the path of a proxy.
        headers: by lower-case name.

    Raises:
        UsageError: an invalid URL, or a header that cannot be sent.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
            self.host = host.encode("ascii" if ":" in host else "idna").decode()
        except ValueError:
            self.host, port = "", None
        if not self.host or port == 0 or parts.scheme not in _PORTS:
            raise UsageError(
                f"the service's address is {url!r}; give a URL such as http://127.0.0.1:8320"
            )
        self.port = port or _PORTS[parts.scheme]
        self.secure = parts.scheme == "https"
        name = f"[{self.host}]" if ":" in self.host else self.host
        shown = name if self.port == _PORTS[parts.scheme] else f"{name}:{self.port}"
        self.url = f"{parts.scheme}://{shown}{parts.path.rstrip('/')}"
        self._path = quote(parts.path.rstrip("/"), safe=_UNRESERVED)
        if parts.username is not None and "authorization" not in headers:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers = {**headers, "authorization": f"Basic {b64encode(user.encode()).decode()}"}
        unfit = [name for name, value in headers.items() if not _fits(value)]
        if unfit:  # the message does not contain its value, which may be a secret
            raise UsageError(
                f"the header {unfit[0]} has characters that cannot be sent; give printable ASCII, "
                "without line breaks"
            )
        self._head = "".join(
            f"{name}: {value}\r\n" for name, value in {"host": shown, **headers}.items()
        )

    @cached_property
    def tls(self) -> ssl.SSLContext | None:
        """What encrypts the connections, with httpx's certificate authorities; None for http."""
        if not self.secure:
            return None
        import httpx

        context = httpx.create_ssl_context(trust_env=False)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def request(self, call: Call[Any]) -> bytes:
        """A request as it is sent.

        Raises:
            DataError: a header that cannot be sent.
        """
        body = call.body or b""
        target = (
            f"{self._path}{call.path}?{urlencode(call.query, quote_via=quote)}"
            if call.query
            else self._path + call.path
        )
        more = "" if call.method == "GET" and not body else f"content-length: {len(body)}\r\n"
        for name, value in call.headers.items():
            if not _fits(value):
                raise DataError(
                    f"the header {name} is {value!r}; give printable ASCII, without line breaks"
                )
            more += f"{name}: {value}\r\n"
        return f"{call.method} {target} HTTP/1.1\r\n{self._head}{more}\r\n".encode("ascii") + body

    def lost(self, error: Exception) -> Lost:
        """What an error of a connection means to the conversation."""
        reason = "the time is over" if isinstance(error, TimeoutError) else _words(error)
        return Lost(f"no answer from {self.url}: {reason}; is `headwater serve` running there?")


class BrokenConnectionError(OSError):
    """The service sent something that is not a response, or closed the connection before its
    end.
    """


class ResponseReader:
    """Collects the response of one request.

    reply: the response, once it is complete. kept: whether the connection can then be used again.
    """

    def __init__(self) -> None:
        self.reply: Reply | None = None
        self.keep_alive = False
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._sized = self._in_body = False

    def feed(self, data: bytes) -> bool:
        """Add received bytes, none where the service has closed the connection; whether the
        response is complete.

        Raises:
            BrokenConnectionError: it is not a response, or has no end.
        """
        if not data:
            if not self._in_body or self._sized:
                raise BrokenConnectionError("the connection was closed without a complete response")
            self._complete(keep_alive=False)  # a body without a length ends with the connection
            return True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.reply is None:
                raise BrokenConnectionError(f"the response is not HTTP: {error}") from error
            self.keep_alive = False  # more than a response
        return self.reply is not None

    def on_message_begin(self) -> None:
        """The first byte of a response, of one after that of status 100, or of an unexpected
        one.
        """
        if self.reply is not None:
            self.keep_alive = False
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        if self.reply is None:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The end of the headers."""
        if self.reply is None:
            self._in_body = self._parser.get_status_code() >= 200
            self._sized = not self._headers.keys().isdisjoint(
                ("content-length", "transfer-encoding")
            )

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self.reply is None:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The end of a response; one of status 100 comes before the response itself."""
        if self.reply is None and self._in_body:
            self._complete(keep_alive=self._parser.should_keep_alive())

    def _complete(self, *, keep_alive: bool) -> None:
        self.reply, self.keep_alive = (
            Reply(self._parser.get_status_code(), self._headers, b"".join(self._body)),
            keep_alive,
        )


def _fits(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _words(error: Exception) -> str:
    return (
        (error.strerror if isinstance(error, OSError) else None)
        or str(error)
        or type(error).__name__
    )
