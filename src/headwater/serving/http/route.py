"""A route: its method, path, scope and handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from headwater.online.predictor import ThirdPartyValues
from headwater.serving.http.auth import Scope
from headwater.serving.http.handlers import HandlerResult, ParsedRequest
from headwater.serving.service import Service

Read: TypeAlias = Callable[[Service, str, Any, int], ParsedRequest]


Answer: TypeAlias = Callable[[Service, str, Any, int, ParsedRequest, ThirdPartyValues | None], HandlerResult]


Take: TypeAlias = Callable[[Service, str, Any], HandlerResult]


Page: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """A route.

    method, path: the path has at most one `{name}`, at its end. scope: required of a token; None needs no token. summary: for OpenAPI.
    names: the values of `{name}`. body: the type of the request body. read, answer: handlers of prediction routes. takes: handler of
    outcomes. page: handler of Starlette's request, for other routes. forwards: events, which the ingestion process receives.
    """

    method: Literal["GET", "POST"]
    path: str
    scope: Scope | None
    summary: str
    names: Callable[[Service], Iterable[str]] | None = None
    body: Any = None
    read: Read | None = None
    answer: Answer | None = None
    page: Page | None = None
    takes: Take | None = None
    forwards: bool = False

    @property
    def parameter(self) -> str:
        """The parameter in the path, such as `service`; empty where it has none."""
        return self.path.partition("{")[2].removesuffix("}")

    @property
    def begin(self) -> str:
        """The path before the name."""
        return self.path.partition("{")[0]
