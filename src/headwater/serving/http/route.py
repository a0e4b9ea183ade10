"""A route: its method, path, scope, request and response. Clients load this file, so it imports
nothing that computes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from headwater.definitions.project import Project
from headwater.serving.http.auth import Scope
from headwater.serving.http.client_method import Argument, ClientMethod

Via = Literal["rows", "body", "ingestion", "page", "starlette"]
"""How a request is answered: its rows are parsed, and answered with the values of third parties; a
function takes the body; the ingestion process answers; a function takes the query; or a page of
Starlette.
"""


Body = Literal[
    "as the struct", "rows of a service", "rows of a model", "candidates", "events", "objects"
]
"""What a request holds, for the OpenAPI document: its struct, if it has one; rows with the fields
of a feature service or of a model; candidates to rank; pushed events; or any object or objects.
"""
Content = Literal["as the struct", "features", "predictions", "ranked items", "flags"]
"""What a response holds, for the OpenAPI document: its struct, forms of it made of the names of
features, or a list of flags, each evaluated or not.
"""
Query = Literal[
    "none",
    "of a feature",
    "of a feature's name",
    "of a definition",
    "of kept runs",
    "of days",
    "of a flag",
    "of all flags",
]
"""The parameters, for the OpenAPI document: those that name a feature and its keys, a feature, a
definition of the lineage, runs by kind and subject, a number of days, the key of a flag, or the
ETag of all flags.
"""


@dataclass(frozen=True)
class Route:
    """A route: the app, the OpenAPI document and the clients are made of it.

    name: of its row in `route_handlers.HANDLERS`. method, path: at most one `{name}`, at the end of
    the path. scope: required of a token; None needs no token. summary: for OpenAPI. names: the
    values of `{name}`; None allows any. request, response: the structs of the bodies; None has
    none, or any object. statuses: those of a response. media: its type. body, content, query: how
    OpenAPI describes them. client: the method of the clients; None has none. page: its handler, of
    a route that is not in `ROUTES`.
    """

    name: str
    method: Literal["GET", "POST"]
    path: str
    scope: Scope | None
    summary: str
    via: Via = "page"
    names: Callable[[Project], Iterable[str]] | None = None
    request: Any = None
    response: Any = None
    statuses: tuple[int, ...] = (200,)
    media: str = "application/json"
    body: Body = "as the struct"
    content: Content = "as the struct"
    query: Query = "none"
    client: ClientMethod | None = None
    page: Callable[[Any], Awaitable[Any]] | None = None

    @property
    def parameter(self) -> str:
        """The parameter in the path, such as `service`; empty where it has none."""
        return self.path.partition("{")[2].removesuffix("}")

    @property
    def begin(self) -> str:
        """The path before the name."""
        return self.path.partition("{")[0]

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """The arguments of the clients' method."""
        of_path = (Argument(self.parameter, "str", "path"),) if self.parameter else ()
        return of_path if self.client is None else of_path + self.client.arguments
