"""`POST /v1/events/{source}` in the ingestion process: the response is sent after the commit of the
events is durable.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import msgspec
import numpy as np

from headwater.errors import UsageError, nearest
from headwater.ingestion.change_state import ACCEPTED, DUPLICATE, FILTERED, HELD, REFUSED
from headwater.ingestion.ingest import Receive
from headwater.ingestion.sources.http_inbox import Inbox, Settled
from headwater.serving.http.asgi import JSON, Read, Refused, RequestIds, Scope, Send
from headwater.serving.http.auth import Access, Denied, is_loopback
from headwater.serving.http.body import BodyBudget, BodyTimeouts, read_body
from headwater.serving.http.error_responses import CLIENT_GONE, AsgiResponse, error_response
from headwater.serving.process.uvicorn_server import serving

ROUTE: Final = "/v1/events/"
SECRET: Final = b"x-headwater-secret"
_SECRET_BYTES: Final = 32
_LOG: Final = logging.getLogger(__name__)
_KEY: Final = 255  # characters of an Idempotency-Key
_SPACE: Final = b" \t\r\n"


class Receiver:
    """An ASGI handler that puts events into the inboxes of their sources.

    A request is admitted with the secret in the online store, which forwarding processes send; else
    by a token with the scope `write`; or, without tokens, from this machine, except from a web page
    of another site.

    Args:
        inboxes: by the name of their source.
        secret: of forwarding processes.
        access: checks requests without the secret; None refuses them all.
    """

    def __init__(self, inboxes: Mapping[str, Inbox], secret: bytes, access: Access | None) -> None:
        self._inboxes, self._secret, self._access = inboxes, secret, access
        self._reading, self._bodies = BodyTimeouts(), BodyBudget()
        self._ids = RequestIds()

    async def __call__(self, scope: Scope, read: Read, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        number, data = self._ids.request_id(headers), b""
        try:
            self._admit(headers)
            source = source_of(scope)
            inbox, key = self._inbox(source), _key(headers)
            data = await read_body(read, headers, self._reading, self._bodies)
            status, body = await _taken(inbox, key, data)
            response_headers = [
                (b"content-type", JSON),
                (b"content-length", b"%d" % len(body)),
                (b"x-request-id", number),
            ]
            answer = AsgiResponse(status, response_headers, body, "")
        except Exception as error:  # noqa: BLE001 (every error becomes a response)
            answer = error_response(error, number)
            if answer.failed:
                _LOG.error("request %s failed: %s", number.decode(), answer.failed)
        finally:
            self._bodies.give(len(data))
        if answer.status != CLIENT_GONE:
            await send(
                {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
            )
            await send({"type": "http.response.body", "body": answer.body})

    def _admit(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse a request whose sender may not push events.

        Raises:
            Denied: 401, 403 or 415.
        """
        secret = headers.get(SECRET)
        if secret is not None:
            if not hmac.compare_digest(secret, self._secret):
                raise Denied(
                    401, f"the header {SECRET.decode()} does not have the secret of this process"
                )
        elif self._access is None:
            raise Denied(
                401,
                "without tokens, events are pushed through `headwater serve`; create a token to "
                "push them here",
            )
        elif self._access.open:
            self._access.check_page(headers, writes=True)
        else:
            self._access.check(self._access.scopes(headers.get(b"authorization")), "write")

    def _inbox(self, name: str) -> Inbox:
        if name not in self._inboxes:
            raise Refused(
                404,
                f"no source {name[:100]!r} receives pushed events here; "
                f"{nearest(name, self._inboxes)}",
            )
        return self._inboxes[name]


def _key(headers: Mapping[bytes, bytes]) -> str | None:
    """The request's Idempotency-Key.

    Raises:
        Refused: it is too long, or not ASCII.
    """
    key = headers.get(b"idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= _KEY:
        raise Refused(400, f"the Idempotency-Key has {len(key)} characters; give 1 to {_KEY}")
    if not key.isascii():
        raise Refused(400, "the header Idempotency-Key holds a byte that is not printable ASCII")
    return key.decode("ascii")


async def _taken(inbox: Inbox, key: str | None, data: bytes) -> tuple[int, bytes]:
    """Commit events; the status and body of the response."""
    payloads = split(data)
    if len(payloads) > inbox.most:
        raise Refused(413, f"{len(payloads):,} events in one request; send at most {inbox.most:,}")
    try:
        settled = await asyncio.wrap_future(inbox.put(payloads, key))
    except UsageError as error:
        raise Refused(400, str(error)) from error
    return (422 if len(settled.reasons) == len(payloads) else 200), msgspec.json.encode(
        event_outcomes(settled)
    )


def source_of(scope: Scope) -> str:
    """The name of the source in the path of a request.

    Raises:
        Refused: 404, another path; 405, another method.
    """
    path = scope["path"]
    if not path.startswith(ROUTE) or "/" in path[len(ROUTE) :]:
        raise Refused(404, f"unknown path {path[:100]}; push events to {ROUTE}SOURCE")
    if scope["method"] != "POST":
        raise Refused(
            405, f"{scope['method']} not allowed on {ROUTE}SOURCE; allowed: POST", allow="POST"
        )
    return unquote(path[len(ROUTE) :])


def split(data: bytes) -> list[bytes]:
    r"""The events of a body: a JSON object, an array of objects, or an object a line.

    Raises:
        Refused: 400, the body has no event, or is not JSON.

    >>> split(b'{"a": 1}'), split(b'[{"a": 1}, {"a": 2}]'), split(b'{"a": 1}\n\n{"a": 2}\n')
    ([b'{"a": 1}'], [b'{"a": 1}', b'{"a": 2}'], [b'{"a": 1}', b'{"a": 2}'])
    """
    data = data.strip(_SPACE)
    try:
        if data.startswith(b"["):
            events = [bytes(raw) for raw in msgspec.json.decode(data, type=list[msgspec.Raw])]
        else:
            events = [line for line in re.split(rb"[\r\n]+", data) if line.strip(_SPACE)]
            if len(events) > 1 and _whole(data):  # one object over several lines
                events = [data]
            elif len(events) == 1:
                msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(
            400,
            f"the body is not JSON: {error}; send an object, an array of objects, or an object a "
            "line",
        ) from error
    if not events:
        raise Refused(
            400, "the body has no event; send an object, an array of objects, or an object a line"
        )
    return events


def event_outcomes(settled: Settled) -> dict[str, object]:
    """The outcomes of a request's events, as the body of the response."""
    count = np.bincount(settled.record_outcomes, minlength=REFUSED + 1).tolist()
    refused: Sequence[Mapping[str, object]] = [
        {"index": n, "reason": why} for n, why in sorted(settled.reasons.items())
    ]
    return {
        "accepted": count[ACCEPTED],
        "copies": count[DUPLICATE],
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


def receiver(host: str, port: int, tokens: Path | None = None) -> Receive:
    """A server for pushed events, for the parameter `receive` of `ingestion.ingest`.

    Args:
        host, port: the address to listen on.
        tokens: the file of tokens. None admits requests from this machine; on a network address,
            only those of forwarding processes.

    Raises:
        UsageError: the file has no token.
    """
    access = Access(tokens) if tokens is not None or is_loopback(host) else None

    @contextmanager
    def receive(inboxes: Mapping[str, Inbox]) -> Iterator[tuple[bytes, bytes]]:
        secret = secrets.token_urlsafe(_SECRET_BYTES).encode()
        with serving(Receiver(inboxes, secret, access), host, port) as address:
            yield address.encode(), secret

    return receive
