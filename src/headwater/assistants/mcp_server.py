"""A read-only MCP server over a project. The extra [mcp] is imported here, when the server
starts.
"""

from __future__ import annotations

import inspect
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any, Final

from headwater.assistants.project_reader import ProjectReader
from headwater.errors import HeadwaterError, MissingExtraError, nearest
from headwater.serving.http.auth import Access, Denied

_INSTRUCTIONS: Final = (
    "headwater computes features for machine learning at a declared freshness. These tools read "
    "one project: its features and how old their values are, why a value is what it is, and "
    "results that were kept. Nothing can be changed."
)

_LOG: Final = logging.getLogger(__name__)

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
        from pydantic import ValidationError
    except ImportError as error:
        raise MissingExtraError(str(error.name), "mcp") from error
    methods = (
        reader.features,
        reader.status,
        reader.explain,
        reader.runs,
        reader.run,
        reader.recommendation,
    )
    tools: Mapping[str, Callable[..., dict[str, object]]] = {
        method.__name__: method for method in methods
    }

    class Server(FastMCP):  # type: ignore[misc,unused-ignore]  # without the extra it has no type
        async def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401 (as the extra has it)
            """The result of a tool; its error is a sentence of headwater's, never a library's
            text.
            """
            if name not in tools:
                raise ToolError(f"no tool is named {name[:100]!r}; {nearest(name[:100], tools)}")
            try:
                return await super().call_tool(name, arguments)
            except ToolError as error:
                for cause in _causes(error):
                    if isinstance(cause, HeadwaterError):
                        raise ToolError(str(cause)) from error
                    if isinstance(cause, ValidationError):
                        wrong = ", ".join(
                            sorted(
                                {
                                    str(problem["loc"][0])
                                    for problem in cause.errors()
                                    if problem["loc"]
                                }
                            )
                        )
                        raise ToolError(
                            f"{name} takes {_parameters(tools[name])}; missing or of another "
                            f"type: {wrong}"
                        ) from error
                _LOG.exception("the tool %s failed", name)
                raise ToolError(
                    f"{name} failed with an unexpected error; the server's log has the reason"
                ) from error

    server = Server(
        "headwater", instructions=_INSTRUCTIONS, stateless_http=True, log_level="WARNING"
    )
    for method in tools.values():
        server.add_tool(
            method,
            annotations=ToolAnnotations(
                readOnlyHint=True, destructiveHint=False, openWorldHint=False
            ),
        )
    return server


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _parameters(method: Callable[..., object]) -> str:
    """The parameters of a tool.

    >>> _parameters(ProjectReader.explain)
    'feature, keys, at (optional)'
    """
    parameters = [
        parameter
        for parameter in inspect.signature(method).parameters.values()
        if parameter.name != "self"
    ]
    return ", ".join(
        f"{parameter.name}{'' if parameter.default is parameter.empty else ' (optional)'}"
        for parameter in parameters
    )


def http_app(server: Any, access: Access) -> AsgiApp:  # noqa: ANN401 (the type is the extra's)
    """The server over HTTP at /mcp: each request needs a token with the scope `read`, as those of
    `headwater serve` do.
    """
    app: AsgiApp = server.streamable_http_app()

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                access.allow(dict(scope["headers"]), "read")
            except Denied as refused:
                body = str(refused).encode()
                headers = [
                    (b"content-type", b"text/plain; charset=utf-8"),
                    (b"content-length", b"%d" % len(body)),
                ]
                await send(
                    {"type": "http.response.start", "status": refused.status, "headers": headers}
                )
                await send({"type": "http.response.body", "body": body})
                return
        await app(scope, receive, send)

    return guarded


def run_http(server: Any, access: Access, listener: socket.socket) -> None:  # noqa: ANN401 (the type is the extra's)
    """Serve over HTTP on a listening socket until stopped."""
    import uvicorn

    config = uvicorn.Config(http_app(server, access), log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])
