"""A look at a Kinesis stream from outside: how long it keeps records, and its last records. Nothing
of it changes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from headwater import clock
from headwater.aws import AwsClient
from headwater.definitions.kinesis_stream import KinesisStream
from headwater.ingestion.sources.kinesis import Shard, connected, described, payloads_of
from headwater.ingestion.sources.topic_sample import TopicSample

# seconds: a stream is only read forwards, so from a minute ago, then from longer ago
_BACK: Final = (60.0, 600.0, 3_600.0, 86_400.0)
_LIMIT: Final = 10_000


class _Row(NamedTuple):
    key: bytes
    payload: bytes
    arrived: int


def look(spec: KinesisStream, *, records: int, watch: float) -> TopicSample:  # noqa: ARG001 (each record says when it arrived)
    """Read about the last `records` of a stream.

    Raises:
        ConnectError: no answer, access refused, or the stream does not exist. MissingExtraError:
            boto3 is not installed.
    """
    client = connected(spec, patience=10.0)
    stream = described(client, spec)
    per_shard = max(1, records // max(1, len(stream.shards)))
    rows = [_last(client, spec, shard, per_shard) for shard in stream.shards.values()]
    settings = {
        "retention.ms": str(stream.retention),
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
    }
    every = [row for some in rows for row in some]
    stamp = np.array([row.arrived for row in every], np.int64)
    return TopicSample(
        settings,
        dict.fromkeys(range(len(rows)), 0),
        {n: len(some) for n, some in enumerate(rows)},
        np.repeat(np.arange(len(rows)), [len(some) for some in rows]),
        np.concatenate([np.arange(len(some)) for some in rows]) if rows else stamp,
        stamp,
        [row.key for row in every],
        [row.payload for row in every],
        np.full(len(every), -1),
        0.0,
    )


def _last(client: AwsClient, spec: KinesisStream, shard: Shard, count: int) -> list[_Row]:
    """The records of a shard since a minute ago, at most so many; since longer ago where these are
    fewer.
    """
    rows: list[_Row] = []
    for seconds in _BACK:
        rows = _since(client, spec, shard, clock.now_micros() / 1e6 - seconds, count)
        if len(rows) >= count:
            break
    return rows[-count:]


def _since(
    client: AwsClient, spec: KinesisStream, shard: Shard, since: float, count: int
) -> list[_Row]:
    rows: list[_Row] = []
    request = {
        "StreamName": spec.stream,
        "ShardId": shard.name,
        "ShardIteratorType": "AT_TIMESTAMP",
        "Timestamp": since,
    }
    iterator = client.call("get_shard_iterator", request)["ShardIterator"]
    while iterator and len(rows) < count:
        answer = client.call(
            "get_records", {"ShardIterator": iterator, "Limit": min(_LIMIT, count)}
        )
        for record in answer["Records"]:
            at, key = (
                round(record["ApproximateArrivalTimestamp"].timestamp() * 1e6),
                record["PartitionKey"].encode(),
            )
            rows += [
                _Row(key, payload, at)
                for payload in payloads_of(record["Data"], shard.first_hash, shard.last_hash)
            ]
        iterator = answer.get("NextShardIterator")
        if not answer["Records"] and not answer.get("MillisBehindLatest"):
            break
    return rows
