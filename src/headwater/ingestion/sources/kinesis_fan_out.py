"""Enhanced fan-out of Kinesis: a registered consumer is pushed the records of a shard, with a
throughput of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Final

from headwater.aws import Answer, AwsClient, AwsRefusedError
from headwater.definitions.kinesis_stream import KinesisStream
from headwater.errors import ConnectError, nearest
from headwater.ingestion.sources.kinesis_shards import NOT_FOUND, StartingPosition

_IN_USE: Final = "ResourceInUseException"
_ENDS: Final = (NOT_FOUND, _IN_USE, "InternalFailureException")
_PAUSE: Final = 1.0  # seconds between two subscriptions; one lasts for five minutes
# seconds in which the first one must be answered; later the service may be away for longer
_FIRST: Final = 20.0


def consumer_arn(client: AwsClient, spec: KinesisStream, stream_arn: str) -> str | None:
    """The ARN of a stream's consumer; None where it names none.

    Raises:
        ConnectError: the consumer is not registered with the stream, or not active.
    """
    if spec.consumer is None:
        return None
    by_arn = spec.consumer.startswith("arn:")
    request = (
        {"ConsumerARN": spec.consumer}
        if by_arn
        else {"StreamARN": stream_arn, "ConsumerName": spec.consumer}
    )
    try:
        found = client.call("describe_stream_consumer", request, expected=[NOT_FOUND])[
            "ConsumerDescription"
        ]
    except AwsRefusedError as error:
        registered = client.call("list_stream_consumers", {"StreamARN": stream_arn})["Consumers"]
        raise ConnectError(
            f"{spec} has no registered consumer {spec.consumer!r}. Register it (aws kinesis "
            f"register-stream-consumer --stream-arn {stream_arn} --consumer-name NAME), or leave "
            "consumer= out to poll; "
            f"{nearest(spec.consumer, [item['ConsumerName'] for item in registered])}"
        ) from error
    if found["ConsumerStatus"] == "DELETING":
        raise ConnectError(
            f"{spec}: its consumer {spec.consumer!r} is being deleted; register another one, or "
            "leave consumer= out to poll"
        )
    return str(found["ConsumerARN"])


def pushed(
    client: AwsClient,
    spec: KinesisStream,
    request: Answer,
    position: Callable[[], StartingPosition],
    stop: threading.Event,
) -> Iterator[Answer]:
    """What a shard pushes from a position on, in the form of answers of GetRecords, until its end
    or `stop`.

    A subscription ends after five minutes, or where another process takes the shard over; then the
    next one begins at `position`.

    Args:
        request: the consumer and the shard. position: from where to read on.

    Raises:
        AwsRefusedError: the shard or the consumer does not exist any more.
        ConnectError: no subscription is possible.
    """
    patience: float | None = _FIRST
    while not stop.is_set():
        try:
            subscription = client.events(
                "subscribe_to_shard",
                {**request, "StartingPosition": position()},
                "EventStream",
                expected=_ENDS,
                patience=patience,
            )
            for event in subscription:
                patience = None
                answer = event["SubscribeToShardEvent"]
                ended = answer.get("ChildShards") or not answer.get("ContinuationSequenceNumber")
                yield {
                    **answer,
                    "NextShardIterator": None if ended else answer["ContinuationSequenceNumber"],
                }
                if ended or stop.is_set():
                    return
        except AwsRefusedError as error:
            if error.code == NOT_FOUND:
                raise
        except ConnectError as error:
            if patience is None:
                raise
            text = " ".join(str(error).split())  # a page of HTML, from an emulator
            raise ConnectError(
                f"{spec}: the consumer {spec.consumer!r} cannot subscribe to a shard: {text}. Its "
                "policy needs kinesis:SubscribeToShard; an emulator may not have it. Leave "
                "consumer= out to poll"
            ) from error
        stop.wait(_PAUSE)
