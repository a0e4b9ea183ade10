"""Results as the structs that `hw.operations.Service` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from headwater import clock
from headwater.events.columns import STATUSES
from headwater.serving.http.response_schema import (
    Features,
    FeatureValue,
    Field,
    Prediction,
    Predictions,
    Ranked,
    RankedItem,
    fields_of,
)
from headwater.serving.serving_result import FeatureShape, ServingResult

_TABLES: Final[Mapping[type, tuple[Field, ...]]] = {
    kind: fields_of(kind)
    for kind in (FeatureValue, Features, Prediction, Predictions, RankedItem, Ranked)
}


def features(shape: FeatureShape, result: ServingResult) -> Features:
    """A result as features of rows."""
    return Features(
        **_computed(Features, result),
        rows=[row for row in feature_values(shape, result) if row is not None],
    )


def predictions(shape: FeatureShape, result: ServingResult, *, with_features: bool) -> Predictions:
    """A result as predictions of rows."""
    rows = feature_values(shape, result, with_features=with_features)
    predictions = [
        Prediction(**_computed(Prediction, prediction), features=row)
        for prediction, row in zip(result.predicted, rows, strict=True)
    ]
    return Predictions(**_computed(Predictions, result), predictions=predictions)


def ranked(shape: FeatureShape, result: ServingResult, *, with_features: bool) -> Ranked:
    """A result as a ranking."""
    assert result.order is not None
    rows = feature_values(shape, result, with_features=with_features)
    items = [
        RankedItem(item=item, **_computed(RankedItem, prediction), features=row)
        for (item, prediction), row in zip(result.order.items, rows, strict=True)
    ]
    return Ranked(**_computed(Ranked, result), items=items)


def feature_values(
    shape: FeatureShape, result: ServingResult, *, with_features: bool = True
) -> Sequence[dict[str, FeatureValue] | None]:
    """The feature values of each row, by name; None for rows without."""
    rows: list[dict[str, FeatureValue] | None] = [None] * (len(result.predicted) or result.rows)
    for part in result.parts:
        for n, values_of_row in zip(
            part.rows,
            feature_values(part.encoder.shape, part.result, with_features=with_features),
            strict=True,
        ):
            rows[n] = values_of_row
    if with_features and not result.parts:
        fields = [_computed(FeatureValue, version, result.t) for version in shape.versions(result)]
        for n, values, codes in result.feature_rows():
            row = zip(shape.names, values, codes, shape.view_indexes, strict=True)
            rows[n] = {
                name: FeatureValue(value=value, status=STATUSES[code], **fields[owner])
                for name, value, code, owner in row
            }
    return rows


def _computed(kind: type, *arguments: object) -> dict[str, Any]:
    """The computed fields of a struct."""
    return {field.name: _value(field, *arguments) for field in _TABLES[kind]}


def _value(field: Field, *arguments: object) -> object:
    value = field.compute(*arguments)
    return clock.timestamp(value) if field.kind is datetime else value
