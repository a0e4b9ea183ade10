"""Responses as JSON: features with status, age, T and K, and predictions. Names are encoded once; the rest by msgspec."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from headwater.events.statuses import STATUSES
from headwater.online.compiled_reader import FeatureVector, FeatureVectors
from headwater.online.feature_reader import OnlineFeatures
from headwater.online.predictor import Predicted, ThirdPartyValues
from headwater.online.read_versions import ReadVersion

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BOOL: Final = (b"false", b"true")
_MANY: Final = 4096  # status patterns that are cached
_WORDS: Final = tuple(f'"{word}"'.encode() for word in STATUSES)

encode: Final = msgspec.json.Encoder().encode


def moment_text(micros: int) -> str:
    """Microseconds since 1970 as ISO 8601 in UTC.

    >>> moment_text(1_714_564_800_000_000)
    '2024-05-01T12:00:00.000000Z'
    """
    second, rest = divmod(micros, 1_000_000)
    return f"{_second(second)}.{rest:06}Z"


@functools.lru_cache(1024)
def _second(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S")


class ResponseEncoder:
    """Encodes the features of one service at one level.

    In full form, each feature is an object: value, status, stale, incomplete, age in seconds, T and K in ISO 8601. In compact form, names,
    values and statuses are arrays, and T and K, in microseconds, are given once a view. Third parties count as views: results use the
    read versions that `read_versions` returns.
    """

    def __init__(self, features: OnlineFeatures, level: str | None) -> None:
        self.names = features.names
        service = features.service
        self._parties = [http.name for http in service.http_features]
        owners = {name: len(service.views) + n for n, http in enumerate(service.http_features) for name in http.feature_names}
        self.of = tuple(owners.get(name, of) for name, of in zip(features.names, features.of, strict=True))
        self._keys = [encode(name) + b':{"value":' for name in features.names]
        self._head = b'{"service":%b,"level":%b,"at":' % (encode(features.service.name), encode(level))
        self._compact = (
            self._head
            + b"%d,"
            + b'"names":'
            + encode(list(features.names)).replace(b"%", b"%%")
            + b',"statuses":%b,"views":{%b},"values":%b}'
        )
        self._views = [encode(name) + b":" for name in (*(view.name for view in service.views), *self._parties)]
        self._words: dict[bytes, bytes] = {}

    def read_versions(self, read_versions: Sequence[ReadVersion], third_party: ThirdPartyValues | None, t: int) -> list[ReadVersion]:
        """The read version of each view, then of each third party; the request time where a third party has no values."""
        ages = {} if third_party is None else third_party.ages
        return [*read_versions, *(ReadVersion(t, t - round(ages.get(party, 0.0) * 1e6), {}, stale=False) for party in self._parties)]

    def one(self, answer: FeatureVector, t: int) -> bytes:
        """The features of one row, in full form."""
        return b'%b"%b","features":%b}' % (
            self._head,
            moment_text(t).encode(),
            self.features(answer.values, answer.statuses, answer.read_versions, t),
        )

    def features(self, values: Sequence[object], statuses: bytes, read_versions: Sequence[ReadVersion], t: int) -> bytes:
        """A JSON object with an object a feature."""
        ends = [*self._ends(read_versions, t), _end(ReadVersion(t, t, {}, stale=False), t)]
        parts = [
            b"%b%b,%b" % (key, encode(value), ends[of][status])
            for key, value, status, of in zip(self._keys, values, statuses, self.of, strict=True)
        ]
        return b"{" + b",".join(parts) + b"}"

    def rows(self, answers: FeatureVectors, t: int) -> bytes:
        """The features of several rows, in full form, row by row."""
        pairs = zip(zip(*answers.values, strict=True), map(bytes, zip(*answers.statuses, strict=True)), strict=True)
        rows = b",".join(self.features(values, statuses, answers.read_versions, t) for values, statuses in pairs)
        return b'%b"%b","rows":[%b]}' % (self._head, moment_text(t).encode(), rows)

    def columns(self, answers: FeatureVectors, t: int) -> bytes:
        """The features of several rows, in full form, each with the values and statuses of all rows."""
        parts = []
        ends = [*answers.read_versions, ReadVersion(t, t, {}, stale=False)]
        for name, values, statuses, of in zip(self.names, answers.values, answers.statuses, self.of, strict=True):
            T, K, _, stale, incomplete = ends[of]
            shared = {"stale": stale, "incomplete": incomplete, "age": (t - K) / 1e6, "T": moment_text(T), "K": moment_text(K)}
            parts.append(encode(name) + b":" + encode({"values": values, "statuses": [STATUSES[code] for code in statuses], **shared}))
        return b'%b"%b","features":{%b}}' % (self._head, moment_text(t).encode(), b",".join(parts))

    def compact(self, answer: FeatureVector, t: int) -> bytes:
        """The features of one row, in compact form."""
        statuses = self._words.get(answer.statuses)
        return self._compact % (
            t,
            statuses or self._encode_statuses(answer.statuses),
            self._shared(answer.read_versions, t),
            encode(answer.values),
        )

    def compact_many(self, answers: FeatureVectors, t: int) -> bytes:
        """The features of several rows, in compact form: `values` and `statuses` have an array a feature."""
        statuses = b"[" + b",".join(self._encode_statuses(codes) for codes in answers.statuses) + b"]"
        return self._compact % (t, statuses, self._shared(answers.read_versions, t), encode(answers.values))

    def _shared(self, read_versions: Sequence[ReadVersion], t: int) -> bytes:
        """The fields given once a view; views of one source mostly share a read version."""
        parts, last, text = [], None, b""
        for name, read_version in zip(self._views, read_versions, strict=True):
            if read_version is not last:
                last = read_version
                T, K, _, stale, incomplete = read_version
                text = b'{"T":%d,"K":%d,"age":%.6f,"stale":%b,"incomplete":%b}' % (T, K, (t - K) / 1e6, _BOOL[stale], _BOOL[incomplete])
            parts.append(name + text)
        return b",".join(parts)

    def _encode_statuses(self, statuses: bytes) -> bytes:
        """Statuses as an array of names; frequent patterns are cached."""
        words = self._words.get(statuses)
        if words is None:
            words = b"[" + b",".join([_WORDS[code] for code in statuses]) + b"]"
            if len(self._words) < _MANY:
                self._words[statuses] = words
        return words

    def _ends(self, read_versions: Sequence[ReadVersion], t: int) -> list[list[bytes]]:
        """For each view, the fields after a value, by its status."""
        known: dict[tuple[int, int, bool, bool], list[bytes]] = {}
        ends = []
        for read_version in read_versions:
            key = (read_version.T, read_version.K, read_version.stale, read_version.incomplete)
            if key not in known:
                known[key] = _end(read_version, t)
            ends.append(known[key])
        return ends


def predicted(prediction: Predicted) -> bytes:
    """One prediction, without its closing brace."""
    return b'{"value":%b,"how":"%b","age":%.6f' % (encode(prediction.value), prediction.how.encode(), prediction.age)


def timing(stages: Mapping[str, float]) -> bytes:
    """The milliseconds of each stage."""
    return encode({name: round(seconds * 1000, 4) for name, seconds in stages.items()})


def _end(read_version: ReadVersion, t: int) -> list[bytes]:
    end = b',"stale":%b,"incomplete":%b,"age":%.6f,"T":"%b","K":"%b"}' % (
        _BOOL[read_version.stale],
        _BOOL[read_version.incomplete],
        (t - read_version.K) / 1e6,
        moment_text(read_version.T).encode(),
        moment_text(read_version.K).encode(),
    )
    return [b'"status":' + word + end for word in _WORDS]
