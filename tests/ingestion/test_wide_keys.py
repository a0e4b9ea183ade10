"""Keys that are hashes of 64 bits: accepted, archived and read as smaller ones are; values beyond
int64 are still refused.
"""

from datetime import datetime

import polars as pl

import headwater as hw
from tests.flow import Flow, at, clock, home, store, streaming_view  # noqa: F401 (fixtures)

KEYS = [2**64 - 1, 2**63, 2**63 - 1, 7]
SCHEMA = {"key": pl.UInt64(), "amount": float, "at": datetime}


def events(keys, second=1.0):
    return [{"key": key, "at": second, "amount": float(n)} for n, key in enumerate(keys)]


def counts(store, view, second=3):
    return hw.get_online_features(view, [{"key": key} for key in KEYS], store=store, at=at(second))[
        "view__count_1h"
    ].to_list()


def test_a_hash_of_64_bits_is_a_key(store, tmp_path):
    view = streaming_view(schema=SCHEMA)
    flow = Flow([view], store, tmp_path)
    flow.send(events([KEYS[0], KEYS[1], KEYS[0], KEYS[2], KEYS[3]]), 2)
    flow.ingestor.roll(least=1)
    assert counts(store, view) == [2, 1, 1, 1]
    (archived,) = (tmp_path / "archive").rglob("*.parquet")
    assert pl.read_parquet(archived)["key"].to_list() == [
        KEYS[0],
        KEYS[1],
        KEYS[0],
        KEYS[2],
        KEYS[3],
    ]


def test_a_key_that_a_feature_is_made_of_is_refused_beyond_int64(store, tmp_path):
    """Training raises an error for such a column; in a stream, it costs the events."""
    view = streaming_view(schema=SCHEMA, features=[hw.count(), hw.max("key")])
    Flow([view], store, tmp_path).send(events(KEYS), 2)
    assert counts(store, view) == [0, 0, 1, 1]
