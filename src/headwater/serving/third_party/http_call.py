"""One HTTP call of a third party: a request built from fields, and its response parsed into
columns, or the reason of a failure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import httpx
import msgspec

from headwater import settings
from headwater.definitions.connectors import Env
from headwater.definitions.http_features import PLACEHOLDER, HttpFeatures, fits
from headwater.definitions.source import DTYPES
from headwater.errors import DataError, UsageError
from headwater.serving.third_party.trace_header import TRACEPARENT

Fields = tuple[object, ...]
"""The request fields of one call, in the order of the definition."""
Columns = tuple[object, ...]
"""The columns of one response, in the order of the definition."""

LARGEST: Final = 1_000_000  # bytes of a response
LONGEST: Final = 4_096  # characters of a string in a response, since responses are cached
_LONG: Final = 8_000  # characters of a URL
_NOTHING: Final = (204, 404, 410)  # no data for the fields
# of the 4xx, those not caused by the fields of the request
_ABOUT_US: Final = (401, 403, 407, 408, 429)
_AGAIN: Final = (502, 503, 504)
_USUAL: Final = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": "headwater",
}
_JSON: Final = re.compile(r"application/([\w.-]+\+)?json\b", re.IGNORECASE)


class CallError(Exception):
    """A failed call.

    reason: a short label, for counters. again: a retry may succeed. against: a failure of the third
    party, not of the request.
    """

    def __init__(self, reason: str, *, again: bool = False, against: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.again, self.against = reason, again, against


class ThirdPartyCaller:
    """Calls one third party; secrets are read by the constructor.

    Raises:
        UsageError: a secret is not set, or not valid in a header.
    """

    def __init__(self, http: HttpFeatures) -> None:
        self._http = http
        body = {"content-type": "application/json"} if http.method == "POST" else {}
        self._headers = (
            _USUAL
            | body
            | {name.lower(): _header(http, name, value) for name, value in http.headers.items()}
        )
        self._paths = [(path.split("."), dtype) for path, dtype in http.columns.values()]
        self._body = http.method == "POST"
        placed = set(PLACEHOLDER.findall(http.url))
        self._rest = [
            (position, name) for position, name in enumerate(http.request) if name not in placed
        ]

    def fields(self, values: Sequence[object]) -> Fields | None:
        """The fields of a call; None where one is null, which needs no call.

        Raises:
            DataError: a field is of a type other than defined.
        """
        fields = []
        for (name, dtype), value in zip(self._http.request.items(), values, strict=True):
            if value is None:
                return None
            if not fits(value, dtype):
                raise DataError(
                    f"third-party features {self._http.name!r}: the request's {name!r} is "
                    f"{value!r:.100}; give {DTYPES[dtype]}, or null"
                )
            fields.append(value.astimezone(UTC) if isinstance(value, datetime) else dtype(value))
        return tuple(fields)

    async def call(self, fields: Fields, over: httpx.AsyncHTTPTransport) -> Columns:
        """Call once, over a connection of `AsyncConnections`.

        Raises:
            CallError: no valid response.
        """
        request = self._request(fields)
        try:
            answer = await over.handle_async_request(request)
        except (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise CallError("no connection", again=True) from error
        except httpx.HTTPError as error:
            raise CallError("broken off", again=True) from error
        try:
            return self._columns(await self._data(answer))
        except httpx.HTTPError as error:
            raise CallError("broken off", again=True) from error
        finally:
            await answer.aclose()

    def _request(self, fields: Fields) -> httpx.Request:
        texts = dict(zip(self._http.request, map(_text, fields), strict=True))
        path, mark, query = self._http.url.partition("?")
        # would change the path
        if any(texts[name] in ("", ".", "..") for name in PLACEHOLDER.findall(path)):
            raise CallError("unfit field", against=False)
        filled = [
            PLACEHOLDER.sub(lambda match: quote(texts[match[1]], safe=""), template)
            for template in (path, query)
        ]
        if not self._body:
            more = [f"{quote(name)}={quote(texts[name], safe='')}" for _, name in self._rest]
            filled[1] = "&".join([filled[1]] * bool(filled[1]) + more)
        url = filled[0] + "?" * bool(mark or filled[1]) + filled[1]
        if len(url) > _LONG:
            raise CallError("unfit field", against=False)
        trace = TRACEPARENT.get()
        headers = self._headers if trace is None else {**self._headers, "traceparent": trace}
        if not self._body:
            return httpx.Request("GET", url, headers=headers)
        content = msgspec.json.encode({name: fields[position] for position, name in self._rest})
        return httpx.Request("POST", url, headers=headers, content=content)

    async def _data(self, answer: httpx.Response) -> bytes | None:
        """The body of a response; None where the third party has no data for the fields."""
        status = answer.status_code
        if status not in _NOTHING and not 200 <= status < 300:
            if 300 <= status < 400:
                raise CallError("redirect")
            raise CallError(
                f"status {status}",
                again=status in _AGAIN,
                against=status >= 500 or status in _ABOUT_US,
            )
        if status not in _NOTHING and not _JSON.match(answer.headers.get("content-type", "")):
            raise CallError("content type")
        # a small compressed body may decompress to a large one
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise CallError("encoded")
        chunks, size = [], 0
        async for chunk in answer.aiter_raw():
            size += len(chunk)
            if size > LARGEST:
                raise CallError("too large")
            chunks.append(chunk)
        return None if status in _NOTHING else b"".join(chunks)

    def _columns(self, data: bytes | None) -> Columns:
        if data is None:
            return (None,) * len(self._paths)
        try:
            document = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise CallError("not JSON") from error
        if not isinstance(document, dict | list):
            raise CallError("wrong type")
        return tuple(_column(document, path, dtype) for path, dtype in self._paths)


def _column(value: object, path: Sequence[str], dtype: type) -> object:
    """The value at a path of a response, None where it is null or absent.

    Raises:
        CallError: a value of another type.
    """
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal():
            value = value[int(step)] if int(step) < len(value) else None
        elif value is not None:
            raise CallError("wrong type")
    if value is None:
        return None
    if dtype is datetime and isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise CallError("wrong type") from error
    if not fits(value, dtype):
        raise CallError("wrong type")
    if isinstance(value, str) and len(value) > LONGEST:
        raise CallError("too large")
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return float(value) if dtype is float else value  # type: ignore[arg-type]  # a number, as checked by `fits`


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _header(http: HttpFeatures, name: str, value: str | Env) -> str:
    if not isinstance(value, Env):
        return value
    secret = settings.secret(value.name)
    if not (secret.isascii() and secret.isprintable()):  # the message does not contain its value
        raise UsageError(
            f"third-party features {http.name!r}: the environment variable {value.name} has "
            f"characters that are not allowed in the header {name!r}; allowed: printable ASCII. "
            "Check for a line break at its end"
        )
    return secret
