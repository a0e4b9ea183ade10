"""Fetch a consumer's records in batches, without a Python object each, by the C API of the
librdkafka that confluent-kafka has loaded.

Only records take this path: `forward` redirects a partition's queue to one of our own. Confluent's
consumer does the rest: assignment, pauses, positions, callbacks, errors of no single partition,
closing.

Compiled loops over librdkafka's messages.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from headwater.ingestion.serde.json import Payloads, concatenated, taken
from headwater.ingestion.sources.kafka_client import ck, stamps_of
from headwater.kernel.addresses import byte, call, call_with, integer, word
from headwater.kernel.arrays import I64, U8, Bool
from headwater.kernel.compile_cache import njit

_LOG = logging.getLogger(__name__)

# of librdkafka: its C API, and confluent's use of it, change with the first number
_VERSIONS: Final = (0x02000000, 0x03000000)

_NONE: Final = -1001  # the offset of a record that has none

_PURGED: Final = -152  # the error of a record that was not sent

_P, _I, _L, _Z, _S = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t, ctypes.c_char_p

_FUNCTIONS: Final[dict[str, tuple[object, ...]]] = {  # the result, then the arguments
    "version": (_I,),
    "name": (_S, _P),
    "conf_new": (_P,),
    "conf_set": (_I, _P, _S, _S, _P, _Z),
    "conf_set_events": (None, _P, _I),
    "new": (_P, _I, _P, _P, _Z),
    "destroy": (None, _P),
    "topic_new": (_P, _P, _S, _P),
    "topic_destroy": (None, _P),
    "produce": (_I, _P, ctypes.c_int32, _I, _P, _Z, _P, _Z, _P),
    "purge": (_I, _P, _I),
    "queue_get_main": (_P, _P),
    "queue_poll": (_P, _P, _I),
    "event_message_next": (_P, _P),
    "event_destroy": (None, _P),
    "queue_new": (_P, _P),
    "queue_get_partition": (_P, _P, _S, ctypes.c_int32),
    "queue_forward": (None, _P, _P),
    "queue_destroy": (None, _P),
    "consume_batch_queue": (ctypes.c_ssize_t, _P, _I, _P, _Z),
    "message_timestamp": (_L, _P, _P),
    "message_errstr": (_S, _P),
    "message_destroy": (None, _P),
}


class Fault(NamedTuple):
    """An event in place of a record: an error of a partition, or the end of a partition at an
    offset.
    """

    error: ck.KafkaError
    partition: int
    offset: int


@dataclass(frozen=True)
class Fetched:
    """The n records of a fetch, and the faults.

    partition, offset: int64 (n). stamp: int64 (n), milliseconds, negative where a record has no
    time. by_broker: bool (n), whether it is the broker's time. payloads: (n), None for a tombstone.
    """

    partition: I64
    offset: I64
    stamp: I64
    by_broker: Bool
    payloads: Sequence[bytes | None]
    faults: Sequence[Fault] = ()

    def __bool__(self) -> bool:
        return bool(len(self.offset) or self.faults)

    @classmethod
    def from_messages(cls, messages: Sequence[ck.Message]) -> Fetched:
        """From message objects of confluent's consumer."""
        stamps, faults = stamps_of(messages), list[Fault]()
        if not stamps[:, 0].all():  # no time is given for errors, nor for records of before 2016
            errors = ((message.error(), message) for message in messages)
            faults = [
                Fault(error, message.partition() or 0, message.offset() or 0)
                for error, message in errors
                if error is not None
            ]
            messages = [message for message in messages if message.error() is None]
            stamps = stamps_of(messages)
        n = len(messages)
        return cls(
            np.fromiter(map(ck.Message.partition, messages), np.int64, n),
            np.fromiter(map(ck.Message.offset, messages), np.int64, n),
            stamps[:, 1],
            stamps[:, 0] == ck.TIMESTAMP_LOG_APPEND_TIME,
            list(map(ck.Message.value, messages)),
            faults,
        )

    def take(self, index: I64) -> Fetched:
        """Some of the records, and all faults."""
        return Fetched(
            self.partition[index],
            self.offset[index],
            self.stamp[index],
            self.by_broker[index],
            taken(self.payloads, index),
            self.faults,
        )


class Fetcher:
    """Takes records from a consumer as message objects."""

    def __init__(self, consumer: ck.Consumer) -> None:
        self._consumer = consumer

    def forward(self, topic: str, partition: int) -> None:
        """Take the records of an assigned partition from now on; called while none was fetched of
        it, or before a seek.
        """

    def fetch(self, most: int, timeout: float) -> Fetched:
        """At most so many records; waits so many seconds for the first. Calls the consumer's
        callbacks.
        """
        messages = self._consumer.consume(most, 0)
        if not messages and timeout:
            messages = self._consumer.consume(1, timeout)
            if messages and most > 1:
                messages += self._consumer.consume(most - 1, 0)
        return Fetched.from_messages(messages)

    def close(self) -> None:
        """Release the queue; call it before the consumer is closed."""


class BatchFetcher(Fetcher):
    """Takes records from a consumer in batches, without message objects."""

    def __init__(self, consumer: ck.Consumer, library: ctypes.CDLL, handle: int) -> None:
        super().__init__(consumer)
        self._library, self._handle = library, handle
        self._queue: int = library.rd_kafka_queue_new(handle)
        # else a consumer without `close` waits for it
        self._closed = weakref.finalize(self, library.rd_kafka_queue_destroy, self._queue)
        self._address = [
            ctypes.cast(getattr(library, f"rd_kafka_message_{name}"), _P).value or 0
            for name in ("timestamp", "destroy")
        ]
        self._messages = np.zeros(0, np.int64)

    def forward(self, topic: str, partition: int) -> None:
        """See `Fetcher`. librdkafka keeps forwarding until the partition is revoked, and drops
        records fetched before a seek.
        """
        queue = self._library.rd_kafka_queue_get_partition(self._handle, topic.encode(), partition)
        self._library.rd_kafka_queue_forward(queue, self._queue)
        self._library.rd_kafka_queue_destroy(queue)

    def fetch(self, most: int, timeout: float) -> Fetched:
        """See `Fetcher`."""
        others = super().fetch(most, 0.0)  # errors beyond a partition; calls callbacks
        if others:
            return others
        fetched = self._take(most, 0)
        if not fetched and timeout:
            fetched = self._take(1, round(timeout * 1000))
            if len(fetched.offset) and most > 1:
                more = self._take(most - 1, 0)
                fetched = _both(fetched, more) if more else fetched
        return fetched

    def close(self) -> None:
        """See `Fetcher`."""
        self._closed()

    def _take(self, most: int, milliseconds: int) -> Fetched:
        if len(self._messages) < most:
            self._messages = np.zeros(most, np.int64)
        count = max(
            0,
            self._library.rd_kafka_consume_batch_queue(
                self._queue, milliseconds, self._messages.ctypes.data, most
            ),
        )
        messages = self._messages[:count]
        try:
            failed, size = measured(messages)
            faults = [self._fault(message) for message in messages[failed].tolist()]
            messages_of_records = messages[~failed] if faults else messages
            n = len(messages_of_records)
            numbers, data = np.empty((6, n), np.int64), np.empty(size, np.uint8)
            copied(messages_of_records, self._address[0], numbers, data)
        finally:
            destroyed(messages, self._address[1])
        partition, offset, begin, length, kind, stamp = numbers
        return Fetched(
            partition,
            offset,
            stamp,
            kind == ck.TIMESTAMP_LOG_APPEND_TIME,
            Payloads(data, begin, length),
            faults,
        )

    def _fault(self, message: int) -> Fault:
        raw = RawMessage.from_address(message)
        text = (self._library.rd_kafka_message_errstr(message) or b"").decode(errors="replace")
        return Fault(ck.KafkaError(raw.err, text), raw.partition, raw.offset)


def _both(first: Fetched, second: Fetched) -> Fetched:
    """Records one after the other."""
    return Fetched(
        np.concatenate([first.partition, second.partition]),
        np.concatenate([first.offset, second.offset]),
        np.concatenate([first.stamp, second.stamp]),
        np.concatenate([first.by_broker, second.by_broker]),
        concatenated([first.payloads, second.payloads]),
        [*first.faults, *second.faults],
    )


def fetcher(consumer: ck.Consumer, client: str) -> Fetcher:
    """The fastest fetcher that works for a consumer; client: its client.id."""
    library = loaded()
    if isinstance(library, str):
        return Fetcher(consumer)
    # confluent's struct begins with the handle
    handle = ctypes.c_void_p.from_address(id(consumer) + object.__basicsize__).value
    if not handle or not (library.rd_kafka_name(handle) or b"").startswith(
        f"{client}#consumer-".encode()
    ):
        _LOG.warning(
            "records of Kafka are read one by one: confluent-kafka %s keeps its consumer in "
            "another way",
            ck.__version__,
        )
        return Fetcher(consumer)
    return BatchFetcher(consumer, library, handle)


@lru_cache(maxsize=1)
def loaded() -> ctypes.CDLL | str:
    """The librdkafka that confluent-kafka has loaded; or, logged once, why it cannot be called from
    here.
    """
    why = (
        "this is not CPython of 64 bits"
        if sys.implementation.name != "cpython" or sys.maxsize < 2**32
        else ""
    )
    try:
        # a symbol is looked up in the libraries that it has loaded, too
        library = ctypes.CDLL(ck.cimpl.__file__)
        for name, (result, *arguments) in _FUNCTIONS.items():
            function: Callable[..., object] = getattr(library, f"rd_kafka_{name}")
            function.restype, function.argtypes = result, arguments  # type: ignore[attr-defined]
        if (
            not _VERSIONS[0] <= library.rd_kafka_version() < _VERSIONS[1]
            or library.rd_kafka_version() != ck.libversion()[1]
        ):
            why = why or f"librdkafka {library.rd_kafka_version():x} is not of version 2"
        why = why or _mismatch(library)
    except (OSError, AttributeError) as error:
        why = why or str(error)
    if why:
        _LOG.warning("records of Kafka are read one by one: %s", why)
        return why
    return library


def _mismatch(library: ctypes.CDLL) -> str:
    """Check the layout of messages on one that is never sent: the difference, or "" if it is as
    expected.
    """
    conf, why = library.rd_kafka_conf_new(), ctypes.create_string_buffer(256)
    library.rd_kafka_conf_set(conf, b"log_level", b"0", why, 256)
    library.rd_kafka_conf_set_events(conf, 1)  # deliveries
    producer = library.rd_kafka_new(0, conf, why, 256)
    if not producer:
        return why.value.decode(errors="replace")
    topic, queue = (
        library.rd_kafka_topic_new(producer, b"layout", None),
        library.rd_kafka_queue_get_main(producer),
    )
    library.rd_kafka_produce(topic, 3, 2, b"payload", 7, b"key", 3, None)
    library.rd_kafka_purge(producer, 1)
    event = library.rd_kafka_queue_poll(queue, 5_000)
    message = library.rd_kafka_event_message_next(event) if event else None
    seen: tuple[object, ...] = ()
    if message:
        raw = RawMessage.from_address(message)
        payload, key = (
            ctypes.string_at(at, size) if at and size < 100 else b""
            for at, size in ((raw.payload, raw.len), (raw.key, raw.key_len))
        )
        seen = (raw.err, raw.rkt == topic, raw.partition, payload, key, raw.offset)
    if event:
        library.rd_kafka_event_destroy(event)
    library.rd_kafka_queue_destroy(queue)
    library.rd_kafka_topic_destroy(topic)
    library.rd_kafka_destroy(producer)
    expected = (_PURGED, True, 3, b"payload", b"key", _NONE)
    return "" if seen == expected else f"messages of librdkafka are laid out in another way: {seen}"


class RawMessage(ctypes.Structure):
    """`rd_kafka_message_t`, whose layout is a part of librdkafka's C API."""

    _fields_ = (
        ("err", ctypes.c_int32),
        ("rkt", ctypes.c_void_p),
        ("partition", ctypes.c_int32),
        ("payload", ctypes.c_void_p),
        ("len", ctypes.c_size_t),
        ("key", ctypes.c_void_p),
        ("key_len", ctypes.c_size_t),
        ("offset", ctypes.c_int64),
        ("_private", ctypes.c_void_p),
    )


_ERR, _PARTITION, _PAYLOAD, _LEN, _OFFSET = (
    int(getattr(RawMessage, name).offset)
    for name in ("err", "partition", "payload", "len", "offset")
)


@njit()
def measured(messages: I64) -> tuple[Bool, int]:
    """Which messages are errors, bool (n), and the total size of the payloads of the others in
    bytes. messages: int64 (n), addresses.
    """
    failed, size = np.zeros(len(messages), np.bool_), 0
    for n in range(len(messages)):
        failed[n] = integer(messages[n], _ERR) != 0
        if not failed[n]:
            size += word(messages[n], _LEN)
    return failed, size


@njit()
def copied(messages: I64, timestamp: int, numbers: I64, data: U8) -> None:
    """Copy n messages without errors.

    timestamp: the address of `rd_kafka_message_timestamp`. numbers: int64 (6, n), written:
    partition, offset, the begin of the payload in `data` and its size (-1 for none), the kind of
    time, milliseconds. data: uint8, written.
    """
    at, kind = 0, np.zeros(1, np.int32)
    for n in range(len(messages)):
        message = messages[n]
        payload, size = word(message, _PAYLOAD), word(message, _LEN)
        numbers[0, n], numbers[1, n] = integer(message, _PARTITION), word(message, _OFFSET)
        numbers[2, n], numbers[3, n] = at, size if payload else -1
        if payload:
            for offset in range(size):
                data[at + offset] = byte(payload, offset)
            at += size
        numbers[5, n] = call_with(timestamp, message, kind.ctypes.data)
        numbers[4, n] = kind[0]


@njit()
def destroyed(messages: I64, destroy: int) -> None:
    """Destroy messages; destroy: the address of `rd_kafka_message_destroy`."""
    for n in range(len(messages)):
        call(destroy, messages[n])
