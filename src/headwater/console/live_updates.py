"""Server-sent events: which parts of the data have changed since the page was loaded. The page then
fetches those elements again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from headwater.console.console_context import ConsoleContext
from headwater.console.page_types import Part
from headwater.models.registry import EXPERIMENTS

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

MOST: Final = 64
"""Open connections for events; further ones are told to try again later."""

_EVERY: Final = 2.0  # seconds between two looks at the data
_BEAT: Final = 15.0  # seconds between two comments, which keep proxies from closing the connection


class EventsResponse(StreamingResponse):
    """A stream of events that no proxy buffers, and that ends where the server stops; the page
    connects again.
    """

    def __init__(self, events: AsyncIterator[bytes], headers: Mapping[str, str]) -> None:
        super().__init__(
            events, headers={**headers, "x-accel-buffering": "no"}, media_type="text/event-stream"
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        except asyncio.CancelledError:
            # by the server that stops: the response is closed, and nothing has failed
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class LiveUpdates:
    """Watches the data while a page is open, and sends the names of changed parts."""

    def __init__(self, context: ConsoleContext) -> None:
        self._context = context
        self._open = 0
        self._stamps: Mapping[Part, object] = {}
        self._looked = 0.0

    @property
    def full(self) -> bool:
        """Whether no further connection is accepted."""
        return self._open >= MOST

    async def events(self) -> AsyncIterator[bytes]:
        """The events of one connection: `data: ["runs"]` after each change."""
        self._open += 1
        try:
            yield b"retry: 5000\n\n"
            before, quiet = await self._look(), 0.0
            while True:
                await asyncio.sleep(_EVERY)
                now = await self._look()
                changed = [name for name, stamp in now.items() if before.get(name) != stamp]
                before, quiet = now, quiet + _EVERY
                if changed:
                    yield b"data: %b\n\n" % msgspec.json.encode(changed)
                    quiet = 0.0
                elif quiet >= _BEAT:
                    yield b":\n\n"
                    quiet = 0.0
        finally:
            self._open -= 1

    async def _look(self) -> Mapping[Part, object]:
        """The stamps of all parts; connections share a look."""
        now = asyncio.get_running_loop().time()
        if now - self._looked >= _EVERY / 2 or not self._stamps:
            self._looked = now
            self._stamps = await run_in_threadpool(stamps, self._context)
        return self._stamps


def stamps(context: ConsoleContext) -> Mapping[Part, object]:
    """By part of the data, a value that changes with it; a few looks at folders, no matter how full
    they are.

    store: the time of the last write of an LMDB store; of a store across the network, each ten
    seconds. summaries: those computed again.
    """
    models = context.registry.folder
    url = context.store_url
    local = (
        Path(url.partition(":")[2].partition("?")[0]) / "data.mdb"
        if url.startswith("lmdb:")
        else None
    )
    return {
        "runs": _modified(context.data_dir / "runs"),
        "models": [_modified(path) for path in _folders(models)],
        "experiments": [_modified(path) for path in sorted((models / EXPERIMENTS).glob("*/*/*"))],
        "store": context.now() // 10_000_000 if local is None else _modified(local),
        "logs": _modified(context.data_dir / "served"),
        "summaries": _modified(context.data_dir / "console"),
    }


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _folders(models: Path) -> list[Path]:
    """The folders of the models and of their levels: promoting a version replaces a file in the
    latter.
    """
    try:
        inside = [path for path in models.iterdir() if path.is_dir()]
        return [
            models,
            *inside,
            *(level for path in inside for level in path.iterdir() if level.is_dir()),
        ]
    except OSError:
        return []
