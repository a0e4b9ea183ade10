"""Logs in a Kafka topic: each record is a piece of a part, as a parquet file that fits into a record.

Key: the part's name, or of parts that continue each other their folder's, so that one partition has them in order. Headers: `part`, its
name; `piece`, the number of this one, from 0; `pieces`, how many the part has.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import date
from typing import Final, cast

import polars as pl

from headwater import clock
from headwater.definitions.streams import KafkaTopic
from headwater.errors import ConnectError, DataError
from headwater.ingestion.sources.kafka_client import PATIENCE, bare, ck, settings_of

_PIECE: Final = 900_000  # bytes of a record's value; brokers take 1 MB unless they are told otherwise
_POLL: Final = 1.0  # seconds


class KafkaLogs:
    """Parts in a topic. A producer that is idempotent and waits for all replicas writes them.

    Args:
        topic: with its servers and settings.
    """

    def __init__(self, topic: KafkaTopic) -> None:
        self._topic = topic
        self._producer: ck.Producer | None = None

    def __repr__(self) -> str:
        return f"KafkaLogs({str(self._topic)!r})"

    def put(self, name: str, frame: pl.DataFrame) -> None:
        """See `LogDestination`."""
        failures: list[ck.KafkaError] = []
        key = name if name.startswith("served/headwater_date=") else name.rpartition("/")[0]
        pieces = _pieces(frame, name)
        try:
            if self._producer is None:
                own = {"acks": "all", "enable.idempotence": True, "message.timeout.ms": round(PATIENCE * 1000), "log_level": 2}
                self._producer = ck.Producer(own | settings_of(self._topic))
            for number, piece in enumerate(pieces):
                headers: dict[str, str | bytes | None] = {"part": name, "piece": str(number), "pieces": str(len(pieces))}
                self._producer.produce(
                    self._topic.topic, piece, key, headers=headers, on_delivery=lambda error, _: failures.append(error) if error else None
                )
                self._producer.poll(0)
            left = self._producer.flush(2 * PATIENCE)
        except (ck.KafkaException, BufferError) as error:
            raise ConnectError(f"{self._topic}: {name} cannot be written: {error}") from error
        if failures or left:
            self._producer.purge()
            self._producer = None
            why = failures[0].str() if failures else f"no answer for {2 * PATIENCE:.0f} s"
            raise ConnectError(f"{self._topic} at {self._topic.servers!r}: {name} cannot be written: {why}")

    def parts(self, wanted: Callable[[str], bool], since: date | None = None) -> Iterator[tuple[str, pl.DataFrame]]:  # noqa: ARG002 (`wanted` has it)
        """See `LogDestination`. Records are read from the first to the last that is there now; a part that lacks a piece does not come."""
        pieces: dict[str, dict[int, bytes]] = {}
        with bare(self._topic) as consumer:
            ends = _ends(consumer, self._topic)
            consumer.assign([ck.TopicPartition(self._topic.topic, partition, first) for partition, (first, _) in ends.items()])
            until = clock.stopwatch() + PATIENCE
            while ends:
                for message in consumer.consume(100, _POLL):
                    until = clock.stopwatch() + PATIENCE
                    error, partition, offset = message.error(), cast("int", message.partition()), cast("int", message.offset())
                    if error is None:
                        yield from _complete(message, pieces, wanted)
                    elif error.code() != ck.KafkaError._PARTITION_EOF:  # noqa: SLF001 (as public as the others)
                        raise ConnectError(f"{self._topic}: {error.str()}")
                    if partition in ends and offset + (error is None) >= ends[partition][1]:
                        del ends[partition]
                if clock.stopwatch() > until:
                    raise ConnectError(f"{self._topic} at {self._topic.servers!r}: the broker does not answer; run the same command again")


def _ends(consumer: ck.Consumer, topic: KafkaTopic) -> dict[int, tuple[int, int]]:
    """By partition that has records, the first offset and the one after the last.

    Raises:
        DataError: there is no such topic.
    """
    partitions = consumer.list_topics(topic.topic, timeout=PATIENCE).topics[topic.topic].partitions
    if not partitions:
        raise DataError(f"{topic} does not exist at {topic.servers!r}; name another one, or ship logs to it first")
    ends = {partition: consumer.get_watermark_offsets(ck.TopicPartition(topic.topic, partition), PATIENCE) for partition in partitions}
    return {partition: (first, end) for partition, (first, end) in ends.items() if end > first}


def _complete(
    message: ck.Message, pieces: dict[str, dict[int, bytes]], wanted: Callable[[str], bool]
) -> Iterator[tuple[str, pl.DataFrame]]:
    """The part that a record completes, if it does."""
    given = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    headers = {name: value.decode(errors="replace") for name, value in given if value is not None}
    name, number, count = headers.get("part", ""), headers.get("piece", ""), headers.get("pieces", "")
    if not (number.isdecimal() and count.isdecimal() and wanted(name)):
        return
    known = pieces.setdefault(name, {})
    known[int(number)] = bytes(message.value() or b"")
    if known.keys() == set(range(int(count))):
        del pieces[name]
        try:
            yield name, pl.concat([pl.read_parquet(io.BytesIO(known[n])) for n in range(int(count))])
        except pl.exceptions.PolarsError as error:
            raise DataError(
                f"the part {name} of the topic is not parquet: {error}; was the topic written to by another program?"
            ) from error


def _pieces(frame: pl.DataFrame, name: str) -> list[bytes]:
    """A frame as parquet files that fit into a record each.

    Raises:
        DataError: a row does not.
    """
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    if buffer.tell() <= _PIECE:
        return [buffer.getvalue()]
    if frame.height < 2:
        raise DataError(
            f"a request in {name} takes {buffer.tell():,} bytes, and a record of Kafka {_PIECE:,}; ship the logs to an object store"
        )
    half = frame.height // 2
    return [*_pieces(frame[:half], name), *_pieces(frame[half:], name)]
