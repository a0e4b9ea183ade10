"""The clients of a service: one that blocks, and one for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.lazy_names import lazy_names

if TYPE_CHECKING:
    from headwater.serving.client.service_client import AsyncClient as AsyncClient
    from headwater.serving.client.service_client import Client as Client

_HOMES = {
    "headwater.serving.client.service_client": "AsyncClient Client",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
