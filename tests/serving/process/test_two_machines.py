"""Two services with a data directory each, behind nginx, are one service: equal answers, one
promotion, one log, one experiment.
"""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest

import headwater as hw
from headwater.cli.projects import load
from headwater.jobs.materialize import materialize_view
from headwater.journal.exposure_log import read_exposures
from headwater.journal.fetching import fetch
from headwater.journal.outcome_journal import outcomes
from headwater.models.experiment_store import FrozenArm
from headwater.monitoring.serving_capacity import serving_capacity
from tests.serving.experiment_world import started
from tests.serving.world import free_port
from tests.stores.servers import serving

PROJECT = """
import headwater as hw

visits = hw.Source("visits", history=hw.parquet("visits.parquet"), timestamp_field="at")
user = hw.FeatureView(
    "user", source=visits, keys=["user"], windows=["2d"], freshness=hw.batch("1h"), features=[hw.count(), hw.mean("amount")]
)
labels = hw.Labels("left", table=hw.parquet("labels.parquet"), timestamp_field="asked_at", label=LABEL, known_after="1m")
churn = hw.Model("churn", task="binary", features=hw.FeatureService("churn_v1", [user]), labels=labels)
nightly = hw.batch("1d")
fresh = hw.Experiment("fresh", [hw.experiments.Arm("hourly", churn), hw.experiments.Arm("nightly", churn, nightly)], unit="user")
project = hw.Project("shop", [churn], levels={"nightly": nightly}, experiments=[fresh])
""".replace("LABEL", '"gone"')
USERS, REQUESTS = 12, 48
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream headwater {{ server 127.0.0.1:{ports[0]} max_fails=0; server 127.0.0.1:{ports[1]} max_fails=0; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; add_header X-Machine $upstream_addr;
    location / {{ proxy_pass http://headwater; }}
  }}
}}
"""


class Machines:
    """The project on disk, a store that both machines read, a folder of models that both mount, and
    a data directory each.
    """

    def __init__(self, folder, store):
        self.folder, self.store, self.models, self.shipped = (
            folder,
            store,
            folder / "models",
            f"file://{folder}/shipped",
        )
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        at = [now - timedelta(hours=1, minutes=31 * i) for i in range(240)]
        table = pl.DataFrame(
            {
                "user": [i % USERS for i in range(240)],
                "amount": [float(i % 17) for i in range(240)],
                "at": at,
            }
        )
        table.write_parquet(folder / "visits.parquet")
        table.select("user", asked_at="at", gone=pl.col("amount") > 8).write_parquet(
            folder / "labels.parquet"
        )
        (folder / "features.py").write_text(PROJECT, encoding="utf-8")
        here = Path.cwd()
        os.chdir(folder)  # as the project names files
        try:
            self.project = load("features.py").project
            registry = hw.operations.ModelRegistry(self.models)
            for level in (None, "nightly"):
                of = None if level is None else self.project.levels[level]
                trained = hw.train(
                    self.project.model("churn"), level=of, level_name=level, as_of=datetime.now(UTC)
                )
                for n in range(2):
                    trained.register(registry, promote=n == 0)
            with closing(hw.operations.open_store(store)) as opened:
                for level in (None, "nightly"):
                    for view in self.project.variant("churn", level).service.views:
                        materialize_view(
                            view, opened, int(datetime.now(UTC).timestamp()) * 1_000_000
                        )
        finally:
            os.chdir(here)
        self.registry = registry
        arms = (
            FrozenArm("hourly", "churn", "as defined", 0.5),
            FrozenArm("nightly", "churn", "nightly", 0.5),
        )
        started(self.models, arms=arms)

    def serve(self, name, port):
        command = [
            "serve",
            f"--store={self.store}",
            f"--listen=127.0.0.1:{port}",
            f"--models={self.models}",
            f"--data-dir={self.folder / name}",
        ]
        command = [sys.executable, "-m", "headwater.cli", *command, f"--ship-logs={self.shipped}"]
        with (self.folder / f"{name}.log").open("wb") as out:
            return subprocess.Popen(
                command, cwd=self.folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )


@contextmanager
def behind_nginx(folder, ports):
    if (binary := shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")) is None:
        pytest.skip("needs nginx")
    port = free_port()
    folder.mkdir()
    (folder / "nginx.conf").write_text(
        NGINX.format(folder=folder, ports=ports, port=port), encoding="utf-8"
    )
    process = subprocess.Popen(
        [binary, "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")],
        stdin=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def until(holds, what, seconds=240):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def answers(url):
    try:
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.services
@pytest.mark.slow
def test_two_machines_are_one_service(tmp_path):
    with serving(tmp_path / "redis") as server:
        machines = Machines(tmp_path, server.url)
        ports = [free_port(), free_port()]
        processes = [machines.serve(name, port) for name, port in zip("ab", ports, strict=True)]
        try:
            for process, port, name in zip(processes, ports, "ab", strict=True):
                until(
                    lambda port=port, process=process: (
                        process.poll() is not None or answers(f"http://127.0.0.1:{port}")
                    ),
                    "readiness",
                )
                assert process.poll() is None, (tmp_path / f"{name}.log").read_text()
            with behind_nginx(tmp_path / "nginx", ports) as url:
                until(lambda: answers(url), "nginx", 20)
                seen = _ask(machines, url)
            assert serving_capacity(f"http://127.0.0.1:{ports[0]}").requests > 0
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            codes = [process.wait(60) for process in processes]
        assert codes == [0, 0]
    together = tmp_path / "together"
    fetch(together, machines.shipped)
    log = (
        hw.operations.served(together, model="churn")
        .filter(pl.col("headwater_request") != "probe")
        .collect()
    )
    # each request once, whichever machine had it
    assert sorted(log["headwater_request"]) == sorted(seen)
    assert {arm.partition("/")[2] for arm in log["headwater_arm"]} == {"hourly", "nightly"}
    posted = outcomes(together, machines.project.model("churn").labels)
    assert sorted(posted["headwater_request"]) == sorted(seen)  # each was posted to both
    exposures = read_exposures(together, "fresh").filter(pl.col("request") != "probe")
    assert exposures.height == len(seen)
    assert dict(exposures.select("request", "arm").iter_rows()) == seen


def _ask(machines, url):
    """Predictions through the balancer; the arm of each by request."""
    seen = {}
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        by_user = {}
        at = datetime.now(UTC).isoformat()
        served_by = set()
        for n, user in zip(range(REQUESTS), itertools.cycle([*range(USERS), 0]), strict=False):
            response = client.post(
                "/v1/predict/churn", json={"row": {"user": user}}, headers={"x-request-id": f"r{n}"}
            )
            assert response.status_code == 200, response.text
            served_by.add(response.headers["x-machine"])
            body = response.json()
            seen[f"r{n}"] = body["arm"]
            by_user.setdefault(user, []).append(
                (
                    response.headers["x-machine"],
                    body["arm"],
                    body["version"],
                    body["prediction"]["value"],
                )
            )
        assert len(served_by) == 2
        for answered in by_user.values():
            assert len({machine for machine, *_ in answered}) == 2
            # the same arm, version and value from both
            assert len({tuple(answer) for _, *answer in answered}) == 1
        machines.registry.promote(2, "churn", "nightly")
        until(
            lambda: {_version(client) for _ in range(8)} == {"2"},
            "the promotion on both machines",
            60,
        )
        machines.registry.rollback("churn", "nightly")
        until(
            lambda: {_version(client) for _ in range(8)} == {"1"},
            "the rollback on both machines",
            60,
        )
        for n in range(REQUESTS):
            for _ in range(2):
                row = {"request_id": f"r{n}", "outcome": n % 2 == 0, "known_at": at}
                assert client.post("/v1/outcomes/left", json=[row]).status_code == 200
    return seen


def _version(client):
    """The served version, of a level that a request names, so that it is not evidence of an arm."""
    body = {"row": {"user": 1}, "level": "nightly"}
    return client.post("/v1/predict/churn", json=body, headers={"x-request-id": "probe"}).json()[
        "version"
    ]
