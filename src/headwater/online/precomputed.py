"""Precomputed predictions, looked up at request time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headwater import clock
from headwater.definitions.level import ModelVariant
from headwater.definitions.model import PredictionOrigin
from headwater.definitions.project import fingerprint, precomputed_of
from headwater.errors import StaleError, StoreError
from headwater.kernel.as_of import lookup
from headwater.online.key_encoder import KeyColumn, KeyEncoder
from headwater.state import prediction_codec
from headwater.state.prediction_codec import Items, PrecomputedCut, PrecomputedState
from headwater.stores import OnlineStore, keyspace

Value = float | tuple[float, ...] | Items
"""A score, one for each class, or a list in order with the score of each item."""


class PrecomputedPrediction(NamedTuple):
    """The precomputed prediction of one request.

    value: None where there is none. how: `precomputed`, or how a request without a score is
    answered: `on_request` or `default`.
    cut: the one that was read, with T, K, when it was published, and the model's version; None
    where none is. age: seconds from K to the moment of asking. stale: whether a later cut was
    promised by then.
    """

    value: Value | None
    how: PredictionOrigin
    cut: PrecomputedCut | None
    age: float
    stale: bool


class PrecomputedPredictions(NamedTuple):
    """As `PrecomputedPrediction`, for many requests: a value and a `how` for each; all are of one
    cut.
    """

    values: list[Value | None]
    how: list[PredictionOrigin]
    cut: PrecomputedCut | None
    age: float
    stale: bool


class PrecomputedReader:
    """Reader of the precomputed predictions of a variant in an online store; made once for many
    reads.

    `definition` says how they are made.

    Raises:
        UsageError: the variant is predicted on request.
    """

    def __init__(self, variant: ModelVariant, store: OnlineStore) -> None:
        self.variant, self.store, self.definition = variant, store, precomputed_of(variant)
        schedule = self.definition.freshness.schedule
        assert schedule is not None
        self._fingerprint = fingerprint(variant, store.namespace)
        self._head, self._begin = (
            prediction_codec.state_key(self._fingerprint),
            keyspace.records(self._fingerprint),
        )
        self._due = lookup(schedule)
        self._head_bytes: bytes | None = None
        self._held: PrecomputedState | None = None
        self._keys: KeyEncoder | None = None

    def __repr__(self) -> str:
        return f"PrecomputedReader({self.variant}, {self.definition.freshness})"

    def one(self, request: Mapping[str, object], t: int | None = None) -> PrecomputedPrediction:
        """The precomputed prediction of one request at t: microseconds, None is now.

        Raises:
            DataError: the request lacks a key, or has one of another type.
            StaleError: the predictions are older than promised, and on_stale="refuse".
            StoreError: no predictions were made yet, and no prediction on request stands in.
        """
        t = clock.now_micros() if t is None else t
        if self._keys is None:
            self._take_up(self.store.get([self._head])[0])
        keys = self._keys
        key = None if keys is None else keys.one(request)
        if key is None:
            head, *pair = self.store.get([self._head, keyspace.NOWHERE, keyspace.NOWHERE])
        else:
            stem = self._begin + key
            head, *pair = self.store.get(
                [self._head, stem + prediction_codec.SLOTS[0], stem + prediction_codec.SLOTS[1]]
            )
        if head != self._head_bytes and not self._take_up(head):
            return self.one(request, t)  # keys are of other types now
        cut, stale = self._read_version(t)
        if cut is None:
            return PrecomputedPrediction(None, self.definition.otherwise, None, 0.0, stale)
        value = (
            None
            if stale and self.definition.on_stale == "null"
            else _value(pair[cut.number % 2], cut)
        )
        return PrecomputedPrediction(
            value,
            self.definition.otherwise if value is None else "precomputed",
            cut,
            (t - cut.K) / 1e6,
            stale,
        )

    def many(
        self, requests: Mapping[str, Sequence[object]], count: int, t: int | None = None
    ) -> PrecomputedPredictions:
        """As `one`, of `count` requests whose keys stand in columns."""
        t = clock.now_micros() if t is None else t
        if self._keys is None:
            self._take_up(self.store.get([self._head])[0])
        keys: Sequence[bytes | None] = (
            [None] * count if self._keys is None else self._keys.many(requests, count)
        )
        places = [
            keyspace.NOWHERE if key is None else self._begin + key + slot
            for key in keys
            for slot in prediction_codec.SLOTS
        ]
        head, *records = self.store.get([self._head, *places])
        if head != self._head_bytes and not self._take_up(head):
            return self.many(requests, count, t)
        cut, stale = self._read_version(t)
        if cut is None:
            return PrecomputedPredictions(
                [None] * count, [self.definition.otherwise] * count, None, 0.0, stale
            )
        none = stale and self.definition.on_stale == "null"
        values = [None if none else _value(record, cut) for record in records[cut.number % 2 :: 2]]
        origins: list[PredictionOrigin] = [
            self.definition.otherwise if value is None else "precomputed" for value in values
        ]
        return PrecomputedPredictions(values, origins, cut, (t - cut.K) / 1e6, stale)

    def _take_up(self, head: bytes | None) -> bool:
        """Keep the stored state of the predictions. False if the types of the keys changed."""
        before, self._head_bytes, self._held = self._held, head, prediction_codec.decoded(head)
        if self._held is None or (before is not None and before.schema == self._held.schema):
            return True
        columns = [KeyColumn(name, name, dtype) for name, dtype in self._held.dtypes.items()]
        self._keys = KeyEncoder(columns, f"the prediction of model {self.variant.model.name!r}")
        return False

    def _read_version(self, t: int) -> tuple[PrecomputedCut | None, bool]:
        """The cut that is read at t, and whether another one was promised: a later one, or it is of
        a time that has not come.
        """
        due = self._due.at(t)
        cut = None if self._held is None else self._held.cut(due)
        if cut is None:
            if not self.definition.on_request:
                model, level = self.variant.model.name, self.variant.name
                raise StoreError(
                    f"no predictions of model {model!r} at level {level!r} were made yet; run "
                    f"`headwater materialize {model}`"
                )
            return None, True
        if due != cut.T and self.definition.on_stale == "refuse":
            raise StaleError(
                f"the predictions of model {self.variant.model.name!r} are older than promised "
                f"({self.definition.freshness}), and have on_stale='refuse'; see `headwater "
                "status`"
            )
        return cut, due != cut.T


def _value(record: bytes | None, cut: PrecomputedCut) -> Value | None:
    """What a record says, if it is of this cut."""
    if record is None or prediction_codec.number_of(record) != cut.number:
        return None
    if not cut.names:
        return prediction_codec.unpacked_list(record)
    scores = prediction_codec.unpacked(record, len(cut.names))
    return scores[0] if len(scores) == 1 else scores
