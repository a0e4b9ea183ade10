"""The handlers of each route, bound to it by a separate table: clients load `routes` without what
computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from headwater.online.feature_reader import OnlineFeatures
from headwater.online.predictor import ThirdPartyValues
from headwater.serving.http import admin_handlers, docs_page, handlers, ofrep
from headwater.serving.http.admin_handlers import Page
from headwater.serving.http.asgi import App
from headwater.serving.http.handlers import HandlerResult
from headwater.serving.http.project_handlers import PROJECT_PAGES
from headwater.serving.http.route import Route
from headwater.serving.http.row_decoder import ParsedRequest
from headwater.serving.service import Service

Read: TypeAlias = Callable[[Service, str, Any, int], ParsedRequest]
Answer: TypeAlias = Callable[[str, Any, int, ParsedRequest, ThirdPartyValues | None], HandlerResult]
Reader: TypeAlias = Callable[[str, Any, ParsedRequest], OnlineFeatures | None]
Take: TypeAlias = Callable[[Service, str, Any], HandlerResult]


class Handlers(NamedTuple):
    """What answers a route: `read` and `answer` its rows, `take` its body, `page` its query; or
    `app`, of Starlette.

    reader: what a request reads its row's features with; None where requests share no reads.
    """

    read: Read | None = None
    answer: Answer | None = None
    take: Take | None = None
    page: Page | None = None
    app: App | None = None
    reader: Reader | None = None


HANDLERS: Final[Mapping[str, Handlers]] = {
    "features": Handlers(
        read=handlers.read_features, answer=handlers.features, reader=handlers.features_reader
    ),
    "predict": Handlers(
        read=handlers.read_predict, answer=handlers.predict, reader=handlers.predict_reader
    ),
    "rank": Handlers(read=handlers.read_rank, answer=handlers.rank),
    "events": Handlers(),  # the ingestion process answers
    "outcomes": Handlers(take=handlers.outcomes),
    "exposures": Handlers(take=handlers.exposures),
    "experiments": Handlers(page=admin_handlers.experiments),
    "flag": Handlers(page=ofrep.flag),
    "flags": Handlers(page=ofrep.flags),
    "explain": Handlers(page=admin_handlers.explain),
    **{name: Handlers(page=page) for name, page in PROJECT_PAGES.items()},
    "healthz": Handlers(page=admin_handlers.healthz),
    "readyz": Handlers(page=admin_handlers.readyz),
    "metrics": Handlers(page=admin_handlers.metrics),
    "openapi": Handlers(page=admin_handlers.openapi),
    "docs": Handlers(app=docs_page.docs),
}
"""By the name of a route of the table `ROUTES`."""


def handlers_of(route: Route) -> Handlers:
    """The handlers of a route: its own page, or those of the table."""
    return HANDLERS[route.name] if route.page is None else Handlers(page=route.page)
