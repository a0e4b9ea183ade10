"""Checks E: the events of a stream."""

from __future__ import annotations

from headwater.assessing.checks.check import Bound, Check, at_least, at_most, stated, sum_of

_THIRD = sum_of((1 / 3, "F"))

CHECKS = (
    Check(
        "E1",
        "O3",
        "view",
        "records that parse and have their key",
        [at_least("keyed", 0.999, 0.99)],
        "make producers fill the key and validate records before they send; `headwater "
        "deadletters list SOURCE` shows such records",
        further=["record_keys"],
    ),
    Check(
        "E2",
        "O1",
        "view",
        "records with a valid event time: with a zone, within retention, not ahead",
        [at_least("timed", 0.999, 0.99)],
        "make producers write the event time in ISO 8601 with an offset or in UTC; correct clocks "
        "that run ahead",
    ),
    Check(
        "E3",
        "O3",
        "view",
        "ingest lag, p99 of arrival - event time",
        [at_most("lag", _THIRD, sum_of("F"))],
        "send events one by one rather than in files or batches, or require less freshness",
    ),
    Check(
        "E4",
        "O3",
        "view",
        "out-of-orderness by key, p99.9 of running max event time - event time",
        [at_most("disorder", _THIRD, Bound(least=[sum_of((1 / 10, "W")), sum_of("F")]))],
        "write a key's events to one partition, from one producer; or require less freshness",
    ),
    Check(
        "E5",
        "O3",
        "view",
        "duplicates by event id in 24 hours",
        [at_most("copies", 1e-4, 1e-3)],
        "make producers idempotent, and give the source id_field=, so that duplicates are dropped",
    ),
    Check(
        "E6",
        "O3",
        "view",
        "retention and cleanup policy of the topic",
        [
            at_least("retention", sum_of((2, "W")), sum_of("W")),
            stated("policy", "delete (or tiered)", "compact only"),
        ],
        "set retention.ms to twice the longest window and cleanup.policy=delete; compaction "
        "destroys the history that windows need",
    ),
    Check(
        "E8",
        "O3",
        "view",
        "schema in a registry that enforces backward compatibility",
        [stated("schema", "BACKWARD or stricter", "no schema")],
        "register the schema, with compatibility BACKWARD or stricter, and name the registry in "
        "registry=",
    ),
    Check(
        "E9",
        "O3",
        "view",
        "stream and archive agree, count and sum by key-hour over 7 days",
        [at_most("agreement", 1e-3, 1e-2)],
        "find the hours that differ: events that are missing, duplicated, or at another time; "
        "write the archive from the stream itself",
    ),
    Check(
        "E10",
        "O3",
        "view",
        "share of the busiest key",
        [at_most("hottest", 0.01, 0.10, strict=True)],
        "exclude bots and defaults such as 'unknown' with filter=, or add a column to the key",
    ),
    Check(
        "E11",
        "O3",
        "view",
        "idempotent producers; if the client cannot tell, duplicates",
        [stated("idempotent", "yes", "too many duplicates (E5)")],
        "set enable.idempotence=true in every producer",
    ),
)
