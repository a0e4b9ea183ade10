"""The W3C trace context that calls of third parties carry
(https://www.w3.org/TR/trace-context/).
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

TRACEPARENT: Final[ContextVar[str | None]] = ContextVar("traceparent", default=None)
"""The header `traceparent` of calls that are started for the current request; None where requests
are not traced.
"""
