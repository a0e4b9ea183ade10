"""Two emulators of DynamoDB, each a process of its own on 127.0.0.1 and a free port, which is
killed by its own id.
"""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from tests import services
from tests.stores.servers import free_port

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}
# moto's transactions are not isolated from other threads, so it computes one answer at a time. Each
# of them copies the table once for every one of its items; here once.
_MOTO = """
import copy, io, os, threading
from moto.dynamodb import models
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple

class Copies:
    made = {}
    def deepcopy(self, value):
        if not isinstance(value, models.Table):
            return copy.deepcopy(value)
        if id(value) not in self.made:
            self.made[id(value)] = copy.deepcopy(value)
        return self.made[id(value)]

class Whole:
    def __init__(self, inner):
        self.inner, self.turn = inner, threading.Lock()
    def __call__(self, environ, start):
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        with self.turn:
            return list(self.inner(environ, start))

write = models.DynamoDBBackend.transact_write_items
def write_once_copied(self, items):
    models.copy, copies = Copies(), models.copy
    Copies.made = {}
    try:
        return write(self, items)
    finally:
        models.copy = copies

models.DynamoDBBackend.transact_write_items = write_once_copied
WSGIRequestHandler.log_request = lambda *_: None
run_simple("127.0.0.1", int(os.environ["MOTO_PORT"]), Whole(DomainDispatcherApplication(create_backend_app)), threaded=True)
"""
DYNAMODB = ("ministack", "moto", "ministack_and_postgres", "moto_and_postgres")
"""Stores on an emulator: with a state of ingestion of their own, or with one in PostgreSQL."""
COMMANDS = {"moto": ["-c", _MOTO], "ministack": ["-m", "ministack"]}


@contextmanager
def emulating(name, folder):
    """The address of an emulator that lasts as long as the context."""
    services.starts("an emulator of AWS")
    for module in ("boto3", name):
        pytest.importorskip(module, reason=f"needs {module}")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = (
        os.environ
        | CREDENTIALS
        | {
            "GATEWAY_PORT": str(port),
            "MOTO_PORT": str(port),
            "MINISTACK_HOST": "127.0.0.1",
            "HOME": str(folder),
        }
    )
    with (folder / "log").open("wb") as log:
        command = [sys.executable, *COMMANDS[name]]
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
    until = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        else:
            return
