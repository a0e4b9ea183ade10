"""How each fast path is turned off: a patch makes the code take its other way, for the bench alone.

A patch is made before anything else of headwater is loaded, so that modules which import the
patched name get the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping


def _replace(holder: object, name: str, other: object) -> None:
    """Put something else in the place of an attribute that there is."""
    if not hasattr(holder, name):
        raise AttributeError(f"{holder} has no {name}: mend the switch of this layer")
    setattr(holder, name, other)


def _no_compiled_reads() -> None:
    from headwater.aggregations.table import TABLE

    for entry in TABLE.values():
        object.__setattr__(entry, "read", None)  # the class is frozen


def _no_whole_requests() -> None:
    from headwater.serving.http.whole_requests import WholeRequests

    _replace(WholeRequests, "take", lambda *_request: False)


def _no_micro_batches() -> None:
    from headwater.serving.http import micro_batches

    _replace(micro_batches, "_read_together", lambda *_requests: None)


def _no_compiled_json() -> None:
    from headwater.ingestion.serde import json

    _replace(json, "compiled_reader", lambda *_schema: None)


def _no_batches_of_librdkafka() -> None:
    from headwater.ingestion.sources import kafka_batches

    _replace(kafka_batches, "loaded", lambda: "turned off")


def _no_sorted_runs() -> None:
    from headwater.stores.lmdb import SortedRuns

    _replace(SortedRuns, "chosen", lambda *_changes: [])


def _no_dense_keys() -> None:
    from headwater.events import keys

    _replace(keys, "_dense", lambda *_keys: None)


def _no_hash_table_of_strings() -> None:
    from headwater.events import keys

    of_rows = keys._of_rows  # noqa: SLF001 (the other way of the same module)

    def compared(events, requests, _threads):
        return of_rows(events.to_frame(), [strings.to_frame() for strings in requests])

    _replace(keys, "_of_strings", compared)


def _no_counting_sort() -> None:
    import numpy as np

    from headwater.kernel import sorting

    def compared(code, t, keys, _threads):
        order = np.lexsort((t, code))
        return order, np.searchsorted(code[order], np.arange(keys + 1)), None

    _replace(sorting, "_ordered", compared)


def _no_distinct_requests() -> None:
    from headwater.kernel import distinct_requests as module

    _replace(module, "distinct_requests", module.DistinctRequests)


OFF: Mapping[str, Callable[[], None]] = {
    "compiled reads": _no_compiled_reads,
    "whole requests": _no_whole_requests,
    "micro-batches": _no_micro_batches,
    "compiled JSON": _no_compiled_json,
    "batches of librdkafka": _no_batches_of_librdkafka,
    "sorted runs": _no_sorted_runs,
    "dense keys": _no_dense_keys,
    "strings by hash": _no_hash_table_of_strings,
    "counting sort": _no_counting_sort,
    "distinct requests": _no_distinct_requests,
}
