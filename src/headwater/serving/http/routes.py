"""The table of routes, from which the app, the OpenAPI document, the clients and the tests of
access are built.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final

from headwater.definitions.connectors import Pushed
from headwater.definitions.project import Project
from headwater.results.freshness_result import FreshnessResult
from headwater.results.lineage_result import Lineage
from headwater.results.project_result import (
    FeatureSummary,
    KeptRuns,
    ModelVersions,
    ParityOverview,
    PlannedChanges,
)
from headwater.results.served_result import ServedResult
from headwater.serving.http.asgi import OFREP
from headwater.serving.http.client_method import Argument, ClientMethod, options
from headwater.serving.http.request_schema import (
    FeaturesRequest,
    FlagRequest,
    PredictionRequest,
    RankingRequest,
    Rows,
)
from headwater.serving.http.response_schema import (
    Explained,
    Features,
    FlagEvaluation,
    Posted,
    Predictions,
    Ranked,
    RunningPlans,
    Taken,
    health,
)
from headwater.serving.http.route import Route


def services(project: Project) -> Iterable[str]:
    """The names of feature services."""
    return dict.fromkeys(model.features.name for model in project.models)


def models(project: Project) -> Iterable[str]:
    """The names of models."""
    return [model.name for model in project.models]


def rankings(project: Project) -> Iterable[str]:
    """The names of ranking models."""
    return [model.name for model in project.models if model.ranking is not None]


def labels(project: Project) -> Iterable[str]:
    """The names of labels."""
    return dict.fromkeys(model.labels.name for model in project.models)


def experiments(project: Project) -> Iterable[str]:
    """The names of experiments."""
    return [experiment.name for experiment in project.experiments]


def pushed(project: Project) -> Iterable[str]:
    """The names of sources with pushed events."""
    return [source.name for source in project.sources if isinstance(source.stream, Pushed)]


_ROWS: Final = Argument("rows", "Rows", "rows")
_REQUEST_ID: Final = Argument("request_id", "str | None", "header", None, wire="x-request-id")

ROUTES: Final = (
    Route(
        "features",
        "POST",
        "/v1/features/{service}",
        "read",
        "Features of one row or several",
        "rows",
        services,
        FeaturesRequest,
        Features,
        body="rows of a service",
        content="features",
        client=ClientMethod(
            "features",
            "The current features of one row or several; as `hw.operations.Service.features`.",
            (_ROWS, *options(FeaturesRequest, but=("compact",)), _REQUEST_ID),
            one_row=("rows", "features"),
        ),
    ),
    Route(
        "predict",
        "POST",
        "/v1/predict/{model}",
        "predict",
        "Predictions for one row or several",
        "rows",
        models,
        PredictionRequest,
        Predictions,
        body="rows of a model",
        content="predictions",
        client=ClientMethod(
            "predict",
            """The predictions for one row or several; as `hw.operations.Service.predict`.

            timing: return the milliseconds of each stage. request_id: the id of the request in the
            serving log and in `outcomes`.
            """,
            (_ROWS, *options(PredictionRequest, but=("arm",)), _REQUEST_ID),
            one_row=("predictions", "prediction"),
        ),
    ),
    Route(
        "rank",
        "POST",
        "/v1/rank/{model}",
        "predict",
        "The best candidates of a request",
        "rows",
        rankings,
        RankingRequest,
        Ranked,
        body="candidates",
        content="ranked items",
        client=ClientMethod(
            "rank",
            "The best candidates of one request, the best first; as `hw.operations.Service.rank`.",
            (
                Argument("row", "Mapping[str, object]", "field"),
                Argument("candidates", "Sequence[object] | None", "list", None),
                *options(RankingRequest, but=("arm",)),
                _REQUEST_ID,
            ),
        ),
    ),
    Route(
        "events",
        "POST",
        "/v1/events/{source}",
        "write",
        "Push events to the ingestion process",
        "ingestion",
        pushed,
        response=Taken,
        statuses=(200, 422),
        body="events",
        client=ClientMethod(
            "events",
            """Push one event or several, and wait until they are durable. If every event is
            refused, the result says so.

            Args:
                source: the name of a source whose stream is `hw.push(...)`.
                events: mappings; timestamps as datetimes or ISO 8601.
                key: the Idempotency-Key of the request; None makes one, so that events that this
                    client sends again count once.
            """,
            (
                Argument("events", "Rows", "body"),
                Argument(
                    "key",
                    "str | None",
                    "header",
                    None,
                    wire="idempotency-key",
                    otherwise=lambda: secrets.token_hex(16),
                ),
            ),
        ),
    ),
    Route(
        "outcomes",
        "POST",
        "/v1/outcomes/{labels}",
        "write",
        "Post outcomes of requests",
        "body",
        labels,
        Rows,
        Posted,
        statuses=(200, 422),
        body="objects",
        client=ClientMethod(
            "outcomes",
            "Post the outcomes of one request or several, and wait until they are durable; rows "
            "as for `hw.operations.Service.outcomes`.",
            (Argument("outcomes", "Rows", "body"),),
        ),
    ),
    Route(
        "exposures",
        "POST",
        "/v1/exposures/{experiment}",
        "write",
        "Report exposures of units",
        "body",
        experiments,
        Rows,
        Posted,
        statuses=(200, 422),
        body="objects",
        client=ClientMethod(
            "exposures",
            """Report that one unit or several were exposed to their arms of a running experiment,
            and wait until that is durable.

            Args:
                experiment: its name.
                exposures: mappings with `unit`, and `arm` where another system has assigned it;
                    maybe `at` (default now), `request_id`, `cluster`, `bucket`,
                    `propensity`, `override` and `source`.
            """,
            (Argument("exposures", "Rows", "body"),),
        ),
    ),
    Route(
        "experiments",
        "GET",
        "/v1/experiments",
        "read",
        "The running experiments, and how they assign units",
        response=RunningPlans,
        client=ClientMethod(
            "experiments",
            "The running experiments, with what another process needs to assign units alike.",
        ),
    ),
    Route(
        "flag",
        "POST",
        f"{OFREP}v1/evaluate/flags/{{key}}",
        "read",
        "The arm of a unit in one experiment, by OFREP",
        request=FlagRequest,
        response=FlagEvaluation,
        query="of a flag",
    ),
    Route(
        "flags",
        "POST",
        f"{OFREP}v1/evaluate/flags",
        "read",
        "The arms of a unit in all experiments, by OFREP",
        request=FlagRequest,
        statuses=(200, 304),
        content="flags",
        query="of all flags",
    ),
    Route(
        "explain",
        "GET",
        "/v1/explain",
        "read",
        "Explain a feature value",
        response=Explained,
        query="of a feature",
        client=ClientMethod(
            "explain",
            "Explain the value of a feature by its latest `events`; as `hw.operations.explain`.",
            (
                Argument("feature", "str", "parameter"),
                Argument("keys", "Mapping[str, object]", "parameters"),
                Argument("at", "datetime | str | None", "parameter", None),
                Argument("events", "int", "parameter", 20),
            ),
        ),
    ),
    Route(
        "status",
        "GET",
        "/v1/status",
        "read",
        "The age of each view against its promise, and what became of records",
        response=FreshnessResult,
        client=ClientMethod(
            "status", "The age of each view against its promise, and what became of records."
        ),
    ),
    Route(
        "lineage",
        "GET",
        "/v1/lineage",
        "read",
        "Sources, views, services, models and experiments, and what feeds what",
        response=Lineage,
        query="of a definition",
        client=ClientMethod(
            "lineage",
            "Sources, views, services, models and experiments, and what feeds what; all, or "
            "`around` one, such as `view user`.",
            (Argument("around", "str | None", "parameter", None),),
        ),
    ),
    Route(
        "feature",
        "GET",
        "/v1/feature",
        "read",
        "A feature: its definition, promise, readers and parity",
        response=FeatureSummary,
        query="of a feature's name",
        client=ClientMethod(
            "feature",
            "A feature: its definition, promise, readers and parity.",
            (Argument("feature", "str", "parameter"),),
        ),
    ),
    Route(
        "plan",
        "GET",
        "/v1/plan",
        "read",
        "Changes of the running project against its catalog",
        response=PlannedChanges,
        client=ClientMethod(
            "plan", "Changes of the running project against its catalog; nothing is applied."
        ),
    ),
    Route(
        "runs",
        "GET",
        "/v1/runs",
        "read",
        "Kept runs, the latest first",
        response=KeptRuns,
        query="of kept runs",
        client=ClientMethod(
            "runs",
            "Kept runs without their results, the latest first; as `hw.runs`.",
            (
                Argument("kind", "str | None", "parameter", None),
                Argument("subject", "str | None", "parameter", None),
            ),
        ),
    ),
    Route(
        "models",
        "GET",
        "/v1/models",
        "read",
        "Versions of fitted models",
        response=ModelVersions,
        client=ClientMethod(
            "models", "The versions of fitted models by model and level, the latest first."
        ),
    ),
    Route(
        "parity",
        "GET",
        "/v1/parity",
        "read",
        "The latest comparison of each view with training",
        response=ParityOverview,
        client=ClientMethod(
            "parity", "The latest kept comparison of each view with what training computes."
        ),
    ),
    Route(
        "served",
        "GET",
        "/v1/served",
        "read",
        "Requests, timing and fallbacks by day",
        response=ServedResult,
        query="of days",
        client=ClientMethod(
            "served",
            "Requests, timing and fallbacks of each model and feature service by day, from the "
            "serving log.",
            (Argument("days", "int", "parameter", 30),),
        ),
    ),
    Route("healthz", "GET", "/healthz", None, "Liveness of the process"),
    Route(
        "readyz",
        "GET",
        "/readyz",
        None,
        "Readiness of the service",
        statuses=(200, 503),
        client=ClientMethod("health", "The readiness of the service.", decode=health),
    ),
    Route("metrics", "GET", "/metrics", "read", "Metrics for Prometheus", media="text/plain"),
    Route("openapi", "GET", "/openapi.json", "read", "The OpenAPI 3.1 document of this service"),
    Route("docs", "GET", "/docs", None, "A page to try the routes", "starlette", media="text/html"),
)
