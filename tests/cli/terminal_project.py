"""A project with everything that a command may show: streams, refused records, versions of models,
kept runs, an experiment.
"""

import json
import os

from tests.cli.conftest import tables
from tests.warm_commands import run_command

FEATURES = """
import headwater as hw

clicks = hw.Source(
    "clicks",
    history=hw.parquet("events.parquet"),
    stream=hw.appended("clicks.jsonl", schema={"event_id": str, "user_id": str, "amount": float, "country": str, "at": datetime}),
    timestamp_field="at",
    id_field="event_id",
    select=["user_id", "amount"],
)
daily = hw.FeatureView(
    "user_by_day_of_the_local_calendar", source=clicks, keys=["user_id"], windows=["1d", "7d"], features=[hw.count(), hw.mean("amount")],
    freshness=hw.batch("1d"),
)
recent = hw.FeatureView(
    "user_recent", source=clicks, keys=["user_id"], windows=["1h", "1d"], features=[hw.count(), hw.sum("amount")], freshness=hw.streaming("2s")
)
labels = hw.Labels("outcomes", table=hw.parquet("labels.parquet"), timestamp_field="asked", label="churned", known_after="1d")
model = hw.Model("churn", task="binary", features=hw.FeatureService("churn_v1", [daily, recent]), labels=labels)
levels = {"daily": hw.Level(hw.batch("1d")), "instant": hw.Level(hw.on_request())}
fresher = hw.Experiment(
    "fresher_features",
    [hw.experiments.Arm("control", model, levels["daily"]), hw.experiments.Arm("live", model, levels["instant"])],
    unit="user_id",
)
project = hw.Project("shop", [model], levels=levels, experiments=[fresher])
""".replace("\nimport headwater as hw", "\nfrom datetime import datetime\n\nimport headwater as hw")

REFUSED = [
    (
        '{"event_id": "bad 1", "user_id": "u01", "amount": "much", "country": "no", "at": '
        '"2024-02-20T00:00:00Z"}'
    ),
    (
        '{"event_id": "bad 2 \\u202e \\u001b[2J", "user_id": "u01", "amount": 1.0, "country": "nø '
        '数", "at": "soon"}'
    ),
    (
        "no json at all, of a sender that writes sentences: an error was caught while the record "
        "was written"
    ),
]


MADE = [["apply"], ["train"], ["train"], ["materialize"], ["ingest", "--once"]]
MORE = [
    ["train", "--level", "daily"],
    ["backtest", "--refits", "0", "--json", "--levels", "daily"],
    ["backtest", "--refits", "0", "--json"],
    ["dataset", "--output", "rows.parquet"],
]


def make_project(folder, *, more):
    """Into a new folder."""
    events, labels = tables(rows=900, users=15)
    events.write_parquet(folder / "events.parquet")
    labels.write_parquet(folder / "labels.parquet")
    (folder / "features.py").write_text(FEATURES, encoding="utf-8")
    late = [
        {**row, "event_id": f"s{n}", "at": row["at"].isoformat()}
        for n, row in enumerate(events.tail(50).to_dicts())
    ]
    (folder / "clicks.jsonl").write_text(
        "".join(f"{line}\n" for line in [*map(json.dumps, late), *REFUSED]), encoding="utf-8"
    )
    os.environ["HEADWATER_RUNS"] = "on"
    try:
        for command in (*MADE, *(MORE if more else [])):
            done = run_command(command, folder)
            assert done.returncode == 0, (command, done.stderr[-2000:])
            if command[0] == "backtest":
                (folder / "backtest.json").write_text(done.stdout, encoding="utf-8")
                (folder / "report.html").unlink()
    finally:
        os.environ["HEADWATER_RUNS"] = "off"
    return folder
