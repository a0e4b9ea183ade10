"""`POST /v1/events/{source}`: events are answered for once the commit that holds them is durable."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import unquote

import msgspec
import numpy as np

from headwater.connectors.pushed import Inbox, Settled
from headwater.errors import BusyError, UsageError, nearest
from headwater.pipelines.fates import ACCEPTED, COPY, FILTERED, HELD, REFUSED
from headwater.pipelines.ingest import Receive
from headwater.serving.http import Read, Refused, Scope, Send, answer, body, header, refuse
from headwater.serving.server import serving

ROUTE: Final = "/v1/events/"
_KEY: Final = 255  # letters of an Idempotency-Key
_SPACE: Final = b" \t\r\n"


class Receiver:
    """An ASGI handler that leaves events in inboxes, by the names of their sources."""

    def __init__(self, inboxes: Mapping[str, Inbox]) -> None:
        self._inboxes = inboxes

    async def __call__(self, scope: Scope, read: Read, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            status, said = await self._taken(scope, read)
            await answer(send, status, said)
        except Refused as refused:
            await refuse(send, refused)

    async def _taken(self, scope: Scope, read: Read) -> tuple[int, dict[str, object]]:
        inbox = self._inbox(source_of(scope))
        key = header(scope, b"idempotency-key")
        if key is not None and not 0 < len(key) <= _KEY:
            raise Refused(400, f"the Idempotency-Key has {len(key)} letters; give 1 to {_KEY}")
        payloads = split(await body(scope, read))
        if len(payloads) > inbox.most:
            raise Refused(413, f"{len(payloads):,} events in one request; send at most {inbox.most:,}")
        try:
            settled = await asyncio.wrap_future(inbox.put(payloads, key))
        except UsageError as error:
            raise Refused(400, str(error)) from error
        except BusyError as error:
            raise Refused(503, str(error), again=1) from error
        said = told(settled)
        return (422 if len(settled.reasons) == len(payloads) else 200), said

    def _inbox(self, name: str) -> Inbox:
        if name not in self._inboxes:
            raise Refused(404, f"no source {name!r} receives pushed events here; {nearest(name, self._inboxes)}")
        return self._inboxes[name]


def source_of(scope: Scope) -> str:
    """The source that a request pushes events to.

    Raises:
        Refused: another path, or method.
    """
    path = scope["path"]
    if not path.startswith(ROUTE) or "/" in path[len(ROUTE) :]:
        raise Refused(404, f"there is nothing at {path}; events go to {ROUTE}SOURCE")
    if scope["method"] != "POST":
        raise Refused(405, f"{scope['method']} means nothing here; events come by POST")
    return unquote(path[len(ROUTE) :])


def split(data: bytes) -> list[bytes]:
    r"""The events of a body: one JSON object, an array of them, or one a line.

    Raises:
        Refused: there is none, or the body is neither.

    >>> split(b'{"a": 1}'), split(b'[{"a": 1}, {"a": 2}]'), split(b'{"a": 1}\n\n{"a": 2}\n')
    ([b'{"a": 1}'], [b'{"a": 1}', b'{"a": 2}'], [b'{"a": 1}', b'{"a": 2}'])
    """
    data = data.strip(_SPACE)
    try:
        if data.startswith(b"["):
            found = [bytes(raw) for raw in msgspec.json.decode(data, type=list[msgspec.Raw])]
        else:
            found = [line for line in re.split(rb"[\r\n]+", data) if line.strip(_SPACE)]
            if len(found) > 1 and _whole(data):  # an object that is laid out over lines
                found = [data]
            elif len(found) == 1:
                msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {error}; send an object, an array of objects, or an object a line") from error
    if not found:
        raise Refused(400, "the body has no event; send an object, an array of objects, or an object a line")
    return found


def told(settled: Settled) -> dict[str, object]:
    """What became of a request's events, as its answer says it."""
    count = np.bincount(settled.fates, minlength=REFUSED + 1).tolist()
    refused: Sequence[Mapping[str, object]] = [{"index": n, "reason": why} for n, why in sorted(settled.reasons.items())]
    return {
        "accepted": count[ACCEPTED],
        "copies": count[COPY],
        "held": count[HELD],
        "filtered": count[FILTERED],
        "refused": refused,
        "sequence": settled.sequence,
    }


def _whole(data: bytes) -> bool:
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def receiver(host: str, port: int) -> Receive:
    """What `pipelines.ingest` calls `receive`: a server at an address of this machine."""

    @contextmanager
    def receive(inboxes: Mapping[str, Inbox]) -> Iterator[str]:
        with serving(Receiver(inboxes), host, port) as address:
            yield address

    return receive
