"""The table of routes: what the service answers, whom, and how. The app, its documentation and the tests of access are made of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from headwater.definitions.streams import Pushed
from headwater.pipelines.predict import Beside
from headwater.serving import hot, pages
from headwater.serving.access import Scope
from headwater.serving.asked import Asked, AskedPrediction, AskedRanking, Rows
from headwater.serving.hot import Ready, Said
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
    Route("POST", "/v1/features/{service}", "read", "Features of one row or several", services, Asked, hot.read_features, hot.features),
    Route(
        "POST",
        "/v1/predict/{model}",
        "predict",
        "Predictions for one row or several",
        models,
        AskedPrediction,
        hot.read_prediction,
        hot.predict,
    ),
    Route("POST", "/v1/rank/{model}", "predict", "The best candidates of a request", rankings, AskedRanking, hot.read_ranking, hot.rank),
    Route("POST", "/v1/events/{source}", "write", "Events for the process that ingests", pushed, forwards=True),
    Route("POST", "/v1/outcomes/{labels}", "write", "What came of requests", labels, Rows, takes=hot.outcomes),
    Route("GET", "/v1/explain", "read", "Why a feature has the value that it has", page=pages.explain),
    Route("GET", "/healthz", None, "Whether the process answers", page=pages.healthz),
    Route("GET", "/readyz", None, "Whether everything can be answered", page=pages.readyz),
    Route("GET", "/metrics", "read", "Numbers for Prometheus", page=pages.metrics),
    Route("GET", "/openapi.json", "read", "This service, described in OpenAPI 3.1", page=pages.openapi),
    Route("GET", "/docs", None, "A page that shows and tries the routes", page=pages.docs),
)
