"""Handlers of the routes about the project: status, lineage, features, plan, runs, models, parity
and what was served. Each only reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from headwater import clock
from headwater.catalog.lineage import lineage
from headwater.errors import DataError, nearest
from headwater.models.registry import ModelRegistry
from headwater.monitoring.daily_statistics import uncovered
from headwater.monitoring.project_state import (
    feature_summary,
    kept_runs_rows,
    latest_parity,
    model_versions,
    planned_changes,
)
from headwater.monitoring.served_statistics import DAYS, served_days
from headwater.monitoring.view_freshness import freshness
from headwater.results.result import Result
from headwater.results.served_result import ServedResult
from headwater.serving.http.admin_handlers import Page, PageRequest, PageResponse
from headwater.serving.service import Service

Parameters = Mapping[str, str]
_MOST_DAYS: Final = 400


def _page(compute: Callable[[Service, Parameters], Result], *parameters: str) -> Page:
    """A handler that computes a result in a thread, of a query with these parameters."""

    async def page(request: PageRequest) -> PageResponse:
        for name in request.query:
            if name not in parameters:
                raise DataError(
                    f"unknown parameter {name[:100]!r}; "
                    f"{nearest(name[:100], parameters) if parameters else 'this route has none'}"
                )
        result = await asyncio.to_thread(compute, request.app.service, request.query)
        return PageResponse(msgspec.json.encode(result.to_dict()))

    return page


def _served(service: Service, query: Parameters) -> ServedResult:
    days = query.get("days", str(DAYS))
    if not days.isascii() or not days.isdigit() or not 1 <= int(days) <= _MOST_DAYS:
        raise DataError(f"days is {days[:20]!r}; give an integer from 1 to {_MOST_DAYS}")
    return ServedResult(served_days(service.data_dir, days=int(days)), uncovered(service.data_dir))


def _feature(service: Service, query: Parameters) -> Result:
    if "feature" not in query:
        raise DataError("name a feature: /v1/feature?feature=user__count_1h")
    return feature_summary(service.project, query["feature"], service.data_dir)


def _lineage(service: Service, query: Parameters) -> Result:
    whole = lineage(service.project)
    return whole.around(query["around"]) if "around" in query else whole


PROJECT_PAGES: Final[Mapping[str, Page]] = {
    "status": _page(
        lambda service, _: freshness(
            service.project, service.store, service.data_dir, clock.now_micros()
        )
    ),
    "lineage": _page(_lineage, "around"),
    "feature": _page(_feature, "feature"),
    "plan": _page(lambda service, _: planned_changes(service.project, None, service.models_folder)),
    "runs": _page(
        lambda service, query: kept_runs_rows(
            service.data_dir, kind=query.get("kind"), subject=query.get("subject")
        ),
        "kind",
        "subject",
    ),
    "models": _page(
        lambda service, _: model_versions(service.project, ModelRegistry(service.models_folder))
    ),
    "parity": _page(lambda service, _: latest_parity(service.project, service.data_dir)),
    "served": _page(_served, "days"),
}
"""By the name of a route."""
