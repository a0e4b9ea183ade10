"""What the hot routes answer: features, predictions and rankings, as JSON. First a request is read, then it is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from msgspec import UNSET

from headwater import clock
from headwater.errors import DataError
from headwater.online.compiled_reader import Answer, Answers
from headwater.online.predictor import Beside, Many, Predicted, read_many, read_one
from headwater.online.ranker import Order, Proposed
from headwater.serving.endpoints import propose
from headwater.serving.http.request_schema import AnyAsked, Asked, AskedPrediction, AskedRanking, Reader, Row
from headwater.serving.http.response_encoder import FeatureWriter, encode, moment_text, predicted, timing
from headwater.serving.service import Service

MOST_ROWS = 10_000
"""Rows in one request."""


class Ready(NamedTuple):
    """A request that was read.

    service: the feature service that it needs; empty where it needs none. row: of one row; else `columns`, with `height` rows.
    proposed: of a ranking.
    """

    service: str
    row: Mapping[str, object] | None
    columns: Mapping[str, Sequence[object]]
    height: int
    proposed: Proposed | None = None

    def told(self) -> Mapping[str, Sequence[object]]:
        """The request in columns."""
        return self.columns if self.row is None else {name: [value] for name, value in self.row.items()}


class Said(NamedTuple):
    """An answer: its body, how many rows it is about, and what watchers and logs want to know.

    found: the features that were read, of one row or many. predicted: the predictions. version: of the model. stages: the seconds that
    each took. again: in how many seconds to ask again. of: the rows whose features were read, where others were made ahead; None is
    all. order: of a ranking.
    """

    body: bytes
    rows: int
    found: Answer | Answers | None = None
    predicted: Sequence[Predicted] = ()
    version: str | None = None
    stages: Mapping[str, float] = {}
    status: int = 200
    again: int | None = None
    of: Sequence[int] | None = None
    order: Order | None = None


def size(asked: AnyAsked) -> int:
    """How many rows a request is about.

    Raises:
        DataError: it says none or too many, or says them in two ways; or columns are of different lengths.
    """
    if isinstance(asked, AskedRanking):
        return _checked(1 if asked.candidates is None else len(asked.candidates), "candidates")
    given = (asked.row is not UNSET) + (asked.rows is not UNSET) + (asked.columns is not UNSET)
    if given != 1:
        raise DataError(f"the request has {given or 'none'} of `row`, `rows` and `columns`; give one of them")
    if isinstance(asked.rows, list):
        return _checked(len(asked.rows), "rows")
    if isinstance(asked.columns, dict):
        sizes = {len(column) for column in asked.columns.values()}
        if len(sizes) > 1:
            raise DataError(f"the columns of the request hold {sorted(sizes)} values; give each one value a row")
        return _checked(sizes.pop() if sizes else 0, "rows")
    return 1


def read_features(service: Service, name: str, asked: Asked, t: int) -> Ready:  # noqa: ARG001 (as `Work`)
    """Read what `POST /v1/features/{service}` was asked."""
    return _ready(service.open(name, asked.level).reader, name, asked)


def features(service: Service, name: str, asked: Asked, t: int, ready: Ready, beside: Beside | None) -> Said:
    """`POST /v1/features/{service}`."""
    begin = clock.stopwatch()
    online, _, writer = service.open(name, asked.level)
    if ready.row is not None:
        answer = read_one(online, ready.row, t, beside)
        read = clock.stopwatch()
        told = answer if beside is None else answer._replace(moments=writer.moments(answer.moments, beside, t))
        body = writer.compact(told, t) if asked.compact else writer.one(told, t)
        return Said(body, 1, answer, stages=_stages(begin, read, beside))
    answers = read_many(online, ready.columns, t, beside)
    read = clock.stopwatch()
    form = writer.compact_many if asked.compact else writer.columns if asked.rows is UNSET else writer.rows
    body = form(answers if beside is None else answers._replace(moments=writer.moments(answers.moments, beside, t)), t)
    return Said(body, ready.height, answers, stages=_stages(begin, read, beside))


def read_prediction(service: Service, name: str, asked: AskedPrediction, t: int) -> Ready:  # noqa: ARG001 (as `Work`)
    """Read what `POST /v1/predict/{model}` was asked."""
    side = service.side(name, asked.level)
    ahead = side.ahead is not None and not side.ahead.scoring.on_request
    return _ready(side.reader, "" if ahead else side.predictor.model.features.name, asked)


def predict(service: Service, name: str, asked: AskedPrediction, t: int, ready: Ready, beside: Beside | None) -> Said:
    """`POST /v1/predict/{model}`."""
    predictor, _, _, writer = service.side(name, asked.level)
    if ready.row is not None:
        one, answer, stages, version = predictor.one(ready.row, t=t, beside=beside)
        told = b""
        if asked.features and answer is not None:
            told = b',"features":' + writer.features(answer.values, answer.statuses, writer.moments(answer.moments, beside, t), t)
        body = b'%b,"prediction":%b%b}%b' % (_head(name, version, asked.level, t), predicted(one), told, _tail(asked, stages))
        return Said(body, 1, answer, (one,), version, stages)
    many = predictor.many(ready.columns, t=t, beside=beside)
    made = b",".join(_parts(writer, many, beside, t) if asked.features else [predicted(one) + b"}" for one in many.predicted])
    body = b'%b,"predictions":[%b]%b' % (_head(name, many.version, asked.level, t), made, _tail(asked, many.stages))
    return Said(body, len(many.predicted), many.features, many.predicted, many.version, many.stages, of=many.rows)


def read_ranking(service: Service, name: str, asked: AskedRanking, t: int) -> Ready:
    """Read what `POST /v1/rank/{model}` was asked, and find the candidates."""
    ranker = service.ranker(name, asked.level)
    of, reader = ranker.predictor.model.features.name, service.side(name, asked.level).reader
    proposed = propose(ranker, reader, asked.row, asked.candidates, t)
    return Ready("" if proposed.order is not None else of, None, proposed.columns, proposed.height, proposed)


def rank(service: Service, name: str, asked: AskedRanking, t: int, ready: Ready, beside: Beside | None) -> Said:
    """`POST /v1/rank/{model}`."""
    assert ready.proposed is not None
    ranker = service.ranker(name, asked.level)
    order = ranker.order(ready.proposed, asked.k, t=t, beside=beside)
    answers = order.features
    parts = [b'{"item":%b,"score":%b' % (encode(item), encode(one.value)) for item, one in order.items]
    if asked.features and answers is not None:
        writer = service.side(name, asked.level).writer
        parts = [b'%b,"features":%b' % (part, row) for part, row in zip(parts, _rows(writer, answers, beside, t), strict=True)]
    about = b'"how":"%b","age":%.6f,"candidates":%d' % (order.how.encode(), order.age, order.candidates)
    items = b",".join(part + b"}" for part in parts)
    body = b'%b,%b,"items":[%b]%b' % (_head(name, order.version, asked.level, t), about, items, _tail(asked, order.stages))
    return Said(body, order.candidates, answers, [one for _, one in order.items], order.version, order.stages, order=order)


def outcomes(service: Service, name: str, given: Row | list[Row]) -> Said:
    """`POST /v1/outcomes/{labels}`: what came of requests, answered for once it is on disk."""
    rows = [given] if isinstance(given, dict) else given
    _checked(len(rows), "outcomes")
    added = service.outcomes(name, rows)
    refused = [{"index": place, "reason": why} for place, why in added.refused]
    said = {"accepted": added.accepted, "copies": added.copies, "corrections": added.corrections, "refused": refused}
    return Said(encode(said), len(rows), status=422 if len(refused) == len(rows) else 200)


def _ready(reader: Reader, name: str, asked: Asked | AskedPrediction) -> Ready:
    if type(asked.row) is dict:
        return Ready(name, reader.row(asked.row), {}, 1)
    columns = reader.rows(cast("list[Row]", asked.rows)) if asked.columns is UNSET else reader.columns(asked.columns)
    return Ready(name, None, columns, len(next(iter(columns.values()))) if columns else size(asked))


def _stages(begin: float, read: float, beside: Beside | None) -> dict[str, float]:
    stages = {"read": read - begin, "write": clock.stopwatch() - read}
    return stages if beside is None else {**stages, "third party": beside.seconds}


def _head(name: str, version: str, level: str | None, t: int) -> bytes:
    """What every prediction begins with."""
    return b'{"model":%b,"version":%b,"level":%b,"at":"%b"' % (encode(name), encode(version), encode(level), moment_text(t).encode())


def _tail(asked: AskedPrediction | AskedRanking, stages: Mapping[str, float]) -> bytes:
    return b',"timing":' + timing(stages) + b"}" if asked.timing else b"}"


def _parts(writer: FeatureWriter, many: Many, beside: Beside | None, t: int) -> list[bytes]:
    """Predictions with the features that they are made of; what was made ahead has none here."""
    told = [b""] * len(many.predicted)
    if many.features is not None:
        own = beside if beside is None or many.rows is None else beside.take(many.rows)
        for n, row in zip(range(len(told)) if many.rows is None else many.rows, _rows(writer, many.features, own, t), strict=True):
            told[n] = b',"features":' + row
    return [b"%b%b}" % (predicted(one), features) for one, features in zip(many.predicted, told, strict=True)]


def _rows(writer: FeatureWriter, answers: Answers, beside: Beside | None, t: int) -> list[bytes]:
    """The features of each row."""
    rows = zip(zip(*answers.values, strict=True), map(bytes, zip(*answers.statuses, strict=True)), strict=True)
    moments = writer.moments(answers.moments, beside, t)
    return [writer.features(*row, moments, t) for row in rows]


def _checked(count: int, what: str) -> int:
    if not 0 < count <= MOST_ROWS:
        raise DataError(f"the request has {count:,} {what}; give 1 to {MOST_ROWS:,}")
    return count
