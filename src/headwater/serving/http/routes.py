"""The table of routes: what the service answers, whom, and how. The app, its documentation and the tests of access are made of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from headwater.definitions.streams import Pushed
from headwater.serving.http import admin_handlers, handlers
from headwater.serving.http.request_schema import Asked, AskedPrediction, AskedRanking, Rows
from headwater.serving.http.route import Route
from headwater.serving.service import Service


def services(service: Service) -> Iterable[str]:
    """The feature services that can be asked for."""
    return service.services


def models(service: Service) -> Iterable[str]:
    """The models that can be asked."""
    return [model.name for model in service.project.models]


def rankings(service: Service) -> Iterable[str]:
    """The models that put candidates in order."""
    return [model.name for model in service.project.models if model.ranking is not None]


def labels(service: Service) -> Iterable[str]:
    """The labels whose outcomes are posted."""
    return dict.fromkeys(model.labels.name for model in service.project.models)


def pushed(service: Service) -> Iterable[str]:
    """The sources whose events are pushed."""
    return [source.name for source in service.project.sources if isinstance(source.stream, Pushed)]


ROUTES: Final = (
    Route(
        "POST",
        "/v1/features/{service}",
        "read",
        "Features of one row or several",
        services,
        Asked,
        handlers.read_features,
        handlers.features,
    ),
    Route(
        "POST",
        "/v1/predict/{model}",
        "predict",
        "Predictions for one row or several",
        models,
        AskedPrediction,
        handlers.read_prediction,
        handlers.predict,
    ),
    Route(
        "POST",
        "/v1/rank/{model}",
        "predict",
        "The best candidates of a request",
        rankings,
        AskedRanking,
        handlers.read_ranking,
        handlers.rank,
    ),
    Route("POST", "/v1/events/{source}", "write", "Events for the process that ingests", pushed, forwards=True),
    Route("POST", "/v1/outcomes/{labels}", "write", "What came of requests", labels, Rows, takes=handlers.outcomes),
    Route("GET", "/v1/explain", "read", "Why a feature has the value that it has", page=admin_handlers.explain),
    Route("GET", "/healthz", None, "Whether the process answers", page=admin_handlers.healthz),
    Route("GET", "/readyz", None, "Whether everything can be answered", page=admin_handlers.readyz),
    Route("GET", "/metrics", "read", "Numbers for Prometheus", page=admin_handlers.metrics),
    Route("GET", "/openapi.json", "read", "This service, described in OpenAPI 3.1", page=admin_handlers.openapi),
    Route("GET", "/docs", None, "A page that shows and tries the routes", page=admin_handlers.docs),
)
