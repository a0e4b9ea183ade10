"""The curl lines that `headwater ingest` and `headwater serve` print are accepted by these servers,
for all types and units.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

from tests.serving.world import free_port
from tests.waiting import until

SOURCES = """
from datetime import date, datetime
import polars as pl
import headwater as hw

AT = pl.Datetime("us", "UTC")
OSLO = pl.Datetime("us")
TYPES = dict(
    text=str, integer=int, number=float, flag=bool, binary=bytes, day=date, moment=datetime, time=pl.Time(),
    int8=pl.Int8(), int16=pl.Int16(), int32=pl.Int32(), uint8=pl.UInt8(), uint16=pl.UInt16(), uint32=pl.UInt32(), uint64=pl.UInt64(),
    float32=pl.Float32(), millis=pl.Datetime("ms", "UTC"), nanos=pl.Datetime("ns", "Europe/Oslo"), decimal=pl.Decimal(10, 2),
    whole=pl.Decimal(10, 0), fraction=pl.Decimal(2, 2), category=pl.Categorical(), choice=pl.Enum(["red", "green"]),
    texts=pl.List(pl.String()), nested=pl.Struct({"a": pl.Int8(), "b": pl.List(pl.Float64())}),
)
epoch = lambda unit, name="at", column="ts": pl.from_epoch(column, time_unit=unit).dt.replace_time_zone("UTC").alias(name)
parsed = lambda form: pl.col("ts").str.to_datetime(form).alias("at")

def pushed(name, schema, at="at", once=True, timestamps="iso", **more):
    return hw.Source(name, timestamp_field=at, stream=hw.push(schema=schema, at_least_once=once, timestamps=timestamps), **more)

SOURCES = [
    *(pushed(f"of_{name}", {"user": int, "x": dtype, "at": datetime}) for name, dtype in TYPES.items()),
    *(pushed(f"in_{unit}", {"user": int, "at": datetime, "other": AT}, timestamps=unit) for unit in ("iso", "s", "ms", "us")),
    *(pushed(f"epoch_{unit}", {"user": int, "ts": int}, select=["user", epoch(unit)]) for unit in ("s", "ms", "us", "ns")),
    pushed("same_name", {"user": int, "ts": int}, at="ts", select=["user", epoch("ms", "ts")]),
    pushed("small", {"user": int, "ts": pl.Int32()}, select=["user", epoch("s")]),
    pushed("floating", {"user": int, "ts": float}, select=["user", (pl.col("ts") * 1e6).cast(pl.Int64).cast(AT).alias("at")]),
    pushed("numeric_text", {"user": int, "ts": str}, select=["user", epoch("ms", column=pl.col("ts").cast(pl.Int64))]),
    pushed("as_text", {"user": int, "ts": str}, select=["user", parsed("%Y-%m-%d %H:%M:%S")], timezone="UTC"),
    pushed("text_of_oslo", {"user": int, "ts": str}, select=["user", parsed("%d.%m.%Y %H:%M:%S")], timezone="Europe/Oslo"),
    pushed("naive", {"user": int, "at": OSLO}, timezone="Europe/Oslo"),
    pushed("by_day", {"user": int, "at": date}, timezone="Europe/Oslo"),
    pushed("day_and_time", {"user": int, "day": date, "time": pl.Time()},
           select=["user", pl.col("day").dt.combine(pl.col("time")).dt.replace_time_zone("UTC").alias("at")]),
    pushed("known", {"user": int, "at": datetime, "known": datetime}, known_at_field="known"),
    pushed("known_in_ms", {"user": int, "ts": int, "k": int}, select=["user", epoch("ms"), epoch("ms", "known", "k")], known_at_field="known"),
    pushed("changed", {"id": int, "user": int, "at": datetime, "known": datetime, "gone": bool},
           id_field="id", known_at_field="known", changes="gone"),
    pushed("small_id", {"id": pl.Int16(), "user": int, "at": datetime}, id_field="id"),
    pushed("text_id", {"id": str, "user": int, "at": datetime}, id_field="id"),
    pushed("made_id", {"a": int, "user": int, "at": datetime}, id_field="id", select=["user", "at", pl.col("a").cast(pl.String).alias("id")]),
    pushed("with_key", {"user": int, "at": datetime}, once=False),
    pushed("text_key", {"user": str, "at": datetime}),
    pushed("expected", {"user": int, "at": datetime, "n": int, "rate": float, "kind": str}, expectations=[
        hw.Expect("n", in_range=(10, 20), not_null=True, on_violation="reject"), hw.Expect("rate", in_range=(None, 0.5), on_violation="reject"),
        hw.Expect("kind", accepted_values=["paid", "open"], on_violation="reject"),
    ]),
    pushed("filtered", {"user": int, "at": datetime, "kind": str}, filter=pl.col("kind") == "paid"),
]
views = [
    hw.FeatureView(s.name, source=s, keys=["user"], windows=["1d"], freshness=hw.streaming("5s"), features=[hw.count()]) for s in SOURCES
]
labels = hw.Labels("l", table=pl.DataFrame({"user": [1], "at": [datetime(2024, 5, 1)], "y": [True]}).with_columns(pl.col("at").dt.replace_time_zone("UTC")),
                   timestamp_field="at", label="y", known_after="1m")
model = hw.Model("m", task="binary", features=hw.FeatureService("m_v1", views), labels=labels)
project = hw.Project("shop", [model])
"""
PATIENCE = 300


@contextmanager
def started(folder, *arguments):
    """A command of headwater in a folder, and what it has printed to standard error so far."""
    log = folder / f"{arguments[0]}.log"
    environment = os.environ | {"HEADWATER_HOME": str(folder / "home")}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "headwater.cli", *arguments],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=out,
        )
    try:
        yield process, lambda: log.read_text(encoding="utf-8")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def run(line):
    """The status and the body of a printed line, run by a shell."""
    done = subprocess.run(
        ["bash", "-c", line + " -s -w '\\n%{http_code}'"],
        check=True,
        capture_output=True,
        text=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


@pytest.fixture(scope="module")
def ingesting(tmp_path_factory):
    """`headwater ingest` of a source for every type and unit: the lines that it prints by source,
    and its URL.
    """
    folder = tmp_path_factory.mktemp("ingesting")
    (folder / "features.py").write_text(SOURCES, encoding="utf-8")
    port = free_port()
    with started(
        folder, "ingest", "--store=lmdb:online?size=1GB", f"--listen=127.0.0.1:{port}"
    ) as (process, said):

        def answers():
            try:
                return (
                    httpx.post(
                        f"http://127.0.0.1:{port}/v1/events/none", json={}, trust_env=False
                    ).status_code
                    == 404
                )
            except httpx.HTTPError:
                return False

        until(answers, "an answer", process, PATIENCE, said)
        lines = re.findall(r"^curl .*/v1/events/(\w+) .*$", said(), re.MULTILINE)
        yield (
            {
                name: next(line for line in said().splitlines() if f"/v1/events/{name} " in line)
                for name in lines
            },
            f"http://127.0.0.1:{port}",
        )


def test_the_printed_push_of_each_source_is_accepted(ingesting):
    without = {"numeric_text", "as_text", "text_of_oslo", "day_and_time", "expected"}
    assert len(ingesting[0]) == 52 - len(without)
    assert not without & ingesting[0].keys()
    for name, line in ingesting[0].items():
        status, body = run(line)
        outcome = "filtered" if name == "filtered" else "accepted"
        assert (status, body[outcome], body["refused"]) == (200, 1, []), (line, body)


NOW = time.time()


SERVED = """
from datetime import UTC, date, datetime, time, timedelta
import polars as pl
import headwater as hw

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
AT = [NOW - timedelta(hours=1, minutes=7 * i) for i in range(60)]
KEYS = {
    "text": pl.Series(["a'b"] * 60), "integer": pl.Series([1] * 60), "small": pl.Series([1] * 60, dtype=pl.Int8), "flag": pl.Series([True] * 60),
    "unsigned": pl.Series([1] * 60, dtype=pl.UInt64), "day": pl.Series([date(2024, 5, 1)] * 60), "moment": pl.Series(AT),
    "naive": pl.Series([datetime(2024, 5, 1)] * 60), "millis": pl.Series(AT).dt.cast_time_unit("ms"), "time": pl.Series([time(12)] * 60),
    "binary": pl.Series([b"x"] * 60), "choice": pl.Series(["red"] * 60, dtype=pl.Enum(["red", "green"])),
    "category": pl.Series(["red"] * 60, dtype=pl.Categorical),
    "duration": pl.Series([timedelta(minutes=1)] * 60),
}
events = pl.DataFrame({**KEYS, "n": [float(i % 7) for i in range(60)], "at": AT})
visits = hw.Source("visits", history=events, timestamp_field="at", known_after="0s")
views = [
    hw.FeatureView(f"by_{key}", source=visits, keys=[key], windows=["7d"], freshness=hw.batch("1h"), features=[hw.sum("n")]) for key in KEYS
]

@hw.request_feature
def weekday(asked: datetime, amount: float, count: int, name: str, is_new: bool) -> float:
    return amount

fields = [hw.RequestField(name, dtype) for name, dtype in (("r_float", float), ("r_int", int), ("r_str", str), ("r_bool", bool), ("r_at", datetime))]
table = events.select(*KEYS, asked_at=pl.col("at"), gone=pl.col("n") > 3, asked="at", amount="n", count=pl.lit(1), name=pl.lit("a"), is_new=pl.lit(True),
                      r_float="n", r_int=pl.lit(1), r_str=pl.lit("a"), r_bool=pl.lit(False), r_at="at")
labels = hw.Labels("left", table=table, timestamp_field="asked_at", label="gone", known_after="1m")
model = hw.Model("churn", task="binary", features=hw.FeatureService("churn_v1", [*views, weekday, *fields]), labels=labels)
project = hw.Project("shop", [model])
"""


@pytest.mark.slow
def test_the_printed_prediction_is_answered(tmp_path):
    """Of keys and request fields of every type; the line of `train` is that of `serve`."""
    (tmp_path / "features.py").write_text(SERVED, encoding="utf-8")
    store, port = f"lmdb:{tmp_path}/online?size=1GB", free_port()
    environment = os.environ | {"HEADWATER_HOME": str(tmp_path / "home")}

    def headwater(*arguments):
        command = [sys.executable, "-m", "headwater.cli", *arguments]
        done = subprocess.run(
            command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    code = (
        "import headwater as hw; from features import project; hw.materialize(project, "
        f"store={store!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    trained = headwater("train")
    with started(tmp_path, "serve", f"--store={store}", f"--listen=127.0.0.1:{port}") as (
        process,
        said,
    ):
        until(lambda: "curl" in said(), "the request", process, PATIENCE, said)
        (line,) = (line for line in said().splitlines() if line.startswith("curl"))
        status, body = run(line)
    assert status == 200, (line, body)
    assert "prediction" in body
    assert line.replace(str(port), "8320") in trained
