"""The results of a service, the same in process and over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from headwater.definitions.prediction_types import How, Score


class FeatureValue(msgspec.Struct, frozen=True):
    """A feature of one row: its value, status (present, empty, missing, expired, fallback, overflow) and age.

    stale: whether it is older than its view's freshness. age: seconds from K to the request time. T: end of the window. K: knowledge
    cutoff. incomplete: whether a window of the view may lack events that were received.
    """

    value: object
    status: str
    stale: bool
    age: float
    T: datetime
    K: datetime
    incomplete: bool = False


class Features(msgspec.Struct, frozen=True):
    """The features of rows at request time `at`; `level` None is each view's own freshness."""

    service: str
    level: str | None
    at: datetime
    rows: list[dict[str, FeatureValue]]


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """A prediction: its value, how it was computed, and the age of its oldest feature, in seconds."""

    value: Score
    how: How
    age: float
    features: Mapping[str, FeatureValue] | None = None


class Predictions(msgspec.Struct, frozen=True, omit_defaults=True):
    """Predictions of a model version for rows. timing: milliseconds by stage."""

    model: str
    version: str
    level: str | None
    at: datetime
    predictions: list[Prediction]
    timing: Mapping[str, float] | None = None


class RankedItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A candidate and its score."""

    item: object
    score: float
    features: Mapping[str, FeatureValue] | None = None


class Ranked(msgspec.Struct, frozen=True, omit_defaults=True):
    """The best candidates of a request, the best first. candidates: number of candidates."""

    model: str
    version: str
    level: str | None
    at: datetime
    how: How
    age: float
    candidates: int
    items: list[RankedItem]
    timing: Mapping[str, float] | None = None


class RefusedRow(msgspec.Struct, frozen=True):
    """An event or outcome that was refused: its index in the request, and the reason."""

    index: int
    reason: str


class Taken(msgspec.Struct, frozen=True):
    """Record outcomes of a request's events, all durable.

    copies: duplicates of accepted events. held: until their event time. filtered: left out by the source's filter. sequence: of their
    commit.
    """

    accepted: int
    copies: int
    held: int
    filtered: int
    refused: list[RefusedRow]
    sequence: int


class Posted(msgspec.Struct, frozen=True):
    """Result of posting outcomes, all durable. copies: duplicates of known outcomes. corrections: changes of known outcomes."""

    accepted: int
    copies: int
    corrections: int
    refused: list[RefusedRow]


class Explained(msgspec.Struct, frozen=True):
    """An explained feature value: the online value, the value recomputed from events, T and K, and its events and tiles."""

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
