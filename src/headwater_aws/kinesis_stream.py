"""Streams of Amazon Kinesis, as values. `headwater_aws.kinesis_feed` reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from os import PathLike

from headwater.errors import HeadwaterError
from headwater.plugins import (
    BrokerStream,
    Env,
    Format,
    ProtobufMessage,
    Registry,
    Schema,
    Timestamps,
    check,
    parse_timestamp,
    record_format,
    refusal,
)

_STARTS = ("earliest", "latest")


@dataclass(frozen=True, eq=False, init=False)
class KinesisStream(BrokerStream, called="kinesis"):
    """The records of a stream of Amazon Kinesis Data Streams.

    One process reads all shards, and polls them. Credentials come from where every program with
    boto3 finds them: environment, profile or role.

    Args:
        stream: its name.
        region: such as "eu-central-1"; None takes that of environment or profile.
        endpoint_url: of an emulator or a private endpoint; None is the public one.
        format, schema, timestamps, registry, avro, message: as for `kafka`.
        start: where to begin in a stream that no position is known of: "earliest", "latest", or a
            timestamp, tz-aware or ISO 8601 with an offset, from which on records arrived. Shards
            that come from a split or a merge later begin at their beginning.

    Fields: `start` is "earliest", "latest", or microseconds since 1970 UTC.

    Raises:
        DefinitionError: a name, type or setting that does not exist, or formats and schemas that do
            not fit together.

    >>> print(kinesis("clicks", region="eu-central-1", schema={"user": str}))
    the Kinesis stream 'clicks'
    """

    stream: str
    region: str | None = field(metadata={"fingerprint": False})
    endpoint_url: str | Env | None = field(metadata={"fingerprint": False})
    format: Format
    schema: Schema | None
    timestamps: Timestamps
    registry: Registry | None = field(metadata={"fingerprint": False})
    avro: str | None
    message: ProtobufMessage | None
    start: str | int

    def __init__(  # noqa: PLR0913 (each is a keyword that a stream may need)
        self,
        stream: str,
        *,
        region: str | None = None,
        endpoint_url: str | Env | None = None,
        format: Format = "json",
        schema: Schema | None = None,
        timestamps: Timestamps = "iso",
        registry: Registry | str | Env | None = None,
        avro: str | PathLike[str] | None = None,
        message: ProtobufMessage | tuple[str, str] | None = None,
        start: str | datetime = "earliest",
    ) -> None:
        subject = f"kinesis({stream!r})"
        named = isinstance(stream, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,128}", stream)
        give = "a name of 1 to 128 letters, digits, dots, underscores and dashes; no ARN"
        check(named, stream, "kinesis(): stream", give)
        reachable = (
            endpoint_url is None
            or isinstance(endpoint_url, Env)
            or re.match(r"https?://", str(endpoint_url))
        )
        give = "a URL, such as 'http://localhost:4566', or env('NAME')"
        check(reachable, endpoint_url, f"{subject}: endpoint_url", give)
        records = record_format(subject, format, schema, timestamps, registry, avro, message)
        begin = _start(start, subject)
        self._set(
            stream=stream,
            region=region,
            endpoint_url=endpoint_url,
            start=begin,
            **records,
        )

    def __str__(self) -> str:
        return f"the Kinesis stream {self.stream!r}"

    @property
    def address(self) -> str:
        return f"kinesis {self.stream}"


kinesis = KinesisStream


def _start(start: str | datetime, subject: str) -> str | int:
    if start in _STARTS:
        return str(start)
    try:
        return parse_timestamp(start, "start")
    except HeadwaterError as error:
        give = "'earliest', 'latest', or a timestamp with an offset, such as '2026-01-31T08:00Z'"
        raise refusal(start, f"{subject}: start", give) from error
