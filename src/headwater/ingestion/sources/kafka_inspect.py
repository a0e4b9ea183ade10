"""A look at a topic of Apache Kafka from outside: how it is configured, and its last records.
Nothing of it changes.

The consumer is thrown away: it joins no group, so none appears on the broker, and commits no
offset.
"""

from __future__ import annotations

import numpy as np

from headwater import clock
from headwater.definitions.connectors import KafkaTopic
from headwater.definitions.source import Source
from headwater.errors import ConnectError, nearest
from headwater.ingestion.sources.kafka_client import PATIENCE, bare, configured, topic_partition
from headwater.ingestion.sources.topic_sample import TopicSample

_BATCH = 10_000


def look(spec: KafkaTopic, *, records: int, watch: float) -> TopicSample:
    """Read the last `records` of a topic, then new records for `watch` seconds.

    Raises:
        ConnectError: no answer, access refused, or the topic does not exist.
    """
    with bare(spec) as consumer:
        topics = consumer.list_topics(timeout=PATIENCE).topics
        if spec.topic not in topics:
            raise ConnectError(
                f"{spec} does not exist; "
                f"{nearest(spec.topic, [name for name in topics if not name.startswith('__')])}"
            )
        settings = configured(spec)
        bounds = {
            p: consumer.get_watermark_offsets(topic_partition(spec, p), timeout=PATIENCE)
            for p in sorted(topics[spec.topic].partitions)
        }
        per_partition = max(1, records // max(1, len(bounds)))
        consumer.assign(
            [
                topic_partition(spec, p, max(low, high - per_partition))
                for p, (low, high) in bounds.items()
            ]
        )
        # then each record says when it came
        watch = 0.0 if settings.get("message.timestamp.type") == "LogAppendTime" else watch
        wanted = {p: high for p, (low, high) in bounds.items() if high > low}
        rows: list[tuple[int, int, int, bytes | None, bytes | None, int]] = []
        began = heard = clock.stopwatch()
        while wanted or clock.stopwatch() - began < watch:
            remaining = PATIENCE if wanted else watch - (clock.stopwatch() - began)
            for message in consumer.consume(_BATCH, max(0.0, min(0.2, remaining))):
                heard = clock.stopwatch()
                p, o = message.partition() or 0, message.offset() or 0
                if o + 1 >= wanted.get(p, o + 2):
                    wanted.pop(p, None)
                    began = clock.stopwatch() if not wanted else began
                if message.error() is None:
                    kind, stamp_ms = message.timestamp()
                    received = clock.now_micros() if o >= bounds[p][1] else -1
                    rows.append(
                        (
                            p,
                            o,
                            stamp_ms * 1000 if kind else -1,
                            message.key(),
                            message.value(),
                            received,
                        )
                    )
            if wanted and clock.stopwatch() - heard > PATIENCE:
                break  # the end is transaction markers and aborted records, which are not delivered
    rows.sort(key=lambda row: row[:2])
    number, offset, stamp, came = (
        np.array([row[i] for row in rows], np.int64) for i in (0, 1, 2, 5)
    )
    first, last = ({p: bound[i] for p, bound in bounds.items()} for i in (0, 1))
    return TopicSample(
        settings,
        first,
        last,
        number,
        offset,
        stamp,
        [row[3] for row in rows],
        [row[4] for row in rows],
        came,
        watch,
    )


def lost_by_compaction(source: Source) -> str | None:
    """The records that a compacted topic loses before they are read; None of a topic that is not
    compacted, or whose settings may not be read.
    """
    spec = source.stream
    assert isinstance(spec, KafkaTopic)
    try:
        settings = configured(spec)
    except ConnectError:
        return None
    if "compact" not in settings.get("cleanup.policy", ""):
        return None
    if source.changes is None:
        return (
            f"{spec} is compacted (cleanup.policy={settings['cleanup.policy']}): of records with "
            "one key, those that a later one replaces before they are read are removed, and "
            "nothing says which. Set cleanup.policy=delete for events; where a record replaces "
            "the one before, declare changes="
        )
    hours = int(settings.get("delete.retention.ms", "86400000")) / 3_600_000
    return (
        f"{spec} is compacted (cleanup.policy={settings['cleanup.policy']}): a deletion is "
        f"removed {hours:,.1f} h after it was written (delete.retention.ms). Where ingestion is "
        "behind for longer, deleted events are still counted, and nothing says which"
    )
