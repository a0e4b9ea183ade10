"""Feature services and models at a level, ready for requests; and features as they are told in process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from headwater import clock
from headwater.errors import UsageError
from headwater.events.statuses import STATUSES
from headwater.online.compiled_reader import Answers
from headwater.online.feature_reader import OnlineFeatures
from headwater.online.precomputed import MadeAhead
from headwater.online.predictor import Beside, Predictor
from headwater.online.ranker import Proposed, Ranker
from headwater.serving.http.request_schema import Reader, Row
from headwater.serving.http.response_encoder import FeatureWriter
from headwater.serving.http.response_schema import FeatureValue

Rows = Mapping[str, object] | Sequence[Mapping[str, object]]
"""One row, or several."""


class Open(NamedTuple):
    """A feature service at a level, ready to be read: how its rows are read, and how its answers are written."""

    features: OnlineFeatures
    reader: Reader
    writer: FeatureWriter


class Side(NamedTuple):
    """A model at a level, ready to be asked: what predicts, what was made ahead, how rows are read, and how features are written."""

    predictor: Predictor
    ahead: MadeAhead | None
    reader: Reader
    writer: FeatureWriter


def told(writer: FeatureWriter, found: Answers, beside: Beside | None, t: int) -> list[dict[str, FeatureValue]]:
    """The features of some rows, as they are told."""
    moments = writer.moments(found.moments, beside, t)
    ends = [(m.stale, (t - m.K) / 1e6, clock.moment(m.T), clock.moment(m.K), m.incomplete) for m in moments]
    ends.append((False, 0.0, clock.moment(t), clock.moment(t), False))
    made = []
    for values, codes in zip(zip(*found.values, strict=True), zip(*found.statuses, strict=True), strict=True):
        row = zip(writer.names, values, codes, writer.of, strict=True)
        made.append({name: FeatureValue(value, STATUSES[code], *ends[of]) for name, value, code, of in row})
    return made


def columns_of(reader: Reader, rows: Rows) -> Mapping[str, Sequence[object]]:
    """Rows as columns, judged as those of a request over HTTP.

    Raises:
        UsageError: there is no row.
        DataError: a field that nothing reads, or that is missing; as `Reader` says.
    """
    if isinstance(rows, Mapping):
        return {name: [value] for name, value in reader.row(cast("Row", dict(rows))).items()}
    every = [cast("Row", dict(row)) for row in rows]
    if not every:
        raise UsageError("no row was given; give one row, or a list of at least one")
    return reader.rows(every)


def propose(ranker: Ranker, reader: Reader, row: Mapping[str, object], candidates: Sequence[object] | None, t: int) -> Proposed:
    """The candidates of a ranking, from what a request says; raises what `columns_of` does."""
    if candidates is not None:
        shared = [reader.shared(cast("Row", dict(one)), (ranker.item,)) if isinstance(one, Mapping) else one for one in candidates]
        candidates = shared
    return ranker.propose(reader.shared(cast("Row", dict(row)), ranker.asks), candidates, t=t)
