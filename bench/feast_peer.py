"""Feast's side of the join; run by an interpreter that has feast, which need not have headwater.

python bench/feast_peer.py FOLDER [STORE]      in this fresh process; prints JSON

Each `events_*.parquet` (or `events.parquet`) in the folder becomes a feature view of all its float
columns; `rows.parquet` asks for them.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import warnings
from datetime import timedelta
from pathlib import Path

warnings.filterwarnings("ignore")


def once(folder: Path, store: str) -> dict:
    import pandas as pd
    import pyarrow.parquet as pq
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType, __version__
    from feast.types import Float32, Int64

    with tempfile.TemporaryDirectory() as folder_name:
        lines = (
            "project: bench",
            "registry: registry.db",
            "provider: local",
            f"offline_store: {{type: {store}}}",
        )
        online = (
            "online_store: {type: sqlite, path: online.db}\nentity_key_serialization_version: 3\n"
        )
        (Path(folder_name) / "feature_store.yaml").write_text("\n".join(lines) + "\n" + online)
        user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
        views, names = [], []
        for path in sorted(folder.resolve().glob("events*.parquet")):
            columns = [
                c for c in pq.read_schema(path).names if c not in {"user_id", "event_timestamp"}
            ]
            source = FileSource(
                name=f"source_{path.stem}", path=str(path), timestamp_field="event_timestamp"
            )
            fields = [Field(name="user_id", dtype=Int64)] + [
                Field(name=c, dtype=Float32) for c in columns
            ]
            name = path.stem.replace("events", "view")
            views.append(
                FeatureView(
                    name=name, entities=[user], ttl=timedelta(days=60), source=source, schema=fields
                )
            )
            names += [f"{name}:{c}" for c in columns]
        feast = FeatureStore(repo_path=folder_name)
        feast.apply([user, *views])
        rows = pd.read_parquet(folder / "rows.parquet")
        clock, busy = time.perf_counter(), time.process_time()
        job = feast.get_historical_features(entity_df=rows, features=names)
        frame = job.to_df()
        clock, busy = time.perf_counter() - clock, time.process_time() - busy
        peak = (
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            * (1 if sys.platform == "darwin" else 1024)
            / 1e6
        )
        sums = [float(frame[n.split(":")[1]].astype(float).sum()) for n in names]
        return {
            "seconds": clock,
            "busy": busy,
            "peak_mb": peak,
            "rows": len(frame),
            "sums": sums,
            "version": __version__,
        }


if __name__ == "__main__":
    print(json.dumps(once(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "duckdb")))
