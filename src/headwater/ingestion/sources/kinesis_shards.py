"""Shards of a Kinesis stream: which there are, what comes from what, and positions in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from headwater.aws import Answer, AwsClient, AwsRefusedError
from headwater.definitions.connectors import Env
from headwater.definitions.kinesis_stream import KinesisStream
from headwater.errors import ConnectError, nearest
from headwater.ingestion.sources.stream_reader import Position
from headwater.settings import secret

NOT_FOUND: Final = "ResourceNotFoundException"
FIRST, ENDED = "first", "ended"
StartingPosition = Mapping[str, object]
"""As requests of Kinesis name a position."""


@dataclass(frozen=True)
class ShardPosition:
    """A place in a shard.

    count: how many records were read before it. at: by when all that had arrived was read,
    milliseconds; 0 where that is not known.
    place: FIRST, "@" and the milliseconds of the first arrival to read, the sequence number of the
    last record that was read, or ENDED.
    stream: when the stream was created, milliseconds; another stream of its name has other sequence
    numbers.

    >>> ShardPosition(7, 1000, "4956", 12).encoded()
    b'7 1000 4956 12'
    >>> ShardPosition.decoded(b"7 1000 4956 12").place
    '4956'
    """

    count: int
    at: int
    place: str
    stream: int

    def encoded(self) -> Position:
        return f"{self.count} {self.at} {self.place} {self.stream}".encode()

    @staticmethod
    def decoded(position: Position) -> ShardPosition:
        count, at, place, stream = position.decode().split(" ")
        return ShardPosition(int(count), int(at), place, int(stream))

    @property
    def ended(self) -> bool:
        """Whether the shard is closed, and was read to its end."""
        return self.place == ENDED

    @property
    def starting(self) -> StartingPosition:
        """From where a subscription reads on."""
        if self.place == FIRST:
            return {"Type": "TRIM_HORIZON"}
        if self.place.startswith("@"):
            return {"Type": "AT_TIMESTAMP", "Timestamp": int(self.place[1:]) / 1000}
        return {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": self.place}

    def end(self) -> ShardPosition:
        """The end of the shard."""
        return replace(self, place=ENDED)


@dataclass(frozen=True)
class Shard:
    """A shard that the stream lists. closed: whether it gets no more records. first_hash,
    last_hash: of the keys that it gets.
    """

    name: str
    parents: Sequence[str]
    closed: bool
    first_hash: int
    last_hash: int


@dataclass(frozen=True)
class StreamDescription:
    """created: when, milliseconds. retention: how long records are kept, milliseconds. shards: by
    name, in their order. arn: its own.
    """

    created: int
    retention: int
    shards: Mapping[str, Shard]
    arn: str = ""


def connected(spec: KinesisStream, *, patience: float = 300.0) -> AwsClient:
    """A client for a stream.

    Raises:
        MissingExtraError: boto3 is not installed. ConnectError: no region or credentials.
            UsageError: the environment lacks a variable.
    """
    url = spec.endpoint_url
    return AwsClient(
        "kinesis",
        spec.region,
        secret(url.name) if isinstance(url, Env) else url,
        patience=patience,
        connections=128,
    )


def described(
    client: AwsClient, spec: KinesisStream, *, patience: float | None = None
) -> StreamDescription:
    """How a stream is configured, and its shards, also closed ones that it still has records of.

    Raises:
        ConnectError: no answer, access refused, or the stream does not exist.
    """
    try:
        summary = client.call(
            "describe_stream_summary",
            {"StreamName": spec.stream},
            expected=[NOT_FOUND],
            patience=patience,
        )["StreamDescriptionSummary"]
        answers = [client.call("list_shards", {"StreamName": spec.stream}, expected=[NOT_FOUND])]
        while token := answers[-1].get("NextToken"):
            answers.append(client.call("list_shards", {"NextToken": token}, expected=[NOT_FOUND]))
    except AwsRefusedError as error:
        raise ConnectError(
            f"{spec} does not exist at {client.endpoint_url} in the region {client.region}: it "
            "was deleted, or region= or the account of the credentials is another one; "
            f"{_others(client, spec)}"
        ) from error
    shards = sorted(
        (_shard(item) for answer in answers for item in answer["Shards"]),
        key=lambda shard: shard.name,
    )
    return StreamDescription(
        round(summary["StreamCreationTimestamp"].timestamp() * 1000),
        int(summary["RetentionPeriodHours"]) * 3_600_000,
        {shard.name: shard for shard in shards},
        str(summary.get("StreamARN", "")),
    )


def _others(client: AwsClient, spec: KinesisStream) -> str:
    return nearest(spec.stream, client.call("list_streams", {})["StreamNames"])


def _shard(item: Answer) -> Shard:
    parents = [item[name] for name in ("ParentShardId", "AdjacentParentShardId") if item.get(name)]
    keys = item["HashKeyRange"]
    closed = "EndingSequenceNumber" in item["SequenceNumberRange"]
    return Shard(
        item["ShardId"], parents, closed, int(keys["StartingHashKey"]), int(keys["EndingHashKey"])
    )
