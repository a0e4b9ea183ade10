"""Feast's server, as tuned as it comes; run by an interpreter that has feast, which need not have
headwater.

python bench/feast_server.py FOLDER PORT USERS      prints "ready" once it answers, and ends when
                                                    its input does

Three views of nine floats by a key each, all keys written to its SQLite store: what headwater's
side of the row reads from LMDB. One worker, no access log, and no worker is replaced (by default,
one is after 1,000 requests).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

KEYS = ("user_id", "merchant_id", "device_id")


def fill(folder: Path, users: int) -> None:
    """A repository whose online store has a row for each key."""
    import numpy as np
    import pandas as pd
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Float32, Int64

    lines = (
        "project: bench",
        "registry: {path: registry.db, cache_ttl_seconds: 3600}",
        "provider: local",
        "offline_store: {type: file}",
    )
    online = "online_store: {type: sqlite, path: online.db}\nentity_key_serialization_version: 3\n"
    (folder / "feature_store.yaml").write_text("\n".join(lines) + "\n" + online)
    r, definitions = np.random.default_rng(0), []
    for key in KEYS:
        frame = pd.DataFrame({key: np.arange(users), "event_timestamp": datetime.now(UTC)})
        names = [f"{key[:-3]}_{n}" for n in range(9)]
        frame = frame.assign(**{name: r.lognormal(1, 1, users).astype("float32") for name in names})
        frame.to_parquet(folder / f"{key}.parquet")
        entity = Entity(name=key, join_keys=[key], value_type=ValueType.INT64)
        source = FileSource(
            name=f"source_{key}",
            path=str(folder / f"{key}.parquet"),
            timestamp_field="event_timestamp",
        )
        fields = [
            Field(name=key, dtype=Int64),
            *(Field(name=name, dtype=Float32) for name in names),
        ]
        definitions.append(
            (
                entity,
                FeatureView(
                    name=key[:-3],
                    entities=[entity],
                    ttl=timedelta(days=60),
                    source=source,
                    schema=fields,
                ),
                frame,
            )
        )
    store = FeatureStore(repo_path=str(folder))
    store.apply([item for entity, view, _ in definitions for item in (entity, view)])
    for _, view, frame in definitions:
        store.write_to_online_store(view.name, frame)


def serve(folder: Path, port: int) -> None:
    """Run the server until the input ends; a line of input is answered by 0, for its processes are
    not ours to time.
    """
    command = [
        str(Path(sys.executable).parent / "feast"),
        "-c",
        str(folder),
        "serve",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    more = ["--workers", "1", "--no-access-log", "--max-requests", "0"]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # as our side has it
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([*command, *more], stdout=log, stderr=log)
        try:
            since = time.perf_counter()
            while not _healthy(port):
                if server.poll() is not None or time.perf_counter() - since > 120:
                    sys.exit(f"feast does not serve: {(folder / 'log').read_text()[-500:]}")
                time.sleep(0.2)
            print("ready", flush=True)
            for _ in sys.stdin:
                print(0, flush=True)
        finally:
            server.terminate()
            server.wait(30)


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    fill(target, int(sys.argv[3]))
    serve(target, int(sys.argv[2]))
