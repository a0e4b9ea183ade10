"""The OpenAPI 3.1 document: a path for each feature service and model, with schemas derived from the project's definitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import polars as pl

from headwater.definitions.feature_service import FeatureService
from headwater.errors import HeadwaterError
from headwater.events.statuses import STATUSES
from headwater.online.ranker import MOST_CANDIDATES
from headwater.serving.http.handlers import MOST_ROWS
from headwater.serving.http.route import Route
from headwater.serving.service import Service
from headwater.version import __version__

Schema = dict[str, object]

_MOMENT: Final[Schema] = {"type": "string", "format": "date-time"}
_MICROS: Final[Schema] = {"type": "integer", "description": "microseconds since 1970 UTC"}
_SCALAR: Final[Schema] = {"type": ["string", "number", "boolean", "null"]}
_TYPES: Final[Mapping[type, Schema]] = {
    float: {"type": ["number", "null"]},
    int: {"type": ["integer", "null"], "minimum": -(2**63), "maximum": 2**63 - 1},
    str: {"type": ["string", "null"]},
    bool: {"type": ["boolean", "null"]},
    datetime: {"type": ["string", "null"], "format": "date-time"},
}
_HOW: Final[Schema] = {"enum": ["precomputed", "on_request", "default"]}
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


def document(service: Service, routes: Sequence[Route], *, tokens: bool) -> Schema:
    """The document at /openapi.json. tokens: whether requests need a token."""
    described = _Described(service)
    paths: dict[str, dict[str, object]] = {}
    for route in routes:
        for name in [""] if route.names is None else route.names(service):
            paths.setdefault(route.begin + name, {})[route.method.lower()] = _operation(described, route, name, tokens=tokens)
    components: Schema = {"schemas": _components()}
    if tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    info = {"title": f"headwater: {service.project.name}", "version": __version__}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": components}


def _operation(described: _Described, route: Route, name: str, *, tokens: bool) -> Schema:
    errors: dict[str, Schema] = {
        code: {"description": description, "content": _json(_ref("Error"))} for code, description in _ERRORS.items() if code[0] == "4"
    }
    operation: Schema = {
        "operationId": f"{route.method.lower()}{route.begin}{name}".replace("/", "_").replace(".", "_"),
        "summary": route.summary + (f": {name}" if name else ""),
        "responses": {"200": described.answer(route, name), **errors, "503": {"description": _ERRORS["503"], "content": _json({})}},
    }
    if route.takes is not None or route.forwards:  # 422 may also list a reason for each row
        errors["422"]["content"] = _json({"anyOf": [_ref("Error"), _ref("Events" if route.forwards else "Outcomes")]})
    if tokens and route.scope is not None:
        operation["security"] = [{"token": []}]
        operation["description"] = f"Needs a token with the scope `{route.scope}`."
    bodies = described.asked(route, name)
    if bodies is not None:
        operation["requestBody"] = {"required": True, "content": bodies}
    if route.path == "/v1/explain":
        operation["parameters"] = described.explained()
    return operation


class _Described:
    """Schemas of one project."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._levels: Schema = {"enum": [None, *service.project.levels], "default": None}

    def asked(self, route: Route, name: str) -> Schema | None:
        """The request bodies of a route; None where it has none."""
        match route.path.split("/")[2] if route.method == "POST" else "":
            case "features":
                more: Schema = {"level": self._levels, "compact": {"type": "boolean", "default": False}}
                return _json(_rows(self._row(self.service.services[name].features), more))
            case "predict":
                return _json(_rows(self._row(self.service.project.model(name).features), {"level": self._levels, **_FLAGS}))
            case "rank":
                return _json(self._ranking(name))
            case "outcomes":
                row: Schema = {"type": "object", "additionalProperties": _SCALAR}
                return _json({"oneOf": [row, {"type": "array", "items": row, "minItems": 1, "maxItems": MOST_ROWS}]})
            case "events":
                event: Schema = {"type": "object"}
                lines = {"schema": {"type": "string", "description": "an object a line"}}
                return {**_json({"oneOf": [event, {"type": "array", "items": event, "minItems": 1}]}), "application/x-ndjson": lines}
        return None

    def answer(self, route: Route, name: str) -> Schema:
        """The response of a route with status 200."""
        described = {"description": route.summary}
        match route.path.split("/")[1:3]:
            case ["v1", "features"]:
                return {**described, "content": _json(_features(self.service.services[name].features.feature_names))}
            case ["v1", "predict"]:
                return {**described, "content": _json(_predictions(self.service.project.model(name).features.feature_names))}
            case ["v1", "rank"]:
                return {**described, "content": _json(_ranked(self.service.project.model(name).features.feature_names))}
            case ["v1", "outcomes"]:
                return {**described, "content": _json(_ref("Outcomes"))}
            case ["v1", "events"]:
                return {**described, "content": _json(_ref("Events"))}
            case ["metrics"]:
                return {**described, "content": {"text/plain": {"schema": {"type": "string"}}}}
            case ["docs"]:
                return {**described, "content": {"text/html": {"schema": {"type": "string"}}}}
        return {**described, "content": _json({"type": "object"})}

    def explained(self) -> list[Schema]:
        """The query parameters of `GET /v1/explain`."""
        views = {view.root.name: view.root for view in self.service.project.views}
        features = [name for view in views.values() for name in view.feature_names]
        keys = dict.fromkeys(key for view in views.values() for key in view.keys)
        parameters: list[Schema] = [
            _parameter("feature", {"enum": features}, "full name of the feature", required=True),
            _parameter("at", _MOMENT, "request time; default: now"),
            _parameter("events", {"type": "integer", "minimum": 0, "maximum": 1000, "default": 20}, "number of events to return"),
        ]
        return parameters + [_parameter(key, {"type": "string"}, "a key of the feature's view") for key in keys]

    def _row(self, service: FeatureService, *, without: Iterable[str] = ()) -> dict[str, Schema]:
        """The fields of a request, and their types."""
        dtypes: dict[str, Schema] = dict.fromkeys(service.needed_by(), _SCALAR)
        try:
            views = self.service.open(service.name, None).features.views if service.name in self.service.services else {}
            for view in service.views:
                for key in view.keys:
                    column = view.request_key(key)
                    if isinstance(column, str) and view.name in views:
                        dtypes[column] = _of(views[view.name].state.dtypes[key])
        except HeadwaterError:  # a view that is not in the store yet: any scalar
            pass
        for field in service.request_fields:
            dtypes[field.name] = _narrower(dtypes[field.name], _TYPES[field.dtype])
        for function in service.request_features:
            for name, dtype in function.fields.items():
                dtypes[name] = _narrower(dtypes[name], _TYPES[dtype])
        return {name: schema for name, schema in dtypes.items() if name not in set(without)}

    def _ranking(self, name: str) -> Schema:
        model = self.service.project.model(name)
        assert model.ranking is not None
        every = self._row(model.features)
        item, shared = every.get(model.ranking.item, _SCALAR), {k: v for k, v in every.items() if k != model.ranking.item}
        if model.ranking.retrieval is not None:
            shared = {**self._row(model.ranking.retrieval), **shared}
        row = {**_object(shared), "properties": {**shared, model.ranking.group: shared.get(model.ranking.group, _SCALAR)}}
        candidate = {"type": "object", "properties": every, "required": [model.ranking.item], "additionalProperties": False}
        candidates: Schema = {"type": ["array", "null"], "items": {"anyOf": [item, candidate]}, "minItems": 1, "maxItems": MOST_CANDIDATES}
        more: Schema = {"k": {"type": "integer", "minimum": 1, "maximum": MOST_CANDIDATES, "default": 10}, "level": self._levels, **_FLAGS}
        return {**_object({"row": row, "candidates": candidates, **more}), "required": ["row"]}


_FLAGS: Final[Schema] = {"features": {"type": "boolean", "default": False}, "timing": {"type": "boolean", "default": False}}


def _rows(row: Mapping[str, Schema], more: Schema) -> Schema:
    """One row, several, or columns."""
    columns = {name: {"type": "array", "items": schema, "minItems": 1, "maxItems": MOST_ROWS} for name, schema in row.items()}
    forms: dict[str, Schema] = {
        "row": _object(row),
        "rows": {"type": "array", "items": _object(row), "minItems": 1, "maxItems": MOST_ROWS},
        "columns": {**_object(columns), "description": "a value a row in each column"},
    }
    return {"oneOf": [{**_object({name: form, **more}), "required": [name]} for name, form in forms.items()]}


def _features(names: Sequence[str]) -> Schema:
    head: Schema = {"service": {"type": "string"}, "level": {"type": ["string", "null"]}, "at": _MOMENT}
    row = _object(dict.fromkeys(names, _ref("Feature")))
    column = _object(dict.fromkeys(names, _ref("FeatureColumn")))
    compact = {"names": _strings(), "statuses": {"type": "array"}, "values": {"type": "array"}, "views": {"type": "object"}}
    return {
        "oneOf": [
            _object({**head, "features": row}),
            _object({**head, "rows": {"type": "array", "items": row}}),
            _object({**head, "features": column}),
            _object({**head, "at": _MICROS, **compact}),
        ]
    }


def _predictions(names: Sequence[str]) -> Schema:
    prediction = {"value": {"type": ["number", "null"]}, "how": _HOW, "age": {"type": "number"}}
    row = {**_object({**prediction, "features": _object(dict.fromkeys(names, _ref("Feature")))}), "required": list(prediction)}
    forms: list[Schema] = [{"prediction": row}, {"predictions": {"type": "array", "items": row}}]
    return {"oneOf": [{**_object({**_HEAD, **form, **_TIMING}), "required": [*_HEAD, *form]} for form in forms]}


def _ranked(names: Sequence[str]) -> Schema:
    item = {"item": {}, "score": {"type": ["number", "null"]}}
    row = {**_object({**item, "features": _object(dict.fromkeys(names, _ref("Feature")))}), "required": list(item)}
    fields: Schema = {"how": _HOW, "age": {"type": "number"}, "candidates": {"type": "integer"}, "items": {"type": "array", "items": row}}
    return {**_object({**_HEAD, **fields, **_TIMING}), "required": [*_HEAD, *fields]}


_HEAD: Final[Schema] = {"model": {"type": "string"}, "version": {"type": "string"}, "level": {"type": ["string", "null"]}, "at": _MOMENT}
_TIMING: Final[Schema] = {"timing": {"type": "object", "additionalProperties": {"type": "number"}, "description": "milliseconds"}}


def _components() -> Schema:
    missing = {"type": "boolean", "description": "whether a window of the view may lack events that were received"}
    of = {
        "stale": {"type": "boolean"},
        "incomplete": missing,
        "age": {"type": "number", "description": "seconds from K"},
        "T": _MOMENT,
        "K": _MOMENT,
    }
    status = {"enum": list(STATUSES)}
    counts: Schema = {key: {"type": "integer"} for key in ("accepted", "copies", "corrections")}
    refused = {"type": "array", "items": _object({"index": {"type": "integer"}, "reason": {"type": "string"}})}
    taken: Schema = {key: {"type": "integer"} for key in ("accepted", "copies", "held", "filtered", "sequence")}
    return {
        "Outcomes": _object({**counts, "refused": refused}),
        "Events": _object({**taken, "refused": refused}),
        "Feature": _object({"value": {}, "status": status, **of}),
        "FeatureColumn": _object({"values": {"type": "array"}, "statuses": {"type": "array", "items": status}, **of}),
        "Error": {
            "type": "object",
            "properties": {name: {"type": "string"} for name in ("error", "request_id", "kind")},
            "required": ["error", "request_id"],
            "additionalProperties": False,
        },
    }


def _of(dtype: pl.DataType) -> Schema:
    """The schema of a key of a type."""
    if dtype.is_integer():
        return _TYPES[int]
    if isinstance(dtype, pl.Boolean):
        return _TYPES[bool]
    if isinstance(dtype, pl.Datetime):
        return _TYPES[datetime] if dtype.time_zone is not None else {"type": ["string", "null"]}
    if isinstance(dtype, pl.Date):
        return {"type": ["string", "null"], "format": "date"}
    return _TYPES[str] if isinstance(dtype, pl.String | pl.Categorical | pl.Enum) else _SCALAR


def _narrower(first: Schema, second: Schema) -> Schema:
    """The schema of a field with two readers: the narrower of their types."""
    return second if first is _SCALAR or second is _TYPES[int] or first is _TYPES[float] else first


def _object(properties: Mapping[str, object]) -> Schema:
    return {"type": "object", "properties": dict(properties), "required": list(properties), "additionalProperties": False}


def _parameter(name: str, schema: Schema, description: str, *, required: bool = False) -> Schema:
    return {"name": name, "in": "query", "required": required, "schema": schema, "description": description}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _strings() -> Schema:
    return {"type": "array", "items": {"type": "string"}}
