import dataclasses

import polars as pl

from tests.docs.shop import project_files

names = project_files()
hw, card, labels, fraud = names["hw"], names["card"], names["labels"], names["fraud"]
lapse = dataclasses.replace(fraud, name="lapse")
earlier_answers = hw.Source(
    "earlier_answers",
    history=pl.DataFrame(
        {"ip_address": ["10.0.0.1"], "timestamp": [0], "score": [0.5]},
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    ),
    timestamp_field="timestamp",
)
