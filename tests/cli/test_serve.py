"""`headwater serve` as a process: it answers, keeps what it answered, and ends when it is told
to.
"""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import httpx
import polars as pl
import pytest

from tests.serving.world import free_port
from tests.waiting import until

PROJECT = """
import headwater as hw

visits = hw.Source("visits", history=hw.parquet("visits.parquet"), timestamp_field="at")
view = hw.FeatureView("user", source=visits, keys=["user"], features=[hw.count(), hw.sum("pages")], windows=["1d"], freshness=hw.batch("1h"))
labels = hw.Labels("leaving", table=hw.parquet("asked.parquet"), timestamp_field="at", label="left", known_after="1m")
project = hw.Project("shop", [hw.Model("churn", features=hw.FeatureService("churn_v1", [view]), labels=labels, task="binary")])
"""


def written(folder):
    now = datetime.now(UTC)
    pl.DataFrame(
        {"user": [1, 1, 2], "at": [now - timedelta(hours=2)] * 3, "pages": [3, 5, 7]}
    ).write_parquet(folder / "visits.parquet")
    asked = {"user": [1, 2] * 20, "at": [now - timedelta(hours=1)] * 40, "left": [True, False] * 20}
    pl.DataFrame(asked).write_parquet(folder / "asked.parquet")
    (folder / "features.py").write_text(PROJECT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project that was materialized and trained by its commands."""
    made = tmp_path_factory.mktemp("served")
    written(made)
    for verb in (["materialize"], ["train"]):
        subprocess.run(
            [sys.executable, "-m", "headwater.cli", *verb],
            cwd=made,
            check=True,
            capture_output=True,
            timeout=120,
        )
    return made


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_and_ends(folder, number):
    port = free_port()
    token = json.loads(_ran(folder, "token", "new", "--scope", "admin", "--json"))["token"]
    process = subprocess.Popen(
        [sys.executable, "-m", "headwater.cli", "serve", "--listen", f"127.0.0.1:{port}"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            trust_env=False,
            headers={"Authorization": f"Bearer {token}"},
        ) as client:

            def ready():
                assert process.poll() is None, process.stderr.read()
                try:
                    return client.get("/readyz").status_code == 200
                except httpx.ConnectError:
                    return False

            until(ready, "readiness")
            said = client.post(
                "/v1/predict/churn", json={"row": {"user": 1}}, headers={"X-Request-Id": "mine"}
            ).json()
            assert said["version"] == "1"
            assert 0 < said["prediction"]["value"] < 1
            assert (
                httpx.post(
                    f"http://127.0.0.1:{port}/v1/predict/churn", json={}, trust_env=False
                ).status_code
                == 401
            )
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    assert process.returncode == 0, err
    assert [
        json.loads(line)["status"] for line in out.splitlines() if json.loads(line)["id"] == "mine"
    ] == [200]
    assert f"serving shop at http://127.0.0.1:{port}" in err
    assert list((folder / ".headwater" / "served").rglob("*.parquet"))


@pytest.mark.slow
def test_others_are_not_served_without_tokens(folder, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "headwater.cli", "serve", "--listen", f"0.0.0.0:{free_port()}", "--store", f"lmdb:{folder}/.headwater/online"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, env=os.environ | {"HEADWATER_HOME": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no project file" in done.stderr
    written(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "headwater.cli", "serve", "--listen", f"0.0.0.0:{free_port()}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, env=os.environ | {"HEADWATER_HOME": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "without tokens only loopback addresses are allowed" in done.stderr


def _ran(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "headwater.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout
