"""How a read and the JSON of its response grow with the number of features: 27 to 1,152 of three
views, one row.

python -m bench.feature_counts REPEATS      prints JSON
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import headwater as hw
from bench.measure import peak_mb
from bench.reads import filled
from bench.streams import KEYS, payments, views, views_of
from headwater.online.feature_reader import OnlineFeatures
from headwater.serving.http.response_encoder import ResponseEncoder
from headwater.serving.serving_result import FeatureShape, ServingResult
from headwater.stores.lmdb import LmdbStore

EVENTS, USERS, READS = 300_000, 20_000, 400
WINDOWS = {
    3: ["10m", "1h", "1d"],
    9: ["10m", "30m", "1h", "3h", "6h", "12h", "1d", "2d", "3d"],
    48: [f"{hours}h" for hours in range(1, 49)],
}


def main(repeats: str) -> None:
    """Microseconds of processor time of a read and of its response, for each number of features:
    the median of the turns.
    """
    frame = payments(EVENTS, seed=2, hours=24, users=USERS)
    now = int(frame["ts"].dt.epoch("us").max()) + 1  # type: ignore[arg-type]
    requests = [
        dict.fromkeys(KEYS, key)
        for key in np.random.default_rng(0).integers(0, USERS, READS).tolist()
    ]
    measured = []
    few = [hw.count(), hw.sum("amount"), hw.max("amount")]
    many = [
        *few,
        hw.mean("amount"),
        hw.min("amount"),
        hw.std("amount"),
        hw.last("amount"),
        hw.since_last(),
    ]
    (source,) = {view.source for view in views(*KEYS)}
    for windows in WINDOWS.values():
        for functions in (few, many):
            with tempfile.TemporaryDirectory() as folder:
                features = filled(
                    LmdbStore(Path(folder)), frame, 1, views_of(source, functions, windows, KEYS)
                )
                count = len(KEYS) * len(functions) * len(windows)
                measured.append(
                    {"features": count, **_turns(features, requests, now, int(repeats))}
                )
    print(json.dumps({"counts": measured, "peak_mb": peak_mb()}))


def _turns(
    features: OnlineFeatures, requests: Sequence[Mapping[str, object]], now: int, repeats: int
) -> dict[str, float]:
    encoder = ResponseEncoder(FeatureShape(features))
    reading, writing, size = [], [], 0
    for turn in range(repeats + 1):
        begin = time.thread_time()
        vectors = [features.row(request, t=now) for request in requests]
        read = time.thread_time()
        bodies = [
            encoder.features(
                ServingResult("service", None, now, 1, {}, features=vector), compact=True
            )
            for vector in vectors
        ]
        written = time.thread_time()
        if turn:
            reading.append((read - begin) / len(requests) * 1e6)
            writing.append((written - read) / len(requests) * 1e6)
        size = sum(map(len, bodies)) // len(bodies)
    return {
        "read_us": round(statistics.median(reading), 2),
        "response_us": round(statistics.median(writing), 2),
        "response_bytes": size,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
