"""What the span of a request is made of, besides the request itself; kept only while requests are
traced.
"""

from __future__ import annotations

from collections.abc import Mapping


class RequestTrace:
    """Of one request.

    method: of HTTP. parent: its header `traceparent`, "" where it has none. parsed: seconds until
    its body was decoded, or 0.
    ids: of trace and span, where calls of third parties carried them.
    """

    __slots__ = ("ids", "method", "parent", "parsed")

    def __init__(self, method: str, headers: Mapping[bytes, bytes]) -> None:
        self.method = method
        self.parent = headers.get(b"traceparent", b"").decode("latin-1")
        self.parsed = 0.0
        self.ids: tuple[int, int] | None = None
