"""A service whose kernels were never compiled: it starts more slowly, and answers its first
requests within a client's usual timeout.
"""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import httpx
import polars as pl
import pytest

from headwater.serving.client.service_client import Client
from tests.serving.world import free_port

PROJECT = """
import headwater as hw

visits = hw.Source("visits", history=hw.parquet("visits.parquet"), timestamp_field="at")
hourly = hw.batch("1h")
popular = hw.FeatureView("popular", source=visits, keys=[], features=[hw.top_k("item", k=5)], windows=["1d"], freshness=hourly)
recent = hw.FeatureView("recent", source=visits, keys=["user"], features=[hw.last_n("item", k=3)], windows=["1d"], freshness=hourly)
user = hw.FeatureView("user", source=visits, keys=["user"], features=[hw.count(), hw.approx_percentile("pages", q=0.5)], windows=["1d"],
                      freshness=hourly)
item = hw.FeatureView("item", source=visits, keys=["item"], features=[hw.count(), hw.sum("pages"), hw.count_distinct("user")],
                      windows=["1d"], freshness=hourly)
labels = hw.Labels("chosen", table=hw.parquet("asked.parquet"), timestamp_field="at", label="chosen", known_after="1m")
task = hw.Ranking("request", "item", [recent["last_n_item_1d"], popular["top_k_item_1d"]])
project = hw.Project("shop", [hw.Model("feed", features=hw.FeatureService("feed_v1", [user, item]), labels=labels, task=task)])
"""
TIMEOUT = Client.__init__.__kwdefaults__["timeout"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project that was materialized and trained."""
    made = tmp_path_factory.mktemp("cold")
    now = datetime.now(UTC)
    rows = {
        "user": [1, 1, 2] * 4,
        "item": list("abcabdabeabf"),
        "at": [now - timedelta(hours=2)] * 12,
        "pages": [3, 5, 7] * 4,
    }
    pl.DataFrame(rows).write_parquet(made / "visits.parquet")
    asked = {
        "request": [f"r{n // 2}" for n in range(40)],
        "item": ["a", "b"] * 20,
        "user": [1] * 40,
        "chosen": [1, 0] * 20,
    }
    pl.DataFrame(asked).with_columns(at=pl.lit(now - timedelta(minutes=40))).write_parquet(
        made / "asked.parquet"
    )
    (made / "features.py").write_text(PROJECT)
    for verb in ("materialize", "train"):
        subprocess.run(
            [sys.executable, "-m", "headwater.cli", verb],
            cwd=made,
            check=True,
            capture_output=True,
            timeout=300,
        )
    return made


@pytest.mark.long
@pytest.mark.slow
def test_first_requests_of_a_cold_service_answer_within_the_timeout(folder, tmp_path):
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "headwater.cli", "serve", "--listen", f"127.0.0.1:{port}"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=TIMEOUT
        ) as client:
            begin = time.monotonic()
            while not _ready(client):
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() - begin < 400
                time.sleep(0.2)
            ready, took = time.monotonic() - begin, {}
            for name, ask in {
                "rank": lambda: client.post(
                    "/v1/rank/feed", json={"row": {"user": 1, "request": "new"}, "k": 3}
                ),
                "rank given": lambda: client.post(
                    "/v1/rank/feed",
                    json={"row": {"user": 1, "request": "n"}, "candidates": ["a", "x"]},
                ),
                "explain": lambda: client.get(
                    "/v1/explain", params={"feature": "item__count_1d", "item": "a"}
                ),
                "explain strings": lambda: client.get(
                    "/v1/explain", params={"feature": "recent__last_n_item_1d", "user": "1"}
                ),
                "explain a sketch": lambda: client.get(
                    "/v1/explain",
                    params={"feature": "user__approx_percentile_pages_p50_1d", "user": "1"},
                ),
            }.items():
                begin = time.monotonic()
                answer = ask()  # httpx.ReadTimeout after a client's default
                took[name] = time.monotonic() - begin
                assert answer.status_code == 200, (name, answer.text)
        print(
            f"ready after {ready:.1f} s; seconds of first requests: "
            f"{ {name: round(value, 2) for name, value in took.items()} }"
        )
        assert len(list(tmp_path.rglob("*.nbc"))) > 0  # it was cold
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _ready(client):
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False
