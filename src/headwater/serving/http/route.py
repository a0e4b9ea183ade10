"""One route: its method, path, scope, and what reads and answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from headwater.online.predictor import Beside
from headwater.serving.http.auth import Scope
from headwater.serving.http.handlers import Ready, Said
from headwater.serving.service import Service

Read: TypeAlias = Callable[[Service, str, Any, int], Ready]


Answer: TypeAlias = Callable[[Service, str, Any, int, Ready, Beside | None], Said]


Take: TypeAlias = Callable[[Service, str, Any], Said]


Page: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """One route.

    method, path: the path has one `{name}` at most, at its end. scope: that a token needs; None answers everybody. summary: what it does.
    names: what may stand for `{name}`. read, answer: for the hot ones, how what was `asked` is read and answered. takes: of what is
    written, what becomes of it. page: for the others, of Starlette's request. forwards: for events, which another process takes.
    """

    method: Literal["GET", "POST"]
    path: str
    scope: Scope | None
    summary: str
    names: Callable[[Service], Iterable[str]] | None = None
    asked: Any = None
    read: Read | None = None
    answer: Answer | None = None
    page: Page | None = None
    takes: Take | None = None
    forwards: bool = False

    @property
    def parameter(self) -> str:
        """What the `{name}` of the path is, such as `service`; empty where it has none."""
        return self.path.partition("{")[2].removesuffix("}")

    @property
    def begin(self) -> str:
        """The path before the name."""
        return self.path.partition("{")[0]
