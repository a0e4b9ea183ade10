"""The answers of a service, the same in process, over HTTP, in the OpenAPI document and for
clients.

A field is one line of its struct: name, type, and in `Computed` the function that computes it. The
encoders for Python and JSON (`serving.python_encoder`, `serving.http.response_encoder`), the
OpenAPI document and the clients follow the structs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, Protocol, get_args, get_type_hints

import msgspec

from headwater.definitions.model import PredictionOrigin, Score

_NUMBER = msgspec.Meta(extra_json_schema={"type": ["number", "null"]})
_SCORE = msgspec.Meta(
    extra_json_schema={
        "anyOf": [
            {"type": ["number", "null"]},
            {"type": "array", "items": {"type": ["number", "null"]}},
        ]
    }
)


class Computed(NamedTuple):
    """How a field is computed: of a feature, from its read version and the request time; of a
    prediction, from `Predicted`; of an answer, from its `Result`. Timestamps are microseconds.
    """

    function: Callable[..., Any]


class Field(NamedTuple):
    """A computed field of an answer. kind: bool, float, datetime, or another that JSON has."""

    name: str
    kind: Any
    compute: Callable[..., Any]


def fields_of(struct: type[msgspec.Struct]) -> tuple[Field, ...]:
    """The computed fields of a struct, in order."""
    hints = get_type_hints(struct, include_extras=True)
    return tuple(
        Field(name, get_args(hints[name])[0], annotation.function)
        for name in struct.__struct_fields__
        for annotation in getattr(hints[name], "__metadata__", ())
        if isinstance(annotation, Computed)
    )


class _ServedVersion(Protocol):
    """What a feature's fields are computed from: `online.read_versions.ReadVersion`."""

    T: int
    K: int
    stale: bool
    incomplete: bool

    def age(self, t: int) -> int: ...


def _age(version: _ServedVersion, t: int) -> float:
    return version.age(t) / 1e6


class FeatureValue(msgspec.Struct, frozen=True):
    """A feature of one row: its value, status (present, empty, missing, expired, fallback,
    overflow) and age.

    stale: whether it is older than its view's freshness. age: seconds from K to the request time.
    T: end of the window. K: knowledge cutoff. incomplete: whether a window of the view may lack
    events that were received.
    """

    value: object
    status: str
    stale: Annotated[bool, Computed(lambda version, _: version.stale)]
    age: Annotated[float, Computed(_age)]
    T: Annotated[datetime, Computed(lambda version, _: version.T)]
    K: Annotated[datetime, Computed(lambda version, _: version.K)]
    incomplete: Annotated[bool, Computed(lambda version, _: version.incomplete)] = False


def changed(
    kind: type[msgspec.Struct], name: str, drop: Collection[str] = (), **fields: tuple[Any, Any]
) -> type[msgspec.Struct]:
    """A struct with some fields dropped, changed or added: their type and default; the default
    `...` makes a field required.
    """
    remaining: list[Any] = []
    for field in msgspec.structs.fields(kind):
        if field.name not in drop:
            field_type, default = fields.pop(
                field.name, (field.type, ... if field.required else field.default)
            )
            remaining.append(
                (field.name, field_type) if default is ... else (field.name, field_type, default)
            )
    remaining += [
        (added, field_type) if default is ... else (added, field_type, default)
        for added, (field_type, default) in fields.items()
    ]
    return msgspec.defstruct(name, remaining, kw_only=True)


def one_of(
    kind: type[msgspec.Struct],
    name: str,
    several: str,
    single: str,
    item_type: Any,  # noqa: ANN401
) -> type[msgspec.Struct]:
    """An answer for one row: instead of the field `several` it has `one`, of type `of`."""
    return changed(kind, name, (several,), **{single: (item_type, ...)})


FeatureColumn = changed(
    FeatureValue,
    "FeatureColumn",
    ("value", "status"),
    values=(list[Any], ...),
    statuses=(list[str], ...),
)
"""A feature of several rows: values and statuses, and the fields that they share."""
ViewVersion = changed(FeatureValue, "ViewVersion", ("value", "status"), T=(int, ...), K=(int, ...))
"""What the features of a view share, in the compact form: timestamps in microseconds."""


class Features(msgspec.Struct, frozen=True):
    """The features of rows at request time `at`; `level` None is each view's own freshness."""

    service: Annotated[str, Computed(lambda result: result.name)]
    level: Annotated[str | None, Computed(lambda result: result.level)]
    at: Annotated[datetime, Computed(lambda result: result.t)]
    rows: list[dict[str, FeatureValue]]


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """A prediction: its value, how it was computed, and the age of its oldest feature, in
    seconds.
    """

    value: Annotated[Score, _SCORE, Computed(lambda predicted: predicted.value)]
    how: Annotated[PredictionOrigin, Computed(lambda predicted: predicted.how)]
    age: Annotated[float, Computed(lambda predicted: predicted.age)]
    features: Mapping[str, FeatureValue] | None = None


class Predictions(msgspec.Struct, frozen=True, omit_defaults=True):
    """Predictions of a model version for rows. timing: milliseconds by stage.

    During an experiment, `experiment` and `arm` of a request for one row, and `arms` of one for
    several: of each row an object with `experiment` and `arm`, null for the default. flag: "no
    room", "shadow" or "washout", where the answer is not evidence of its arm. Where rows have
    several arms, `level` is null and `version` empty.
    """

    model: Annotated[str, Computed(lambda result: result.name)]
    version: Annotated[str, Computed(lambda result: result.version)]
    level: Annotated[str | None, Computed(lambda result: result.level)]
    at: Annotated[datetime, Computed(lambda result: result.t)]
    predictions: list[Prediction]
    timing: Annotated[Mapping[str, float] | None, Computed(lambda result: result.timing)] = None
    experiment: Annotated[str | None, Computed(lambda result: result.experiment)] = None
    arm: Annotated[str | None, Computed(lambda result: result.arm)] = None
    flag: Annotated[str | None, Computed(lambda result: result.flag)] = None
    arms: Annotated[
        list[dict[str, str] | None] | None, Computed(lambda result: result.each_arm)
    ] = None


class RankedItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A candidate and its score."""

    item: object
    score: Annotated[float, _NUMBER, Computed(lambda predicted: predicted.value)]
    features: Mapping[str, FeatureValue] | None = None


class Ranked(msgspec.Struct, frozen=True, omit_defaults=True):
    """The best candidates of a request, the best first. candidates: number of candidates.

    During an experiment, `experiment` and `arm` ("interleaved" for a list of both rankings), and
    `flag` as of `Predictions`.
    """

    model: Annotated[str, Computed(lambda result: result.name)]
    version: Annotated[str, Computed(lambda result: result.version)]
    level: Annotated[str | None, Computed(lambda result: result.level)]
    at: Annotated[datetime, Computed(lambda result: result.t)]
    how: Annotated[PredictionOrigin, Computed(lambda result: result.order.how)]
    age: Annotated[float, Computed(lambda result: result.order.age)]
    candidates: Annotated[int, Computed(lambda result: result.order.candidates)]
    items: list[RankedItem]
    timing: Annotated[Mapping[str, float] | None, Computed(lambda result: result.timing)] = None
    experiment: Annotated[str | None, Computed(lambda result: result.experiment)] = None
    arm: Annotated[str | None, Computed(lambda result: result.arm)] = None
    flag: Annotated[str | None, Computed(lambda result: result.flag)] = None


class RefusedRow(msgspec.Struct, frozen=True):
    """An event or outcome that was refused: its index in the request, and the reason."""

    index: int
    reason: str


class Taken(msgspec.Struct, frozen=True):
    """Record outcomes of a request's events, all durable.

    copies: duplicates of accepted events. held: until their event time. filtered: left out by the
    source's filter. sequence: of their commit.
    """

    accepted: int
    copies: int
    held: int
    filtered: int
    refused: list[RefusedRow]
    sequence: int


class Posted(msgspec.Struct, frozen=True):
    """Result of posting outcomes or exposures; accepted ones are durable."""

    accepted: int
    refused: list[RefusedRow]


class RunningPlan(msgspec.Struct, frozen=True):
    """A running experiment, with what another process needs to assign units as this one does.

    kind: "ab", "switchback", "cluster", "interleaving" or "shadow". unit, columns: of a request;
    columns by role ("region", "cluster").
    settings: of the kind, durations in microseconds. arms: name, model, level and weight, the
    control first. salt, seed, clusters, layer, span, holdout: of the assignment, see
    docs/experiments.md. enrolled: the share of units that take part now. digest: of the frozen
    plan.
    """

    experiment: str
    version: int
    kind: str
    unit: str
    columns: dict[str, str]
    settings: dict[str, int | bool]
    arms: list[dict[str, str | float]]
    salt: str
    seed: int
    clusters: dict[str, str]
    enrolled: float
    layer: str | None
    span: list[float]
    holdout: float
    start: datetime
    end: datetime
    digest: str


class RunningPlans(msgspec.Struct, frozen=True):
    """The running experiments of a service."""

    experiments: list[RunningPlan]


FlagReason = Literal["STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "UNKNOWN"]
FlagErrorCode = Literal[
    "PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "FLAG_NOT_FOUND", "GENERAL"
]


class FlagEvaluation(msgspec.Struct, frozen=True, omit_defaults=True):
    """The arm of a unit, as OFREP has it. Without `value`, the program's own default applies: the
    unit takes no part, or the experiment does not run (reason DISABLED).

    metadata: experiment and version; of an arm also its propensity, model, level, and whether it is
    the control.
    """

    key: str
    reason: FlagReason
    variant: str
    value: str | None = None
    metadata: dict[str, str | int | float | bool] = {}


class FlagFailure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a flag, or a whole request without a key, was not evaluated."""

    errorCode: FlagErrorCode  # noqa: N815 (as OFREP has it)
    errorDetails: str = ""  # noqa: N815
    key: str | None = None


class Explained(msgspec.Struct, frozen=True):
    """An explained feature value: the online value, the value recomputed from events, T and K, and
    its events and tiles.
    """

    feature: str
    keys: dict[str, object]
    status: str
    online: object
    offline: object
    at: datetime
    T: datetime
    K: datetime
    age: float
    served: bool
    events: list[dict[str, object]]
    tiles: list[dict[str, object]]


class Health(msgspec.Struct, frozen=True):
    """The readiness of a service; reasons: why it is not ready, in sentences."""

    ready: bool
    reasons: list[str] = []


class _Ready(msgspec.Struct):
    status: str
    reasons: list[str] = []


def health(status: int, body: bytes) -> Health:
    """The readiness that a response of `GET /readyz` reports."""
    return Health(status == 200, msgspec.json.decode(body, type=_Ready).reasons)
