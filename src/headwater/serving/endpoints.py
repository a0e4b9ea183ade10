"""Feature services and models at a freshness level, prepared for requests; and feature values as in-process results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from headwater import clock
from headwater.errors import UsageError
from headwater.events.statuses import STATUSES
from headwater.online.compiled_reader import FeatureVectors
from headwater.online.feature_reader import OnlineFeatures
from headwater.online.precomputed import MadeAhead
from headwater.online.predictor import Predictor, ThirdPartyValues
from headwater.online.ranker import Proposed, Ranker
from headwater.serving.http.request_schema import Reader, Row
from headwater.serving.http.response_encoder import ResponseEncoder
from headwater.serving.http.response_schema import FeatureValue

Rows = Mapping[str, object] | Sequence[Mapping[str, object]]
"""One row, or several."""


class FeatureEndpoint(NamedTuple):
    """A feature service at a level: its online reader, request parser and response encoder."""

    features: OnlineFeatures
    reader: Reader
    writer: ResponseEncoder


class ModelVariant(NamedTuple):
    """A model at a level: predictor, precomputed predictions, request parser and response encoder."""

    predictor: Predictor
    ahead: MadeAhead | None
    reader: Reader
    writer: ResponseEncoder


def feature_values(
    writer: ResponseEncoder, answers: FeatureVectors, third_party: ThirdPartyValues | None, t: int
) -> list[dict[str, FeatureValue]]:
    """Feature values of each row, by feature name."""
    read_versions = writer.read_versions(answers.read_versions, third_party, t)
    ends = [(m.stale, (t - m.K) / 1e6, clock.moment(m.T), clock.moment(m.K), m.incomplete) for m in read_versions]
    ends.append((False, 0.0, clock.moment(t), clock.moment(t), False))
    rows = []
    for values, codes in zip(zip(*answers.values, strict=True), zip(*answers.statuses, strict=True), strict=True):
        row = zip(writer.names, values, codes, writer.of, strict=True)
        rows.append({name: FeatureValue(value, STATUSES[code], *ends[of]) for name, value, code, of in row})
    return rows


def columns_of(reader: Reader, rows: Rows) -> Mapping[str, Sequence[object]]:
    """Rows as columns, validated as those of an HTTP request.

    Raises:
        UsageError: no rows.
        DataError: an unknown or missing field; see `Reader`.
    """
    if isinstance(rows, Mapping):
        return {name: [value] for name, value in reader.row(cast("Row", dict(rows))).items()}
    every = [cast("Row", dict(row)) for row in rows]
    if not every:
        raise UsageError("no row was given; give one row, or a list of at least one")
    return reader.rows(every)


def propose(ranker: Ranker, reader: Reader, row: Mapping[str, object], candidates: Sequence[object] | None, t: int) -> Proposed:
    """The candidates of a ranking request; raises as `columns_of`."""
    if candidates is not None:
        rows = [
            reader.shared(cast("Row", dict(candidate)), (ranker.item,)) if isinstance(candidate, Mapping) else candidate
            for candidate in candidates
        ]
        candidates = rows
    return ranker.propose(reader.shared(cast("Row", dict(row)), ranker.asks), candidates, t=t)
