"""An emulator of AWS, a process of its own on 127.0.0.1 and a free port, which is killed by its own
id.
"""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from tests import services
from tests.stores.servers import free_port
from tests.waiting import until

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def emulating(folder):
    """The address of an emulator that lasts as long as the context."""
    services.starts("an emulator of AWS")
    for module in ("boto3", "moto"):
        pytest.importorskip(module, reason=f"needs {module}")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-p", str(port)]
    environment = os.environ | CREDENTIALS | {"HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        _await(f"http://127.0.0.1:{port}/", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _await(address, process, log):
    def answers():
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    until(answers, "an answer", process, said=log.read_text)
