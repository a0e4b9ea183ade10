"""What the hot routes answer: features, predictions and rankings, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from msgspec import UNSET

from headwater import clock
from headwater.errors import DataError
from headwater.pipelines.predict import Predicted, Predictor
from headwater.pipelines.quick import Answer, Answers
from headwater.serving.answers import FeatureWriter, encode, moment_text, predicted, timing
from headwater.serving.asked import AnyAsked, Asked, AskedPrediction, AskedRanking, Columns, Row
from headwater.serving.service import Service

MOST_ROWS = 10_000
"""Rows in one request."""


class Said(NamedTuple):
    """An answer: its body, how many rows it is about, and what watchers count.

    statuses: of features, places in `engines.asides.STATUSES`; one text of bytes a row or a feature. how: of each prediction. stages:
    the seconds that each took. again: in how many seconds to ask again.
    """

    body: bytes
    rows: int
    statuses: Sequence[bytes] = ()
    how: Sequence[str] = ()
    stages: Mapping[str, float] = {}
    status: int = 200
    again: int | None = None


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


def features(service: Service, name: str, asked: Asked, t: int) -> Said:
    """`POST /v1/features/{service}`."""
    begin = clock.stopwatch()
    online, reader, writer = service.open(name, asked.level)
    if type(asked.row) is dict:
        answer = online.row(reader.row(asked.row), t=t)
        read = clock.stopwatch()
        body = writer.compact(answer, t) if asked.compact else writer.one(answer, t)
        return Said(body, 1, (answer.statuses,), (), {"read": read - begin, "write": clock.stopwatch() - read})
    columns = asked.rows is UNSET
    answers = online.rows(reader.columns(cast("Columns", asked.columns)) if columns else reader.rows(cast("list[Row]", asked.rows)), t=t)
    read = clock.stopwatch()
    body = writer.compact_many(answers, t) if asked.compact else writer.columns(answers, t) if columns else writer.rows(answers, t)
    return Said(body, len(answers.values[0]), answers.statuses, (), {"read": read - begin, "write": clock.stopwatch() - read})


def predict(service: Service, name: str, asked: AskedPrediction, t: int) -> Said:
    """`POST /v1/predict/{model}`."""
    predictor = service.predictor(name, asked.level)
    _, reader, writer = service.open(predictor.model.features.name, asked.level)
    head = _head(name, predictor, asked.level, t)
    if type(asked.row) is dict:
        one, answer, stages = predictor.one(reader.row(asked.row), t=t)
        told = _told(writer, answer, t) if asked.features else b""
        tail = b',"timing":' + timing(stages) + b"}" if asked.timing else b"}"
        body = b'%b,"prediction":%b%b}%b' % (head, predicted(one), told, tail)
        return Said(body, 1, () if answer is None else (answer.statuses,), (one.how,), stages)
    given = reader.rows(asked.rows) if type(asked.rows) is list else reader.columns(cast("Columns", asked.columns))
    many, answers, stages = predictor.many(given, t=t)
    tail = b',"timing":' + timing(stages) + b"}" if asked.timing else b"}"
    made = b",".join(_parts(writer, many, answers if asked.features else None, t))
    return Said(
        b'%b,"predictions":[%b]%b' % (head, made, tail),
        len(many),
        () if answers is None else answers.statuses,
        [one.how for one in many],
        stages,
    )


def rank(service: Service, name: str, asked: AskedRanking, t: int) -> Said:
    """`POST /v1/rank/{model}`."""
    ranker = service.ranker(name, asked.level)
    _, reader, writer = service.open(ranker.predictor.model.features.name, asked.level)
    candidates = asked.candidates
    if candidates is not None:
        candidates = [reader.shared(one, (ranker.item,)) if isinstance(one, dict) else one for one in candidates]  # type: ignore[misc]
    order = ranker.rank(reader.shared(asked.row, ranker.asks), candidates, asked.k, t=t)
    answers = order.features
    parts = [b'{"item":%b,"score":%b' % (encode(item), encode(one.value)) for item, one in order.items]
    if asked.features and answers is not None:
        rows = zip(zip(*answers.values, strict=True), map(bytes, zip(*answers.statuses, strict=True)), strict=True)
        parts = [b'%b,"features":%b' % (part, writer.features(*row, answers.moments, t)) for part, row in zip(parts, rows, strict=True)]
    how, age = (order.items[0][1].how, order.items[0][1].age) if order.items else ("on_request", 0.0)
    tail = b',"timing":' + timing(order.stages) + b"}" if asked.timing else b"}"
    about = b'"how":"%b","age":%.6f,"candidates":%d' % (how.encode(), age, order.candidates)
    body = b'%b,%b,"items":[%b]%b' % (_head(name, ranker.predictor, asked.level, t), about, b",".join(part + b"}" for part in parts), tail)
    return Said(body, order.candidates, () if answers is None else answers.statuses, [how] * len(parts), order.stages)


def _head(name: str, predictor: Predictor, level: str | None, t: int) -> bytes:
    """What every prediction begins with."""
    said = (encode(name), encode(predictor.scorer.version), encode(level), moment_text(t).encode())
    return b'{"model":%b,"version":%b,"level":%b,"at":"%b"' % said


def _parts(writer: FeatureWriter, many: Sequence[Predicted], answers: Answers | None, t: int) -> list[bytes]:
    if answers is None:
        return [predicted(one) + b"}" for one in many]
    rows = zip(zip(*answers.values, strict=True), map(bytes, zip(*answers.statuses, strict=True)), strict=True)
    return [b'%b,"features":%b}' % (predicted(one), writer.features(*row, answers.moments, t)) for one, row in zip(many, rows, strict=True)]


def _told(writer: FeatureWriter, answer: Answer | None, t: int) -> bytes:
    """A prediction's features."""
    return b"" if answer is None else b',"features":' + writer.features(answer.values, answer.statuses, answer.moments, t)


def _checked(count: int, what: str) -> int:
    if not 0 < count <= MOST_ROWS:
        raise DataError(f"the request has {count:,} {what}; give 1 to {MOST_ROWS:,}")
    return count
