"""The demo's service: what a client waits for the prediction of one flight over HTTP, and what it
takes in process.

python -m bench.demo_service DAYS
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from datetime import UTC, timedelta
from pathlib import Path

import polars as pl

import headwater as hw
from bench.measure import peak_mb
from headwater.cli.projects import load
from headwater.demo.flights import prepare
from headwater.demo.serve_week import BEGIN, in_service, served_project
from headwater.training.label_rows import read_labels

_TIMES = 2000


def main(days: str) -> None:
    """Serve the first days of the demo's week; medians in milliseconds, and whether all values are
    those of training to the bit.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder)
        demo = load(str(folder / "features.py")).project
        week = in_service(demo, folder, days=float(days))
        project = served_project(demo, folder)
        model = project.models[0]
        later = read_labels(model.labels).frame.filter(
            pl.col("scheduled_at") > BEGIN.astimezone(UTC)
        )
        row = later.select(list(model.features.needed_by())).row(0, named=True)
        at = BEGIN + timedelta(days=float(days))
        with hw.operations.Service(
            project, f"lmdb:{folder / 'service'}", models=folder / "models", levels=["live"]
        ) as service:
            seconds = []
            for _ in range(_TIMES):
                begin = time.perf_counter()
                service.predict(model.name, row, level="live", at=at)
                seconds.append(time.perf_counter() - begin)
        result = {
            "features": len(model.features.feature_names),
            "http_ms": round(week.answers["p50"] * 1e3, 3),
            "http_p99_ms": round(week.answers["p99"] * 1e3, 3),
            "process_ms": round(statistics.median(seconds) * 1e3, 3),
            "equal": all(level.values == level.equal for level in week.levels.values()),
            "peak_mb": peak_mb(),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
