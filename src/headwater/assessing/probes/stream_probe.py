"""Readings of a stream that a broker keeps: its records, their times, its retention, and the schema
registry.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from headwater import clock
from headwater.assessing.probes import event_probe as of_events
from headwater.definitions.connectors import BrokerStream, KafkaTopic, Stream
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.source import Source
from headwater.errors import DataError, HeadwaterError
from headwater.events.read_events import ROW, TIME
from headwater.ingestion.serde.schema_registry import RegistryClient
from headwater.ingestion.sources.stream_reader import FEEDS, RecordBatch
from headwater.ingestion.validate import OFFSET, PARTITION, Acceptance
from headwater.results.measurement import Missing, Number, Reading, measured

if TYPE_CHECKING:
    from headwater.ingestion.sources.topic_sample import TopicSample

_FAR = 2**61
_STRICT = ("BACKWARD", "BACKWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE")


@dataclass(frozen=True)
class Tail:
    """The latest records of a topic as events of some views.

    events: columns that views read, TIME, an id if there is one, PARTITION, OFFSET, and __came,
    arrival (microseconds, -1 if unknown).
    total: the number of records without those that the source's filter drops. seen: the topic
    itself.
    """

    events: pl.DataFrame
    total: int
    seen: TopicSample

    @property
    def where(self) -> str:
        """In words."""
        return f"the topic, its last {len(self.seen.offset):,} records"


def look(stream: Stream, *, records: int, watch: float) -> TopicSample:
    """The last records of a stream, and those that come in so many seconds.

    Raises:
        HeadwaterError: the service does not respond or refuses, or its extra is not installed.
    """
    module = importlib.import_module(FEEDS[type(stream).__name__])
    if not hasattr(module, "look"):
        raise DataError(f"{stream} is read by {module.__name__}, which has no `look`")
    sample: TopicSample = module.look(stream, records=records, watch=watch)
    return sample


def tail(source: Source, views: Sequence[FeatureView], *, records: int, watch: float) -> Tail:
    """Read the end of a source's topic.

    Raises:
        HeadwaterError: the service does not respond, the records cannot be decoded, or its extra is
            not installed.
    """
    stream = source.stream
    assert stream is not None
    seen = look(stream, records=records, watch=watch)
    append = seen.settings.get("message.timestamp.type") == "LogAppendTime"
    came = seen.stamp if append else seen.came
    names = [str(p) for p in sorted(seen.first)]
    partition_index = np.searchsorted(sorted(seen.first), seen.partition)
    acceptance = Acceptance(source, tuple(views), _FAR)
    arrived = RecordBatch(
        names,
        partition_index,
        seen.offset,
        np.where(seen.stamp < 0, 0, seen.stamp),
        {},
        seen.payloads,
    )
    decoded = acceptance.decode(arrived.payloads)
    rows = decoded.frame.with_columns(
        pl.Series(PARTITION, [names[i] for i in partition_index[decoded.rows].tolist()], pl.String),
        pl.Series(OFFSET, seen.offset[decoded.rows]),
        pl.Series("__came", came[decoded.rows]),
    )
    events = acceptance.events_of(rows)
    positions = rows.select(PARTITION, OFFSET, "__came")[events[ROW].to_numpy()]
    filtered = rows.height - events.height
    return Tail(
        pl.concat([events.drop(ROW), positions], how="horizontal"),
        len(seen.offset) - filtered,
        seen,
    )


def of_source(source: Source, live: Tail) -> dict[str, Reading]:
    """Readings that all views of the source share."""
    retained = retention(live.seen)
    now = clock.now_micros()
    oldest = now - retained * 1e6 if math.isfinite(retained) else -_FAR
    events = live.events
    timely = events.filter(pl.col(TIME) >= oldest, pl.col(TIME) <= now + of_events.SOON).height
    timed: Reading = Missing(f"{live.where}: no records")
    if live.total:
        timed = measured(
            timely / live.total,
            "",
            f"{timely:,} of {live.total:,} records of {live.where} have a timestamp within "
            "retention and not in the future",
        )
    nulls = sum(key is None for key in live.seen.keys)
    policy = live.seen.settings.get("cleanup.policy", "")
    tiered = live.seen.settings.get("remote.storage.enable", "false") == "true"
    deletes = "delete" in policy or tiered
    return {
        "timed": timed,
        "lag": _lag(live),
        "copies": of_events.copies(events, live.where),
        "retention": measured(retained, "s", f"retention.ms of {source.stream}"),
        "policy": measured(
            1.0 if policy == "delete" or tiered else 0.5 if deletes else 0.0,
            "",
            f"cleanup.policy is {policy!r}",
        ),
        "record_keys": measured(
            1 - nulls / max(1, len(live.seen.keys)),
            "share",
            "records that have a key, which keeps the order by key",
        ),
        "events_per_second": _rate(events),
    }


def of_view(view: FeatureView, live: Tail) -> dict[str, Reading]:
    """Readings that depend on the view's keys."""
    sound = live.events
    return {
        "keyed": of_events.keyed(sound, live.total, list(view.keys), live.where),
        "disorder": of_events.disorder(sound, list(view.keys), [PARTITION, OFFSET], live.where),
        "hottest": of_events.hottest(sound, list(view.keys), live.where),
    }


def retention(seen: TopicSample) -> float:
    """How long the topic keeps its records, in seconds; infinite if it never deletes them by
    age.
    """
    milliseconds = int(seen.settings.get("retention.ms", "-1"))
    return math.inf if milliseconds < 0 else milliseconds / 1000


def schema(spec: BrokerStream) -> Reading:
    """Whether a registry holds the records' schema and enforces compatibility: 1, 0.5 or 0."""
    if spec.registry is None:
        has_schema = spec.schema is not None or spec.avro is not None or spec.message is not None
        reason = (
            "no registry=: the schema is the reader's own"
            if has_schema
            else "no schema: neither registry= nor schema= is set"
        )
        return Number(0.5 if has_schema else 0.0, "", "measured", reason)
    subject = (
        f"{spec.topic if isinstance(spec, KafkaTopic) else spec.address.partition(' ')[2]}-value"
    )
    try:
        registry = RegistryClient(spec.registry)
        if registry.version(subject, "latest") is None:
            return measured(0.0, "", f"the registry has no subject {subject!r}")
        level = registry.compatibility(subject)
    except HeadwaterError as error:
        return Missing(str(error))
    return measured(
        1.0 if level in _STRICT else 0.5,
        "",
        f"the registry has {subject!r}, with compatibility {level}",
    )


def _lag(live: Tail) -> Reading:
    came = live.events.filter(pl.col("__came") > 0, pl.col(TIME).is_not_null())
    if not came.height:
        return Missing(
            f"no record came in the {live.seen.watched:g} s that the topic was watched, and a "
            "record has one time; watch longer"
        )
    behind = came.select((pl.col("__came") - pl.col(TIME)).clip(0).alias("l"))["l"]
    measured_by = (
        "by the broker's append time"
        if live.seen.settings.get("message.timestamp.type") == "LogAppendTime"
        else "as they came"
    )
    return measured(
        of_events.quantile_seconds(behind, 0.99),
        "s",
        f"p99 of arrival - event time, {came.height:,} records {measured_by}",
    )


def _rate(events: pl.DataFrame) -> Reading:
    times = events[TIME].drop_nulls()
    span = 0 if len(times) < 2 else int(times.quantile(0.99) or 0) - int(times.quantile(0.01) or 0)
    if span <= 0:
        return Missing("the topic holds too few events to measure their rate")
    return measured(
        0.98 * len(times) / (span / 1e6), "1/s", f"{len(times):,} events at the end of the topic"
    )
