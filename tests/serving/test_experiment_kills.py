"""A service that is killed during an experiment: what clients were answered is logged, but for the last batch, and nothing twice."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import httpx

import headwater as hw
from headwater.logs.exposure_log import BATCH, read_exposures
from tests.effort import FULL
from tests.serving.experiment_world import both_levels, expected, started
from tests.serving.world import ROW, free_port

KILLS = 200 if os.environ.get("HEADWATER_TRUST") == "long" else 5 if FULL else 2
"""`make trust` kills the service 200 times."""


def test_kills(tmp_path):
    url = f"lmdb:{tmp_path / 'online'}?size=1GB"
    both_levels(hw.operations.open_store(url)).close()
    store = started(tmp_path / "models")
    answered: dict[str, tuple[int, str]] = {}
    sent = 0
    for kill in range(KILLS):
        port = free_port()
        command = [sys.executable, "-m", "tests.serving.experiment_child", url, str(tmp_path), str(port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client, suppress(httpx.HTTPError):
                for n in range(150 + kill % 50):
                    user, request = (sent * 7) % 90, f"r{sent}"
                    sent += 1
                    if n == 149:
                        child.send_signal(signal.SIGKILL)
                    answer = client.post("/v1/predict/churn", json={"row": {**ROW, "user": user}}, headers={"x-request-id": request})
                    answered[request] = user, answer.json()["arm"]
            child.kill()
    time.sleep(2)  # the processes that write end once their pipes are empty
    frame = read_exposures(tmp_path, "fresh")
    logged = dict(zip(frame["request"], frame.select("unit", "arm").rows(), strict=True))
    assert frame["request"].n_unique() == frame.height
    assert len(answered) > 100 * KILLS
    lost = answered.keys() - logged.keys()
    assert len(lost) <= BATCH * KILLS
    assert len(logged.keys() - answered.keys()) <= KILLS  # answered, and not received
    assert all(arm == expected(store, user) for user, arm in answered.values())
    assert all(logged[request] == (str(user), arm) for request, (user, arm) in answered.items() if request in logged)
