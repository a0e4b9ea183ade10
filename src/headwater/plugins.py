"""What packages that extend headwater may import: the interfaces of tables that they extend, and
the functions that headwater's own parts share.

See `docs/extending.md`. Errors are in `headwater.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.lazy_names import lazy_names as lazy_names

if TYPE_CHECKING:
    from headwater.clock import now_micros as now_micros
    from headwater.clock import stopwatch as stopwatch
    from headwater.clock import wait as wait
    from headwater.definitions.checks import check as check
    from headwater.definitions.checks import parse_timestamp as parse_timestamp
    from headwater.definitions.checks import refusal as refusal
    from headwater.definitions.connectors import BrokerStream as BrokerStream
    from headwater.definitions.connectors import Env as Env
    from headwater.definitions.connectors import Format as Format
    from headwater.definitions.connectors import ProtobufMessage as ProtobufMessage
    from headwater.definitions.connectors import Registry as Registry
    from headwater.definitions.connectors import Schema as Schema
    from headwater.definitions.connectors import Stream as Stream
    from headwater.definitions.connectors import Timestamps as Timestamps
    from headwater.definitions.connectors import record_format as record_format
    from headwater.definitions.source import Source as Source
    from headwater.ingestion.sources.stream_reader import Assigned as Assigned
    from headwater.ingestion.sources.stream_reader import Feed as Feed
    from headwater.ingestion.sources.stream_reader import OriginOf as OriginOf
    from headwater.ingestion.sources.stream_reader import Position as Position
    from headwater.ingestion.sources.stream_reader import RecordBatch as RecordBatch
    from headwater.ingestion.sources.stream_reader import Revoked as Revoked
    from headwater.ingestion.sources.stream_reader import StoredStream as StoredStream
    from headwater.ingestion.sources.topic_sample import TopicSample as TopicSample
    from headwater.retries import Backoff as Backoff
    from headwater.retries import retry as retry
    from headwater.settings import secret as secret
    from headwater.stores import Capabilities as Capabilities
    from headwater.stores import Changes as Changes
    from headwater.stores import HeldError as HeldError
    from headwater.stores import OnlineStore as OnlineStore
    from headwater.stores import UnansweredError as UnansweredError
    from headwater.stores.backup import back_up as back_up
    from headwater.stores.keyspace import FORMAT_KEY as FORMAT_KEY
    from headwater.stores.keyspace import RECORD as RECORD
    from headwater.stores.keyspace import check_format as check_format
    from headwater.stores.keyspace import complete_through as complete_through
    from headwater.stores.server import LEASE as LEASE
    from headwater.stores.server import ServerUrl as ServerUrl
    from headwater.stores.server import parse as parse
    from headwater.stores.server import renewed as renewed

_HOMES = {
    "headwater.clock": "now_micros stopwatch wait",
    "headwater.definitions.checks": "check parse_timestamp refusal",
    "headwater.definitions.connectors": (
        "BrokerStream Env Format ProtobufMessage Registry Schema Stream Timestamps record_format"
    ),
    "headwater.definitions.source": "Source",
    "headwater.ingestion.sources.stream_reader": (
        "Assigned Feed OriginOf Position RecordBatch Revoked StoredStream"
    ),
    "headwater.ingestion.sources.topic_sample": "TopicSample",
    "headwater.retries": "Backoff retry",
    "headwater.settings": "secret",
    "headwater.stores": "Capabilities Changes HeldError OnlineStore UnansweredError",
    "headwater.stores.backup": "back_up",
    "headwater.stores.keyspace": "FORMAT_KEY RECORD check_format complete_through",
    "headwater.stores.server": "LEASE ServerUrl parse renewed",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
