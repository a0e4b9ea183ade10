"""JSON lines of a file into durable tiles: `python -m bench.appended LINES` prints JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

import headwater as hw
from bench.measure import peak_mb
from bench.streams import WINDOWS, payments, views_of


def main(lines: str) -> None:
    """Microseconds of processors that an event takes; a first file compiles the kernels."""
    with tempfile.TemporaryDirectory() as folder:
        _ingest(Path(folder) / "first", payments(2_000, seed=1))
        busy = _ingest(Path(folder) / "measured", payments(int(lines), seed=2))
    print(json.dumps({"us": busy / int(lines) * 1e6, "events": int(lines), "peak_mb": peak_mb()}))


def _ingest(folder: Path, frame: pl.DataFrame) -> float:
    folder.mkdir()
    text = frame.with_columns(pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
    text.write_ndjson(folder / "payments.ndjson")
    stream = hw.appended(folder / "payments.ndjson", schema=dict(frame.schema))
    source = hw.Source("payments", stream=stream, timestamp_field="ts")
    views = views_of(source, [hw.count(), hw.sum("amount"), hw.max("amount")], WINDOWS, ["user_id"])
    table = pl.DataFrame({"asked": [frame["ts"][0]], "y": [1], "user_id": [0]})
    given = {"timestamp_field": "asked", "label": "y", "known_after": "1d", "select": ["user_id"]}
    labels = hw.Labels("y", table=table, **given)
    model = hw.Model("m", task="binary", features=hw.FeatureService("s", views), labels=labels)
    options = hw.operations.IngestOptions(allow_unapplied=True)
    begin = time.process_time()
    url, home = f"lmdb:{folder}/online?size=4GB", folder / "home"
    hw.ingest(hw.Project("p", [model]), url, data_dir=home, listen=None, once=True, options=options)
    return time.process_time() - begin


if __name__ == "__main__":
    main(*sys.argv[1:])
