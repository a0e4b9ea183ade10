"""The table of routes, from which the app, the OpenAPI document and the tests of access are built."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from headwater.definitions.streams import Pushed
from headwater.serving.http import admin_handlers, handlers
from headwater.serving.http.request_schema import FeaturesRequest, PredictionRequest, RankingRequest, Rows
from headwater.serving.http.route import Route
from headwater.serving.service import Service


def services(service: Service) -> Iterable[str]:
    """The names of feature services."""
    return service.services


def models(service: Service) -> Iterable[str]:
    """The names of models."""
    return [model.name for model in service.project.models]


def rankings(service: Service) -> Iterable[str]:
    """The names of ranking models."""
    return [model.name for model in service.project.models if model.ranking is not None]


def labels(service: Service) -> Iterable[str]:
    """The names of labels."""
    return dict.fromkeys(model.labels.name for model in service.project.models)


def pushed(service: Service) -> Iterable[str]:
    """The names of sources with pushed events."""
    return [source.name for source in service.project.sources if isinstance(source.stream, Pushed)]


ROUTES: Final = (
    Route(
        "POST",
        "/v1/features/{service}",
        "read",
        "Features of one row or several",
        services,
        FeaturesRequest,
        handlers.read_features,
        handlers.features,
    ),
    Route(
        "POST",
        "/v1/predict/{model}",
        "predict",
        "Predictions for one row or several",
        models,
        PredictionRequest,
        handlers.read_prediction,
        handlers.predict,
    ),
    Route(
        "POST",
        "/v1/rank/{model}",
        "predict",
        "The best candidates of a request",
        rankings,
        RankingRequest,
        handlers.read_ranking,
        handlers.rank,
    ),
    Route("POST", "/v1/events/{source}", "write", "Push events to the ingestion process", pushed, forwards=True),
    Route("POST", "/v1/outcomes/{labels}", "write", "Post outcomes of requests", labels, Rows, takes=handlers.outcomes),
    Route("GET", "/v1/explain", "read", "Explain a feature value", page=admin_handlers.explain),
    Route("GET", "/healthz", None, "Liveness of the process", page=admin_handlers.healthz),
    Route("GET", "/readyz", None, "Readiness of the service", page=admin_handlers.readyz),
    Route("GET", "/metrics", "read", "Metrics for Prometheus", page=admin_handlers.metrics),
    Route("GET", "/openapi.json", "read", "The OpenAPI 3.1 document of this service", page=admin_handlers.openapi),
    Route("GET", "/docs", None, "A page to try the routes", page=admin_handlers.docs),
)
