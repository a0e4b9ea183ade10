"""The OpenAPI 3.1 document: a path for each feature service and model. Its schemas are those of the
structs that decode and encode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from headwater.definitions.feature_service import FeatureService
from headwater.definitions.project import request_times
from headwater.errors import HeadwaterError
from headwater.events.columns import STATUSES
from headwater.online.row_schema import MOST_ROWS, RowSchema, fields_of
from headwater.serving.endpoints import ranking_schemas
from headwater.serving.http.asgi import OFREP
from headwater.serving.http.request_schema import Row
from headwater.serving.http.response_schema import (
    FeatureColumn,
    Features,
    FeatureValue,
    FlagEvaluation,
    FlagFailure,
    Prediction,
    RankedItem,
    ViewVersion,
    changed,
    one_of,
)
from headwater.serving.http.route import Body, Content, Query, Route
from headwater.serving.http.row_decoder import document_type
from headwater.serving.service import Service
from headwater.version import __version__

Schema = dict[str, Any]

_TEMPLATE: Final = "#/components/schemas/{name}"
_TIMESTAMP: Final[Schema] = {"type": "string", "format": "date-time"}
_ERRORS: Final[Mapping[str, str]] = {
    "400": "The body is not JSON, or nested too deep",
    "401": "No token, or an unknown one",
    "403": "The token lacks the scope, or the request is from a web page of another site",
    "404": "Unknown name",
    "405": "Method not allowed",
    "408": "The body arrived too slowly",
    "413": "The body is too large",
    "415": "The body has a content encoding",
    "422": "A field is missing, unknown, or of another type; the message suggests the nearest name",
    "503": "The online store cannot be read, or lacks a view; retry after `Retry-After` seconds",
}


class Error(msgspec.Struct, omit_defaults=True):
    """Why a request was refused."""

    error: str
    request_id: str
    kind: str | None = None


def document(service: Service, routes: Sequence[Route], *, tokens: bool) -> Schema:
    """The document at /openapi.json. tokens: whether requests need a token."""
    described = _Described(service)
    paths: dict[str, dict[str, object]] = {}
    for route in routes:
        for name in [""] if route.names is None else route.names(service.project):
            path = route.path if route.names is None else route.begin + name
            paths.setdefault(path, {})[route.method.lower()] = _operation(
                described, route, name, tokens=tokens
            )
    components: Schema = {"schemas": described.components}
    if tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    info = {"title": f"headwater: {service.project.name}", "version": __version__}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": components}


def _operation(described: _Described, route: Route, name: str, *, tokens: bool) -> Schema:
    ofrep = route.path.startswith(OFREP)
    error = _json(described.schema(FlagFailure if ofrep else Error))
    errors: dict[str, Schema] = {
        code: {"description": description, "content": error}
        for code, description in _ERRORS.items()
        if code[0] == "4"
    }
    response = described.response(route, name)
    parameters = PARAMETERS[route.query](described)
    operation: Schema = {
        "operationId": f"{route.method.lower()}{route.begin}{name}".replace("/", "_").replace(
            ".", "_"
        ),
        "summary": route.summary + (f": {name}" if name else ""),
        "responses": {
            "200": {"description": route.summary, "content": response},
            **errors,
            "503": {"description": _ERRORS["503"], "content": _json({})},
        },
    }
    if ofrep:
        operation["responses"] = {
            "200": operation["responses"]["200"],
            **{code: errors[code] for code in ("400", "401", "403", "404", "408", "413", "415")},
            "405": {**errors["405"], "content": _json(described.schema(Error))},
            "429": {"description": "Too many requests are in progress", "content": error},
            "500": {"description": "An internal error", "content": error},
        }
    if 304 in route.statuses:
        operation["responses"]["304"] = {"description": "The answer has the ETag that was sent"}
    if 422 in route.statuses:  # it may also list a reason for each row
        errors["422"]["content"] = _json(
            {"anyOf": [described.schema(Error), described.schema(route.response)]}
        )
    if tokens and route.scope is not None:
        operation["security"] = [{"token": []}]
        operation["description"] = f"Needs a token with the scope `{route.scope}`."
    bodies = described.request(route, name)
    if bodies is not None:
        operation["requestBody"] = {"required": True, "content": bodies}
    if parameters:
        operation["parameters"] = parameters
    return operation


class _Described:
    """Schemas of one project; structs become `components`."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.components: Schema = {}
        self._levels: Schema = {"enum": [None, *service.project.levels], "default": None}

    def schema(self, kind: Any) -> Schema:  # noqa: ANN401 (a type)
        """The schema of a type."""
        (schema,), components = msgspec.json.schema_components(
            [kind], ref_template=_TEMPLATE, schema_hook=lambda _: {"description": "any value"}
        )
        for component in components.values():
            properties = component.get("properties", {})
            if "status" in properties:
                properties["status"] = {"enum": list(STATUSES)}
            if "statuses" in properties and "T" in properties:
                properties["statuses"] = {"type": "array", "items": {"enum": list(STATUSES)}}
            if "level" in properties and component.get("additionalProperties") is False:
                properties["level"] = self._levels
        self.components |= components
        return schema

    def request(self, route: Route, name: str) -> Schema | None:
        """The request bodies of a route; None where it has none."""
        return BODIES[route.body](self, route, name)

    def response(self, route: Route, name: str) -> Schema:
        """The bodies of a route's response with status 200."""
        if route.media != "application/json":
            return {route.media: {"schema": {"type": "string"}}}
        return _json(CONTENTS[route.content](self, route, name))

    def rows_of(self, route: Route, features: FeatureService) -> Schema:
        """One row, several, or columns, with the fields of a feature service."""
        self.schema(kind := document_type(route.request, self._schema(features)))
        return _json(self._forms(kind.__name__))

    def candidates(self, route: Route, name: str) -> Schema:
        """The row that candidates share, and the candidates."""
        model = self.service.project.model(name)
        assert model.ranking is not None
        retrieval_fields = (
            {} if model.ranking.retrieval is None else self._schema(model.ranking.retrieval).fields
        )
        schemas = ranking_schemas(self._schema(model.features), retrieval_fields, model.ranking)
        return _json(self.schema(document_type(route.request, *schemas)))

    def objects(self, route: Route, name: str) -> Schema:  # noqa: ARG002 (as the other bodies)
        """One object or several."""
        row = self.schema(Row)
        return _json(
            {"oneOf": [row, {"type": "array", "items": row, "minItems": 1, "maxItems": MOST_ROWS}]}
        )

    def features(self, name: str) -> Schema:
        """The forms of a response with features."""
        return {
            "oneOf": [
                self.schema(kind) for kind in _feature_forms(self.service.services[name].features)
            ]
        }

    def scored(
        self, route: Route, name: str, item: type[msgspec.Struct], several: str, single: str = ""
    ) -> Schema:
        """A response with a list of scored items, and `single`: the field that has a single item
        instead.
        """
        features = _by_name(self.service.project.model(name).features, FeatureValue)
        scored_item = changed(item, f"{item.__name__}_{name}", features=(features | None, None))
        whole: Any = list[scored_item]  # type: ignore[valid-type]
        forms = [
            self.schema(
                one_of(route.response, f"{route.response.__name__}_{name}", several, several, whole)
            )
        ]
        if single:
            forms.append(
                self.schema(
                    one_of(
                        route.response, f"{item.__name__}_of_{name}", several, single, scored_item
                    )
                )
            )
        return {"oneOf": forms}

    def flags(self, route: Route, name: str) -> Schema:  # noqa: ARG002 (as the other contents)
        """All flags, each evaluated or not."""
        each = {"anyOf": [self.schema(FlagEvaluation), self.schema(FlagFailure)]}
        return {
            "type": "object",
            "properties": {"flags": {"type": "array", "items": each}},
            "required": ["flags"],
        }

    def explained(self) -> list[Schema]:
        """The query parameters of `GET /v1/explain`."""
        views = {view.root.name: view.root for view in self.service.project.all_views}
        features = [name for view in views.values() for name in view.feature_names]
        keys = dict.fromkeys(key for view in views.values() for key in view.keys)
        parameters: list[Schema] = [
            _parameter("feature", {"enum": features}, "full name of the feature", required=True),
            _parameter("at", _TIMESTAMP, "request time; default: now"),
            _parameter(
                "events",
                {"type": "integer", "minimum": 0, "maximum": 1000, "default": 20},
                "number of events to return",
            ),
        ]
        return parameters + [
            _parameter(key, {"type": "string"}, "a key of the feature's view") for key in keys
        ]

    def _schema(self, service: FeatureService) -> RowSchema:
        """The rows of a service; while its views are not in the store, their keys have any type."""
        try:
            if service.name in self.service.services:
                return self.service.endpoints.features(service.name, None).rows.schema
        except HeadwaterError:
            pass
        return RowSchema(
            service.name,
            fields_of(service, {}),
            request_times=request_times(self.service.project, service.name),
        )

    def _forms(self, component: str) -> Schema:
        """One row, several, or columns: a request has one of them."""
        whole = self.components.pop(component)
        for form in (forms := ("row", "rows", "columns")):
            properties = {
                name: schema
                for name, schema in whole["properties"].items()
                if name == form or name not in forms
            }
            self.components[f"{component}_{form}"] = {
                **whole,
                "properties": properties,
                "required": [form],
            }
        return {"oneOf": [{"$ref": _TEMPLATE.format(name=f"{component}_{form}")} for form in forms]}


def _events(described: _Described, route: Route, name: str) -> Schema:  # noqa: ARG001 (as the other bodies)
    event: Schema = {"type": "object"}
    lines = {"schema": {"type": "string", "description": "an object a line"}}
    return {
        **_json({"oneOf": [event, {"type": "array", "items": event, "minItems": 1}]}),
        "application/x-ndjson": lines,
    }


BODIES: Final[Mapping[Body, Callable[[_Described, Route, str], Schema | None]]] = {
    "as the struct": lambda described, route, name: (  # noqa: ARG005
        None if route.request is None else _json(described.schema(route.request))
    ),
    "rows of a service": lambda described, route, name: described.rows_of(
        route, described.service.services[name].features
    ),
    "rows of a model": lambda described, route, name: described.rows_of(
        route, described.service.project.model(name).features
    ),
    "candidates": _Described.candidates,
    "events": _events,
    "objects": _Described.objects,
}
CONTENTS: Final[Mapping[Content, Callable[[_Described, Route, str], Schema]]] = {
    "as the struct": lambda described, route, name: (  # noqa: ARG005
        {"type": "object"} if route.response is None else described.schema(route.response)
    ),
    "features": lambda described, route, name: described.features(name),  # noqa: ARG005
    "predictions": lambda described, route, name: described.scored(
        route, name, Prediction, "predictions", "prediction"
    ),
    "ranked items": lambda described, route, name: described.scored(
        route, name, RankedItem, "items"
    ),
    "flags": _Described.flags,
}
PARAMETERS: Final[Mapping[Query, Callable[[_Described], list[Schema]]]] = {
    "none": lambda described: [],  # noqa: ARG005
    "of a feature": _Described.explained,
    "of a feature's name": lambda described: [  # noqa: ARG005
        _parameter("feature", {"type": "string"}, "full name of the feature", required=True)
    ],
    "of a definition": lambda described: [  # noqa: ARG005
        _parameter(
            "around",
            {"type": "string"},
            "only what feeds this definition, and what it feeds, such as `view user`",
        )
    ],
    "of kept runs": lambda described: [  # noqa: ARG005
        _parameter("kind", {"type": "string"}, "such as backtest"),
        _parameter("subject", {"type": "string"}, "model, view or experiment"),
    ],
    "of a flag": lambda described: [  # noqa: ARG005
        _parameter("key", {"type": "string"}, "name of the experiment", "path", required=True)
    ],
    "of all flags": lambda described: [  # noqa: ARG005
        _parameter("if-none-match", {"type": "string"}, "ETag of an earlier answer", "header")
    ],
    "of days": lambda described: [  # noqa: ARG005
        _parameter(
            "days",
            {"type": "integer", "minimum": 1, "maximum": 400, "default": 30},
            "number of days, today included",
        )
    ],
}


def _feature_forms(service: FeatureService) -> list[type[msgspec.Struct]]:
    """The forms of a response with features: one row, rows, columns, compact."""
    row, name = _by_name(service, FeatureValue), service.name
    views: Any = dict[str, ViewVersion]  # type: ignore[valid-type]
    compact = changed(
        Features,
        f"Features_{name}_compact",
        ("rows",),
        at=(int, ...),
        names=(list[str], ...),
        statuses=(list[Any], ...),
        views=(views, ...),
        values=(list[Any], ...),
    )
    return [
        one_of(Features, f"Features_{name}_row", "rows", "features", row),
        one_of(Features, f"Features_{name}_rows", "rows", "rows", list[row]),  # type: ignore[valid-type]
        one_of(
            Features,
            f"Features_{name}_columns",
            "rows",
            "features",
            _by_name(service, FeatureColumn),
        ),
        compact,
    ]


def _by_name(service: FeatureService, kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """An object of the service's features."""
    names = {f"f{n}": name for n, name in enumerate(service.feature_names)}
    return msgspec.defstruct(
        f"{kind.__name__}_of_{service.name}",
        [(attribute, kind) for attribute in names],
        rename=names,
    )


def _parameter(
    name: str, schema: Schema, description: str, place: str = "query", *, required: bool = False
) -> Schema:
    return {
        "name": name,
        "in": place,
        "required": required,
        "schema": schema,
        "description": description,
    }


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}
