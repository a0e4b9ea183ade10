"""The address of a service, and the headers that all its requests have."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Mapping
from functools import cached_property
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from headwater.errors import ConnectError, UsageError
from headwater.serving.client.calls import fits

CONNECT_SECONDS: Final = 2.0
"""Seconds that opening a connection may take, at most."""
IDLE_SECONDS: Final = 30.0
"""Seconds that an unused connection is kept."""

_PORTS: Final = {"http": 80, "https": 443}
_UNRESERVED: Final = "/%!$&'()*+,;=:@~"


class ServiceAddress:
    """The address of a service. path: of a proxy, before that of a route, such as "" or "/shop".

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
        self.scheme, self.port = parts.scheme, port or _PORTS[parts.scheme]
        name = f"[{self.host}]" if ":" in self.host else self.host
        shown = name if self.port == _PORTS[parts.scheme] else f"{name}:{self.port}"
        self.url = f"{parts.scheme}://{shown}{parts.path.rstrip('/')}"
        self.path = quote(parts.path.rstrip("/"), safe=_UNRESERVED)
        if parts.username is not None and "authorization" not in headers:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers = {**headers, "authorization": f"Basic {b64encode(user.encode()).decode()}"}
        unfit = [name for name, value in headers.items() if not fits(value)]
        if unfit:  # the message does not contain its value, which may be a secret
            raise UsageError(
                f"the header {unfit[0]} has characters that cannot be sent; give printable ASCII, "
                "without line breaks"
            )
        self.headers = {"host": shown, **headers}

    @cached_property
    def tls(self) -> ssl.SSLContext | None:
        """What encrypts the connections, with httpx's certificate authorities; None for http."""
        if self.scheme == "http":
            return None
        import httpx

        context = httpx.create_ssl_context(trust_env=False)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def no_answer(self, error: OSError) -> ConnectError:
        """The error of a call without a response."""
        reason = (
            "it took too long"
            if isinstance(error, TimeoutError)
            else error.strerror or str(error) or type(error).__name__
        )
        return ConnectError(
            f"no answer from {self.url}: {reason}; is `headwater serve` running there?"
        )
