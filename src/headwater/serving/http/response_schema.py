"""What answers hold, as values: the same in process and over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from headwater.definitions.prediction_types import How, Score


class FeatureValue(msgspec.Struct, frozen=True):
    """A feature of one row: its value, what it is (present, empty, missing, expired, fallback, overflow), and as of when.

    stale: whether it is older than its view promises. age: seconds from K to the moment of asking. T: where the window ends. K: by when
    what counts was known. incomplete: whether a window of the view may lack events that were received.
    """

    value: object
    status: str
    stale: bool
    age: float
    T: datetime
    K: datetime
    incomplete: bool = False


class Features(msgspec.Struct, frozen=True):
    """The features of some rows, asked for `at` a moment; `level` None is as each view defines."""

    service: str
    level: str | None
    at: datetime
    rows: list[dict[str, FeatureValue]]


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """A prediction: its value, how it was made, and the age of the oldest feature that it is made of, in seconds."""

    value: Score
    how: How
    age: float
    features: Mapping[str, FeatureValue] | None = None


class Predictions(msgspec.Struct, frozen=True, omit_defaults=True):
    """Predictions of a model in a version for some rows. timing: milliseconds by stage."""

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
    """The best candidates of a request, the best first. candidates: how many there were."""

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
    """An event or outcome that was not accepted, by its place among those that were sent, and why."""

    index: int
    reason: str


class Taken(msgspec.Struct, frozen=True):
    """What became of the events of a request, all of it durable.

    copies: of events that were accepted before. held: until their time comes. filtered: left out by the source's filter. sequence: of the
    commit that holds them.
    """

    accepted: int
    copies: int
    held: int
    filtered: int
    refused: list[RefusedRow]
    sequence: int


class Posted(msgspec.Struct, frozen=True):
    """What became of the outcomes of a request, all of it durable. copies: known before. corrections: of what was known otherwise."""

    accepted: int
    copies: int
    corrections: int
    refused: list[RefusedRow]


class Explained(msgspec.Struct, frozen=True):
    """Why a feature has the value that it has: the value served and the value made anew, as of when, and the events and tiles behind it."""

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
    """Whether a service can answer everything, and in sentences what keeps it from that."""

    ready: bool
    reasons: list[str] = []
