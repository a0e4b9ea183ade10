"""What one version answers in process, by the public API: its interpreter runs this file.

python side.py offline | online STORE NOW       writes parquet and JSON into the folder `answers`
"""

import json
import sys
from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path.cwd()))
import features

import headwater as hw

ANSWERS = Path("answers")
# there in the former version
OnlineFeatures = getattr(hw.operations, "OnlineFeatures", None) or hw.OnlineFeatures


def offline():
    """Every feature of every request, at each level."""
    rows = pl.read_parquet(features.DATA / "labels.parquet").drop("bought")
    for name, level in features.LEVELS.items():
        given = {"timestamp_field": "asked", "level": level, "statuses": True}
        found = hw.get_historical_features(features.VIEWS, rows, **given)
        found.write_parquet(ANSWERS / f"offline-{name}.parquet")


def online(url, now):
    """Every feature of every key that there is or is not, an hour and a day on; and parity."""
    users = [f"u{i}" for i in range(14)]
    rows = pl.DataFrame({"user": user, "shop": shop} for user in users for shop in range(7))
    at = datetime.fromisoformat(now)
    with closing(hw.operations.open_store(url, readonly=True)) as store:
        for service in (model.features for model in features.project.models):
            reader = OnlineFeatures(service, store)
            for hours in (1, 25, 24 * 8):
                given = rows.with_columns(price=pl.lit(10.0))
                found = reader.read(given, at=at + timedelta(hours=hours), details=True)
                kept = [name for name in found.columns if not name.endswith("__age")]
                path = ANSWERS / f"online-{service.name}-{hours}h.parquet"
                found.select(kept).write_parquet(path)
        counts = {
            found.view: [found.rows, found.values, found.events, len(found.mismatches)]
            for found in hw.parity(features.project, store=store, data_dir="home", at=at)
        }
        refused = {source: reasons(source, store) for source in ("purchases", "visits")}
    keep("keys, values, events and mismatches of parity", counts)
    keep("refused records by reason", refused)


def reasons(source, store):
    """How many records were refused, by reason."""
    given = {"store": store, "data_dir": Path("home")}
    found = hw.operations.dead_letters(features.project, source, **given)
    return dict(Counter(found["reason"].to_list())) if found.height else {}


def keep(name, answer):
    text = json.dumps(answer, indent=1, sort_keys=True)
    (ANSWERS / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    ANSWERS.mkdir(exist_ok=True)
    globals()[sys.argv[1]](*sys.argv[2:])
