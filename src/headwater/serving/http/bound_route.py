"""The routes of a service: each for each name that its path may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from headwater.journal.serving_log_rows import Kind
from headwater.serving.http.request_schema import parser
from headwater.serving.http.route import Route
from headwater.serving.http.route_handlers import Handlers, handlers_of
from headwater.serving.metrics.request_metrics import RequestMetrics, RouteMetrics
from headwater.serving.service import Service


class BoundRoute(NamedTuple):
    """A route for one name (service, model, source or labels), with its handlers and the decoder of
    its body.
    """

    route: Route
    name: str
    handlers: Handlers
    decode: Callable[[bytes], Any]
    numbers: RouteMetrics
    third_parties: bool
    remote: bool  # reads a store across the network
    kind: Kind
    any_name: bool = False  # its path goes on with any name

    @property
    def waits(self) -> bool:
        """Whether it calls third parties, or a store across the network."""
        return self.third_parties or self.remote


def bound_routes(
    service: Service, routes: tuple[Route, ...], numbers: RequestMetrics
) -> dict[tuple[str, str], BoundRoute]:
    """Routes by method and path; of a route with any name, the path before it."""
    with_third_parties = {
        name
        for model in service.project.models
        if model.features.http_features
        for name in (model.name, model.features.name)
    }
    routes_by_path: dict[tuple[str, str], BoundRoute] = {}
    for route in routes:
        decode, handlers = (
            parser(Any if route.request is None else route.request),
            handlers_of(route),
        )
        for name in [""] if route.names is None else route.names(service.project):
            routes_by_path[route.method, route.begin + name] = BoundRoute(
                route,
                name,
                handlers,
                decode,
                numbers.route(route.path),
                name in with_third_parties,
                service.store.capabilities.remote,
                cast("Kind", route.name if route.via == "rows" else "features"),
                bool(route.parameter) and route.names is None,
            )
    return routes_by_path
