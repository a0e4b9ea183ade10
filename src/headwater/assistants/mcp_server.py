"""A read-only MCP server over a project. The extra [mcp] is imported here, when the server starts."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from headwater.assistants.project_reader import ProjectReader
from headwater.errors import HeadwaterError, MissingExtraError
from headwater.serving.http.auth import Access, Denied

_INSTRUCTIONS: Final = (
    "headwater computes features for machine learning at a declared freshness. These tools read one project: its features and how old their "
    "values are, why a value is what it is, and results that were kept. Nothing can be changed."
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def mcp_server(reader: ProjectReader) -> Any:  # noqa: ANN401 (the type is the extra's)
    """The server, with a tool for each method of the reader.

    Raises:
        MissingExtraError: mcp is not installed.
    """
    try:
        from mcp.server.fastmcp import FastMCP
        from mcp.server.fastmcp.exceptions import ToolError
        from mcp.types import ToolAnnotations
    except ImportError as error:
        raise MissingExtraError(str(error.name), "mcp") from error
    server = FastMCP("headwater", instructions=_INSTRUCTIONS, stateless_http=True, log_level="WARNING")

    def tool(method: Callable[..., dict[str, object]]) -> None:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> dict[str, object]:  # noqa: ANN401 (as the method)
            try:
                return method(*args, **kwargs)
            except HeadwaterError as error:
                raise ToolError(str(error)) from error

        server.add_tool(call, annotations=ToolAnnotations(readOnlyHint=True, destructiveHint=False, openWorldHint=False))

    for method in (reader.features, reader.status, reader.explain, reader.runs, reader.run, reader.recommendation):
        tool(method)
    return server


def http_app(server: Any, access: Access) -> AsgiApp:  # noqa: ANN401 (the type is the extra's)
    """The server over HTTP at /mcp: each request needs a token with the scope `read`, as those of `headwater serve` do."""
    app: AsgiApp = server.streamable_http_app()

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                access.allow(dict(scope["headers"]), "read")
            except Denied as refused:
                body = str(refused).encode()
                headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
                await send({"type": "http.response.start", "status": refused.status, "headers": headers})
                await send({"type": "http.response.body", "body": body})
                return
        await app(scope, receive, send)

    return guarded


def run_http(server: Any, access: Access, host: str, port: int) -> None:  # noqa: ANN401 (the type is the extra's)
    """Serve over HTTP until stopped."""
    import uvicorn

    uvicorn.run(http_app(server, access), host=host, port=port, log_level="warning", access_log=False)
