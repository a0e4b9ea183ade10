"""Handlers of the operational routes: health, metrics, explain, OpenAPI and docs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from headwater.errors import DataError
from headwater.monitoring.explain import typed_keys

if TYPE_CHECKING:
    from starlette.requests import Request

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

    @property
    def routes(self) -> Sequence[Route]: ...

    def may_read(self, authorization: str | None) -> bool: ...


async def healthz(request: Request) -> Response:  # noqa: ARG001 (as Starlette calls it)
    """Liveness of the process."""
    return _json({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Readiness of this process, at most a second old; clients that may read also get the reasons."""
    app = _app(request)
    cached = app.readiness.fresh()
    reasons = (await run_in_threadpool(app.readiness.reasons) if cached is None else cached) + app.others()
    body: dict[str, object] = {"status": "unready" if reasons else "ready"}
    if app.service.refused and app.may_read(request.headers.get("authorization")):
        body["warnings"] = [f"the previous version stays in use: {why}" for why in app.service.refused.values()]
    if reasons and app.may_read(request.headers.get("authorization")):
        body["reasons"] = reasons
    return _json(body, 503 if reasons else 200, {"retry-after": "5"} if reasons else {})


async def metrics(request: Request) -> Response:
    """The metrics of this process, or of all processes of the service where there are several."""
    return Response(await _app(request).metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def explain(request: Request) -> Response:
    """Explain a feature value: `?feature=view__feature&key=value...`, and `at=` and `events=`."""
    parameters = dict(request.query_params)
    feature = parameters.pop("feature", None)
    if feature is None:
        raise DataError("name a feature: /v1/explain?feature=user__count_1h&user=1")
    at, shown = parameters.pop("at", None), parameters.pop("events", str(_EVENTS))
    if not shown.isascii() or not shown.isdigit() or int(shown) > _MOST:
        raise DataError(f"events is {shown[:20]!r}; give an integer from 0 to {_MOST:,}")
    service = _app(request).service

    def work() -> dict[str, object]:
        keys = typed_keys(service.project, feature, parameters)
        return service.explain(feature, keys, at=at).to_dict(int(shown))

    return _json(await run_in_threadpool(work))


async def openapi(request: Request) -> Response:
    """The OpenAPI 3.1 document of this service."""
    from headwater.serving.http.openapi import document

    app = _app(request)
    return _json(await run_in_threadpool(document, app.service.lane(), app.routes, tokens=not app.access.open))


async def docs(request: Request) -> Response:  # noqa: ARG001 (as Starlette calls it)
    """A page that shows the routes of /openapi.json and sends requests; it loads no external resources."""
    from headwater.serving.http.docs_page import PAGE, POLICY

    return HTMLResponse(PAGE, headers={"content-security-policy": POLICY})


def _app(request: Request) -> ServiceApp:
    return cast("ServiceApp", request.scope["headwater"])


def _json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, "application/json")
