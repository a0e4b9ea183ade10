"""Small things to try headwater on: the value of one aggregation over a handful of events, and a
model over made-up frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory

import polars as pl

from headwater.aggregations.moments import count, mean
from headwater.definitions.checks import Duration
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import Aggregation, FeatureView
from headwater.definitions.freshness import Freshness, on_request
from headwater.definitions.labels import Labels
from headwater.definitions.level import Level, ModelVariant
from headwater.definitions.model import Model, Precomputed
from headwater.definitions.project import Project
from headwater.definitions.source import Source
from headwater.definitions.windows import Window
from headwater.events.read_events import Notes
from headwater.models.fit import Fitted, fit
from headwater.stores import OnlineStore, open_store
from headwater.training.historical import get_historical_features
from headwater.training.label_rows import read_labels
from headwater.training.precomputed_rows import rows_of

_NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def value_of(
    aggregation: Aggregation, *, window: Duration | Window = "1h", **columns: Sequence[object]
) -> object:
    """The aggregation's value over events one minute apart, asked for one minute after the last of
    them.

    Args:
        aggregation: with one feature, or the first of several.
        window: which of the events count.
        columns: the values of each column in the order of the events.

    >>> import headwater as hw
    >>> (
    ...     value_of(hw.max("amount"), amount=[3, 5, 4]),
    ...     value_of(hw.count(), window="2m", amount=[3, 5, 4]),
    ... )
    (5, 2)
    """
    events = pl.DataFrame(columns)
    at = pl.Series(
        "at", [_NOON - timedelta(minutes=events.height - i) for i in range(events.height)]
    )
    source = Source(
        "events",
        history=events.with_columns(at, key=pl.lit(1)),
        timestamp_field="at",
        select=["key", *events.columns],
    )
    view = FeatureView(
        "view",
        source=source,
        keys=["key"],
        features=[aggregation],
        windows=[window],
        freshness=on_request(),
    )
    requests = pl.DataFrame({"key": [1], "timestamp": [_NOON]})
    return get_historical_features(view, requests)[view.feature_names[0]].to_list()[0]


def visits(freshness: Freshness) -> FeatureView:
    """A view of the visits of two users in the hours up to noon on the first of May 2024: how many,
    and the pages they saw.
    """
    at = [_NOON - timedelta(minutes=30 * i) for i in range(1, 13)]
    seen = pl.DataFrame(
        {"user": [1 + i % 2 for i in range(12)], "pages": list(range(12)), "at": at}
    )
    source = Source("visits", history=seen, timestamp_field="at", select=["user", "pages"])
    return FeatureView(
        "user",
        source=source,
        keys=["user"],
        features=[count(), mean("pages")],
        windows=["1d"],
        freshness=freshness,
    )


def visiting(freshness: Freshness) -> Project:
    """A project of one model over `visits`."""
    requests = pl.DataFrame({"user": [1, 2], "at": [_NOON, _NOON], "left": [True, False]})
    labels = Labels("leaving", table=requests, timestamp_field="at", label="left", known_after="1d")
    model = Model(
        "churn",
        features=FeatureService("churn_v1", [visits(freshness)]),
        labels=labels,
        task="binary",
    )
    return Project("shop", [model])


@contextmanager
def temporary_store() -> Iterator[OnlineStore]:
    """An online store that is gone when the context ends."""
    with (
        TemporaryDirectory() as folder,
        closing(open_store(f"lmdb:{folder}/online?size=100MB")) as store,
    ):
        yield store


def precomputed_variant(
    model: Model, predictions: Precomputed, features: Freshness | None = None
) -> tuple[ModelVariant, Fitted]:
    """A variant of the model with precomputed predictions, and the model fitted on labels as such a
    job would know them.
    """
    variant = ModelVariant("ahead", model, Level(features, predictions))
    requests = read_labels(model.labels)
    assert requests.label is not None
    rows = rows_of(model, requests, variant.level, Notes())
    learnable = rows.known | predictions.on_request
    return variant, fit(
        model,
        rows.frame.filter(pl.Series(learnable)),
        requests.label.to_numpy().astype("float64")[learnable],
    )


def churn(events: int = 300, users: int = 10, freshness: Freshness | None = None) -> Model:
    """A model of whether a user leaves, over made-up frames of May 2024: four features of visits, a
    label for every third visit.

    `freshness` None is `on_request()`.
    """
    at = [_NOON + timedelta(minutes=97 * i) for i in range(events)]
    visits = pl.DataFrame(
        {
            "user": [i * i % users for i in range(events)],
            "at": at,
            "pages": [i * 7 % 13 for i in range(events)],
        }
    )
    requests = visits.select("user", "at", (pl.col("pages") < 4).alias("left")).gather_every(3)
    source = Source("visits", history=visits, timestamp_field="at", select=["user", "pages"])
    view = FeatureView(
        "user",
        source=source,
        keys=["user"],
        features=[count(), mean("pages")],
        windows=["1d", "7d"],
        freshness=freshness or on_request(),
    )
    labels = Labels("leaving", table=requests, timestamp_field="at", label="left", known_after="1d")
    return Model("churn", features=FeatureService("churn_v1", [view]), labels=labels, task="binary")
