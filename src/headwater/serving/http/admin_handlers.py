"""The routes that are asked for seldom: health, numbers, explanations, and the service's own description."""

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
    from headwater.serving.http.readiness_probe import Readiness
    from headwater.serving.http.route import Route
    from headwater.serving.service import Service

_EVENTS = 20  # shown of an explanation, unless it says how many
_MOST = 1000


class ServiceApp(Protocol):
    """What these routes read of the app that they belong to."""

    service: Service
    access: Access
    readiness: Readiness
    others: Callable[[], list[str]]
    metrics: Callable[[], Awaitable[bytes]]

    @property
    def routes(self) -> Sequence[Route]: ...

    def may_read(self, authorization: str | None) -> bool: ...


async def healthz(request: Request) -> Response:  # noqa: ARG001 (as Starlette calls it)
    """Whether the process answers at all."""
    return _json({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Whether this process can answer everything, as of a second ago at most; what it cannot is said to who may read."""
    app = _app(request)
    found = app.readiness.fresh()
    reasons = (await run_in_threadpool(app.readiness.reasons) if found is None else found) + app.others()
    said: dict[str, object] = {"status": "unready" if reasons else "ready"}
    if app.service.refused and app.may_read(request.headers.get("authorization")):
        said["warnings"] = [f"the version before goes on: {why}" for why in app.service.refused.values()]
    if reasons and app.may_read(request.headers.get("authorization")):
        said["reasons"] = reasons
    return _json(said, 503 if reasons else 200, {"retry-after": "5"} if reasons else {})


async def metrics(request: Request) -> Response:
    """The metrics of this process; of all processes of the service, where it is one of several."""
    return Response(await _app(request).metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def explain(request: Request) -> Response:
    """Why a feature has the value that it has: `?feature=view__feature&key=value...`, and `at=` and `events=`."""
    asked = dict(request.query_params)
    feature = asked.pop("feature", None)
    if feature is None:
        raise DataError("name a feature: /v1/explain?feature=user__count_1h&user=1")
    at, shown = asked.pop("at", None), asked.pop("events", str(_EVENTS))
    if not shown.isascii() or not shown.isdigit() or int(shown) > _MOST:
        raise DataError(f"events is {shown[:20]!r}; give a whole number up to {_MOST:,}")
    service = _app(request).service

    def work() -> dict[str, object]:
        keys = typed_keys(service.project, feature, asked)
        return service.explain(feature, keys, at=at).to_dict(int(shown))

    return _json(await run_in_threadpool(work))


async def openapi(request: Request) -> Response:
    """This service in OpenAPI 3.1."""
    from headwater.serving.http.openapi import document

    app = _app(request)
    return _json(await run_in_threadpool(document, app.service.lane(), app.routes, tokens=not app.access.open))


async def docs(request: Request) -> Response:  # noqa: ARG001 (as Starlette calls it)
    """A page that shows what /openapi.json says, and tries it; it needs nothing from elsewhere."""
    from headwater.serving.http.docs_page import PAGE, POLICY

    return HTMLResponse(PAGE, headers={"content-security-policy": POLICY})


def _app(request: Request) -> ServiceApp:
    return cast("ServiceApp", request.scope["headwater"])


def _json(said: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(said), status, headers, "application/json")
