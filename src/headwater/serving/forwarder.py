"""Events that reach a process which does not ingest: passed on to the one that does, and its answer back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import httpx

from headwater.online_stores import OnlineStore, spaces
from headwater.serving.http import Read, Refused, Scope, Send, body, header, refuse
from headwater.serving.receiver import ROUTE, source_of

_CONNECT: Final = 2.0  # seconds
_ANSWER: Final = 60.0
HEADERS: Final = (b"idempotency-key", b"content-type")


class Forwarder:
    """An ASGI handler of `POST /v1/events/{source}`; the store says where the process that ingests listens."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(_ANSWER, connect=_CONNECT), trust_env=False)

    async def __call__(self, scope: Scope, read: Read, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            return
        try:
            given = {name: value.encode("latin-1") for name in HEADERS if (value := header(scope, name)) is not None}
            found = await self.forward(source_of(scope), await body(scope, read), given)
        except Refused as refused:
            await refuse(send, refused)
            return
        names = ("content-type", "retry-after")
        headers = [(name.encode(), found.headers[name].encode()) for name in names if name in found.headers]
        await send({"type": "http.response.start", "status": found.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": found.content})

    async def forward(self, source: str, data: bytes, headers: Mapping[bytes, bytes]) -> httpx.Response:
        """Pass events on, with those of the request's headers that say something of them.

        Raises:
            Refused: nobody ingests, or the answer was lost.
        """
        address = self._store.get([spaces.RECEIVER])[0]
        if address is None:
            raise Refused(503, "no process ingests pushed events; start `headwater ingest`", again=5)
        passed = {name.decode(): headers[name].decode("latin-1") for name in HEADERS if name in headers}
        try:
            return await self._client.post(f"{address.decode()}{ROUTE}{quote(source)}", content=data, headers=passed)
        except httpx.ConnectError as error:
            raise Refused(503, f"the process that ingests does not answer at {address.decode()}", again=1) from error
        except httpx.HTTPError as error:
            raise Refused(503, "the answer was lost; whether the events were taken is not known: send the same again", again=1) from error

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()
