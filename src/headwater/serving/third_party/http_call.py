"""One call of a third party: a request made of fields, and of its answer the columns, or the reason why there are none."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import httpx
import msgspec

from headwater import settings
from headwater.definitions.columns import DTYPES
from headwater.definitions.http_features import PLACE, HttpFeatures, fits
from headwater.definitions.streams import Env
from headwater.errors import DataError, UsageError

Fields = tuple[object, ...]
"""The request fields of one call, in the order of the definition."""
Columns = tuple[object, ...]
"""The columns of one answer, in the order of the definition."""

LARGEST: Final = 1_000_000  # bytes of an answer
LONGEST: Final = 4_096  # characters of a text in an answer, which is kept
_LONG: Final = 8_000  # characters of a URL
_NOTHING: Final = (204, 404, 410)  # says that there is no answer to the question
_ABOUT_US: Final = (401, 403, 407, 408, 429)  # of the 4xx, those that another request would get as well
_AGAIN: Final = (502, 503, 504)
_ONE: Final = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=15.0)
_USUAL: Final = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "headwater"}
_JSON: Final = re.compile(r"application/([\w.-]+\+)?json\b", re.IGNORECASE)


class CallError(Exception):
    """A call without an answer.

    reason: one of few words, for counters. again: it may go better at once. against: it tells against the third party, not the request.
    """

    def __init__(self, reason: str, *, again: bool = False, against: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.again, self.against = reason, again, against


class Places:
    """Connections to one third party, so many at most; whoever finds none free waits.

    Each place is a pool of one connection, thrown away with a call that fails or is given up: a pool of httpcore forgets about a connection
    whose call is cancelled as it begins, and one that all calls share would be full of such in the end. Nothing here follows a redirect,
    keeps a cookie, asks a proxy, writes a URL to a log, or minds the time.
    """

    def __init__(self, most: int, verify: ssl.SSLContext) -> None:
        self._free = asyncio.Semaphore(most)
        self._verify = verify
        self._idle: list[httpx.AsyncHTTPTransport] = []

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        """A place, for one call after the other."""
        async with self._free:
            one = self._idle.pop() if self._idle else httpx.AsyncHTTPTransport(verify=self._verify, limits=_ONE, trust_env=False)
            try:
                yield one
            except BaseException:
                await one.aclose()
                raise
            self._idle.append(one)

    async def close(self) -> None:
        """Let go of idle connections."""
        while self._idle:
            await self._idle.pop().aclose()


class Caller:
    """Calls one third party; secrets are read as it is made.

    Raises:
        UsageError: a secret is not set, or no header can hold it.
    """

    def __init__(self, http: HttpFeatures) -> None:
        self._http = http
        body = {"content-type": "application/json"} if http.method == "POST" else {}
        self._headers = _USUAL | body | {name.lower(): _header(http, name, value) for name, value in http.headers.items()}
        self._paths = [(path.split("."), dtype) for path, dtype in http.columns.values()]
        self._body = http.method == "POST"
        placed = set(PLACE.findall(http.url))
        self._rest = [(place, name) for place, name in enumerate(http.request) if name not in placed]

    def fields(self, values: Sequence[object]) -> Fields | None:
        """The fields of a call; None where one is null, so that there is nothing to ask.

        Raises:
            DataError: one is of another type than defined.
        """
        made = []
        for (name, dtype), value in zip(self._http.request.items(), values, strict=True):
            if value is None:
                return None
            if not fits(value, dtype):
                raise DataError(
                    f"third-party features {self._http.name!r}: the request's {name!r} is {value!r:.100}; give {DTYPES[dtype]}, or null"
                )
            made.append(value.astimezone(UTC) if isinstance(value, datetime) else dtype(value))
        return tuple(made)

    async def call(self, fields: Fields, over: httpx.AsyncHTTPTransport) -> Columns:
        """Ask once, at a place of its own.

        Raises:
            CallError: there is no answer that can be used.
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
        if any(texts[name] in ("", ".", "..") for name in PLACE.findall(path)):  # would ask for another page
            raise CallError("unfit field", against=False)
        made = [PLACE.sub(lambda found: quote(texts[found[1]], safe=""), part) for part in (path, query)]
        if not self._body:
            more = [f"{quote(name)}={quote(texts[name], safe='')}" for _, name in self._rest]
            made[1] = "&".join([made[1]] * bool(made[1]) + more)
        url = made[0] + "?" * bool(mark or made[1]) + made[1]
        if len(url) > _LONG:
            raise CallError("unfit field", against=False)
        if not self._body:
            return httpx.Request("GET", url, headers=self._headers)
        content = msgspec.json.encode({name: fields[place] for place, name in self._rest})
        return httpx.Request("POST", url, headers=self._headers, content=content)

    async def _data(self, answer: httpx.Response) -> bytes | None:
        """The body of an answer; None where the third party has none to this question."""
        status = answer.status_code
        if status not in _NOTHING and not 200 <= status < 300:
            if 300 <= status < 400:
                raise CallError("redirect")
            raise CallError(f"status {status}", again=status in _AGAIN, against=status >= 500 or status in _ABOUT_US)
        if status not in _NOTHING and not _JSON.match(answer.headers.get("content-type", "")):
            raise CallError("content type")
        if answer.headers.get("content-encoding", "identity") != "identity":  # a small body may become a large one
            raise CallError("encoded")
        parts, size = [], 0
        async for part in answer.aiter_raw():
            size += len(part)
            if size > LARGEST:
                raise CallError("too large")
            parts.append(part)
        return None if status in _NOTHING else b"".join(parts)

    def _columns(self, data: bytes | None) -> Columns:
        if data is None:
            return (None,) * len(self._paths)
        try:
            found = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise CallError("not JSON") from error
        if not isinstance(found, dict | list):
            raise CallError("wrong type")
        return tuple(_column(found, path, dtype) for path, dtype in self._paths)


def _column(found: object, path: Sequence[str], dtype: type) -> object:
    """The value at a place of an answer, None where it is null or not there.

    Raises:
        CallError: something of another type is there.
    """
    for part in path:
        if isinstance(found, dict):
            found = found.get(part)
        elif isinstance(found, list) and part.isdecimal():
            found = found[int(part)] if int(part) < len(found) else None
        elif found is not None:
            raise CallError("wrong type")
    if found is None:
        return None
    if dtype is datetime and isinstance(found, str):
        try:
            found = datetime.fromisoformat(found)
        except ValueError as error:
            raise CallError("wrong type") from error
    if not fits(found, dtype):
        raise CallError("wrong type")
    if isinstance(found, str) and len(found) > LONGEST:
        raise CallError("too large")
    if isinstance(found, datetime):
        return found.astimezone(UTC)
    return float(found) if dtype is float else found  # type: ignore[arg-type]  # a number, as `fits` has seen


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _header(http: HttpFeatures, name: str, value: str | Env) -> str:
    if not isinstance(value, Env):
        return value
    found = settings.secret(value.name)
    if not (found.isascii() and found.isprintable()):  # its value is not said
        raise UsageError(
            f"third-party features {http.name!r}: the environment variable {value.name} holds characters that the header {name!r} cannot; "
            "is there the end of a line in it?"
        )
    return found
