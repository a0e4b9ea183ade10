"""Feast's training rows: python ask_feast.py REPO ROWS.parquet OUT.parquet"""

import os
import sys
from pathlib import Path

import pandas as pd
from feast import FeatureStore
from feast.repo_config import load_repo_config
from feast.repo_operations import apply_total

repo, rows, out = (Path(a).resolve() for a in sys.argv[1:])
os.chdir(repo)
apply_total(load_repo_config(repo, repo / "feature_store.yaml"), repo, skip_source_validation=True)
features = [
    "user__orders:amount",
    "user__orders:items",
    "user__orders:city",
    "lasting:city",
    "of_frames:over",
    "of_frames:twice",
    "of_lists:ratio",
]
FeatureStore(repo).get_historical_features(
    entity_df=pd.read_parquet(rows), features=features, full_feature_names=True
).to_df().to_parquet(out)
