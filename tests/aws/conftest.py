"""An emulator of AWS on loopback, for tests that know the wheel alone: nothing here imports the
tree, and `scripts/plain_install.sh` runs this folder outside of it.
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import headwater as hw
from tests.waiting import until

sys.path.insert(0, str(Path(__file__).parent))  # for `faithful`
_NUMBERS = itertools.count()
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def pytest_configure(config):
    for name in ("services", "slow", "smoke"):
        config.addinivalue_line("markers", f"{name}: see pyproject.toml of headwater's sources")


class Emulator:
    """moto, which answers one request at a time: its conditions are not isolated from other
    threads. log: the requests so far.
    """

    def __init__(self, folder):
        self.folder = folder
        with (folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", Path(__file__).parent / "emulator.py", folder],
                env=os.environ | CREDENTIALS,
                stdout=output,
                stderr=output,
            )
        until(
            (folder / "port").exists, "its port", self.process, said=(folder / "output").read_text
        )
        self.url = f"http://127.0.0.1:{(folder / 'port').read_text()}"

    def store(self, **options):
        """The URL of a new table, which is there."""
        more = "".join(f"&{name}={value}" for name, value in options.items())
        name = f"features-{next(_NUMBERS)}"
        url = f"dynamodb://{name}?region=eu-west-1&endpoint={self.url}&timeout=60s{more}"
        hw.operations.create_store(url)
        return url

    def writes(self):
        """The requests that wrote, so far: operation, and what was asked for."""
        lines = (self.folder / "log").read_text().splitlines()
        return [(operation, json.loads(body)) for operation, body in map(json.loads, lines)]

    def close(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(autouse=True, scope="session")
def credentials():
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    yield
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def emulator(tmp_path_factory, credentials):
    pytest.importorskip("boto3")
    pytest.importorskip("moto")
    server = Emulator(tmp_path_factory.mktemp("emulator"))
    yield server
    server.close()


@pytest.fixture
def url(emulator):
    return emulator.store()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
