"""Handlers of the operational routes: health, metrics, explain and OpenAPI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from headwater import clock
from headwater.errors import DataError
from headwater.monitoring.explain import typed_keys

if TYPE_CHECKING:
    from headwater.serving.http.auth import Access
    from headwater.serving.http.readiness_probe import ReadinessProbe
    from headwater.serving.http.route import Route
    from headwater.serving.service import Service

_EVENTS = 20  # shown of an explanation by default
_MOST = 1000


class ServiceApp(Protocol):
    """Interface of the app that these handlers use."""

    service: Service
    access: Access
    readiness: ReadinessProbe
    others: Callable[[], list[str]]
    metrics: Callable[[], Awaitable[bytes]]
    now: Callable[[], int]

    @property
    def routes(self) -> Sequence[Route]: ...

    def may_read(self, authorization: bytes | None) -> bool: ...


class PageRequest(NamedTuple):
    """A request for a page: the app, the parameters of the query (of several of one name the last),
    the headers by lower-case name, the name in the path, and the decoded body of a POST.
    """

    app: ServiceApp
    query: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    name: str = ""
    body: Any = None

    @property
    def may_read(self) -> bool:
        """Whether the sender may see details such as reasons."""
        return self.app.may_read(self.headers.get(b"authorization"))


class PageResponse(NamedTuple):
    """The response of a page."""

    body: bytes
    status: int = 200
    headers: Sequence[tuple[bytes, bytes]] = ()
    media: bytes = b"application/json"


Page = Callable[[PageRequest], Awaitable[PageResponse]]


async def healthz(request: PageRequest) -> PageResponse:  # noqa: ARG001 (as `Page`)
    """Liveness of the process."""
    return _json({"status": "ok"})


async def readyz(request: PageRequest) -> PageResponse:
    """Readiness of this process, at most a second old; clients that may read also get the
    reasons.
    """
    app = request.app
    cached = app.readiness.fresh()
    reasons = (
        await asyncio.to_thread(app.readiness.reasons) if cached is None else cached
    ) + app.others()
    body: dict[str, object] = {"status": "unready" if reasons else "ready"}
    warnings = [f"the previous version stays in use: {why}" for why in app.service.refused.values()]
    warnings += app.service.experiments.warnings
    if warnings and request.may_read:
        body["warnings"] = warnings
    if reasons and request.may_read:
        body["reasons"] = reasons
    return _json(body, 503 if reasons else 200, ((b"retry-after", b"5"),) if reasons else ())


async def experiments(request: PageRequest) -> PageResponse:
    """The running experiments."""
    return _json({"experiments": request.app.service.experiments.plans(clock.now_micros())})


async def metrics(request: PageRequest) -> PageResponse:
    """The metrics of this process, or of all processes of the service where there are several."""
    return PageResponse(
        await request.app.metrics(), media=b"text/plain; version=0.0.4; charset=utf-8"
    )


async def explain(request: PageRequest) -> PageResponse:
    """Explain a feature value: `?feature=view__feature&key=value...`, and `at=` and `events=`."""
    parameters = dict(request.query)
    feature = parameters.pop("feature", None)
    if feature is None:
        raise DataError("name a feature: /v1/explain?feature=user__count_1h&user=1")
    at, shown = parameters.pop("at", None), parameters.pop("events", str(_EVENTS))
    if not shown.isascii() or not shown.isdigit() or int(shown) > _MOST:
        raise DataError(f"events is {shown[:20]!r}; give an integer from 0 to {_MOST:,}")
    service = request.app.service

    def work() -> dict[str, object]:
        keys = typed_keys(service.project, feature, parameters)
        return service.explain(feature, keys, at=at).first(int(shown)).to_dict()

    return _json(await asyncio.to_thread(work))


async def openapi(request: PageRequest) -> PageResponse:
    """The OpenAPI 3.1 document of this service."""
    from headwater.serving.http.openapi import document

    app = request.app
    return _json(
        await asyncio.to_thread(
            document, app.service.lane(), app.routes, tokens=not app.access.open
        )
    )


def _json(
    body: object, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()
) -> PageResponse:
    return PageResponse(msgspec.json.encode(body), status, headers)
