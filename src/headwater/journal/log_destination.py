"""Where the logs of many machines come together: a folder of an object store, or a Kafka topic.

Both hold parts. A part is a parquet file with a name, and never changes; the same part may be put twice, and counts once:

    served/headwater_date=2024-05-01/model=churn/1714521600000000-WORKER-000001.parquet    rows of the serving log
    served/sample_rates/WORKER.parquet                                                     the share of requests that a worker kept
    exposures/checkout/1/WORKER-000001/000000000000-000000004096.parquet                   bytes 0 to 4096 of a segment of exposures
    outcomes/leaving/MACHINE/000000000001-000000000512.parquet                             rows 1 to 512 of a machine's journal of outcomes
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import TYPE_CHECKING, Final, Protocol

from headwater.definitions.connectors import ParquetFiles
from headwater.definitions.streams import KafkaTopic
from headwater.definitions.urls import SCHEMES
from headwater.errors import DefinitionError, UsageError, nearest
from headwater.journal.object_store_logs import ObjectStoreLogs

if TYPE_CHECKING:
    import polars as pl


_NAME: Final = re.compile(r"(served|exposures|outcomes)(/[^/\\\0]+)+\.parquet")
_KAFKA: Final = "kafka"
_STORES: Final = tuple(scheme for scheme in SCHEMES if not scheme.startswith("http"))


class LogDestination(Protocol):
    """What holds the parts of the logs of many machines."""

    def put(self, name: str, frame: pl.DataFrame) -> None:
        """Write a part; it is durable when this returns.

        Raises:
            ConnectError: no answer, or access refused. DataError: it cannot be written.
        """
        ...

    def parts(self, wanted: Callable[[str], bool], since: date | None = None) -> Iterator[tuple[str, pl.DataFrame]]:
        """The wanted parts, each with its name; a part that was put twice may come twice.

        Args:
            wanted: whether a part of that name is read.
            since: of the serving log, the first day that is listed; None lists all.

        Raises:
            ConnectError, DataError: as `put`.
        """
        ...


def destination(url: str) -> LogDestination:
    """The destination that a URL names.

    s3://bucket/folder, gs://, az:// and abfss:// take their credentials from the environment; file:///folder is a shared folder. Of
    kafka://host:9092/topic the query has settings of librdkafka; a value `env:NAME` is that environment variable.

    Raises:
        UsageError: another URL.
        MissingExtraError: kafka:// without the extra `kafka`.

    >>> destination("file:///data/logs")
    ObjectStoreLogs('/data/logs')
    """
    scheme, found, rest = url.partition("://")
    if not found or scheme.lower() not in (*_STORES, "file", _KAFKA):
        raise UsageError(
            f"logs cannot go to {url!r}: {nearest(scheme, (*_STORES, 'file', _KAFKA))}. Give s3://bucket/folder, gs://, az://, "
            "file:///folder or kafka://host:9092/topic"
        )
    if scheme.lower() == _KAFKA:
        from headwater.journal.kafka_logs import KafkaLogs

        return KafkaLogs(_topic(url, rest))
    try:
        return ObjectStoreLogs(ParquetFiles(url.rstrip("/")).path)
    except DefinitionError as error:
        raise UsageError(str(error)) from error


def _topic(url: str, rest: str) -> KafkaTopic:
    from urllib.parse import parse_qsl

    from headwater.definitions.streams import env, kafka

    path, _, query = rest.partition("?")
    servers, _, topic = path.partition("/")
    if not servers or not topic:
        raise UsageError(f"{url!r} names no {'topic' if servers else 'broker'}; give kafka://host:9092/topic")
    pairs = parse_qsl(query, keep_blank_values=True)
    secrets = [name for name, value in pairs if re.search("password|secret|key$", name) and not value.startswith("env:")]
    if secrets:
        raise UsageError(f"{secrets[0]} stands in the URL of the topic {topic!r}, which others can see; give {secrets[0]}=env:NAME instead")
    options = {name: env(value.removeprefix("env:")) if value.startswith("env:") else value for name, value in pairs}
    try:
        return kafka(topic, servers=servers, options=options)
    except DefinitionError as error:
        raise UsageError(str(error)) from error


def is_part(name: str) -> bool:
    """Whether a name is one of a part: what lies at a destination was written by others.

    >>> is_part("served/sample_rates/a.parquet"), is_part("served/../../etc/a.parquet"), is_part("index.html")
    (True, False, False)
    """
    return _NAME.fullmatch(name) is not None and ".." not in name.split("/")
