"""Servers of Spark Connect: Sail in this process, and a real cluster of Spark with a master and two
workers.
"""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from headwater.connectors.spark import _sessions
from headwater.engine.spark.spark_engine import SparkEngine
from tests import services
from tests.stores.emulators import CREDENTIALS
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "spark.sh"


@dataclass
class Cluster:
    """A running cluster."""

    folder: Path
    url: str

    def run(self, *verb):
        """scripts/spark.sh FOLDER VERB."""
        environment = {**CREDENTIALS, **os.environ, "HEADWATER_SPARK_PYTHON": sys.executable}
        done = subprocess.run(
            [SCRIPT, self.folder, *verb],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def kill_worker(self, number):
        """Kill a worker, whose executor ends with it."""
        os.kill(int((self.folder / f"worker{number}.pid").read_text()), signal.SIGKILL)

    def kill_server(self):
        """Kill the Connect server, which is the driver of all queries."""
        os.kill(int((self.folder / "connect.pid").read_text()), signal.SIGKILL)

    def wait_for_spilled_rows(self):
        """Until a worker has rows of a partition on its disk."""
        until(lambda: list((self.folder / "local").rglob("headwater-*")), "a worker has begun")


@pytest.fixture(scope="session")
def sail():
    """The URL of Sail's server."""
    services.starts("Spark")
    pytest.importorskip("pyspark", reason="needs pyspark-client: pip install 'headwater[spark]'")
    server = pytest.importorskip("pysail.spark", reason="needs pysail").SparkConnectServer(
        "127.0.0.1", 0
    )
    server.start(background=True)
    host, port = server.listening_address
    yield f"sc://{host}:{port}"
    end_session(f"sc://{host}:{port}")
    server.stop()


def end_session(url):
    """End the session of a server before the server: pyspark asks a server that is gone for
    minutes, also when the process ends.
    """
    if url in _sessions:
        _sessions.pop(url).stop()


def started(tmp_path_factory, *lake):
    """A new cluster; skips where Java is missing. lake: as scripts/spark.sh."""
    services.starts("Spark")
    pytest.importorskip("pyspark", reason="needs pyspark-client: pip install 'headwater[spark]'")
    if shutil.which("java") is None:
        pytest.skip("needs a cluster of Apache Spark, and for it: java")
    made = Cluster(tmp_path_factory.mktemp("spark"), "")
    made.url = made.run("start", *lake)
    return made


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A cluster for all tests."""
    made = started(tmp_path_factory)
    yield made
    end_session(made.url)
    made.run("stop")


@pytest.fixture(scope="session")
def iceberg(tmp_path_factory):
    """A cluster of the newest Spark that Iceberg has jars for, with Iceberg in the catalog
    `lake`.
    """
    if shutil.which("mvn") is None:
        pytest.skip("needs the jars of Iceberg, and for them: mvn")
    made = started(tmp_path_factory, "iceberg")
    yield made
    end_session(made.url)
    made.run("stop")


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.services) for name in ("sail", "cluster")]
)
def url(request):
    """The URL of each server."""
    server = request.getfixturevalue(request.param)
    return server if isinstance(server, str) else server.url


@pytest.fixture
def engine(url):
    return SparkEngine(url)


@pytest.fixture
def session(engine):
    from headwater.connectors.spark import open_session

    return open_session(engine.session)


@pytest.fixture
def _delta(request, session):
    """Skips where a cluster of Spark has no jars of Delta; Sail needs none."""
    of_cluster = request.node.callspec.params["url"] == "cluster"
    if of_cluster and "delta" not in session.conf.get("spark.sql.extensions", ""):
        pytest.skip("needs the jars of Delta, and for them: mvn")


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
