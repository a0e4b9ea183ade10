"""Servers of one's own: a schema registry, which speaks what headwater asks of the Confluent kind,
and an S3 server.
"""

import atexit
import functools
import importlib.util
import io
import json
import os
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import polars as pl
import pytest

from tests import services

PAYMENT = {  # the schema of the secure registry
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "card", "type": "string"},
        {"name": "amount", "type": ["null", "double"], "default": None},
        {"name": "n", "type": "long"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}


class Registry:
    """schemas: what it answers by number, or by subject and version. asked: the paths, in order.
    wanted: the Authorization it asks for.
    """

    def __init__(self):
        self.schemas, self.asked, self.seen, self.wanted, self.broken = {}, [], [], None, False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler):
        asked = urlsplit(handler.path)
        self.asked.append(asked.path)
        self.seen.append(handler.headers.get("Authorization"))
        found = self.schemas.get(asked.path)
        status = (
            500
            if self.broken
            else 401
            if self.seen[-1] != self.wanted
            else 404
            if found is None
            else 200
        )
        if status == 200 and found.get("schemaType") == "PROTOBUF":
            assert parse_qs(asked.query)["format"] == ["serialized"]
        body = json.dumps(
            found if status == 200 else {"error_code": status, "message": "no"}
        ).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def put(self, number, **answer):
        self.schemas[f"/schemas/ids/{number}"] = answer

    def refer(self, subject, version, **answer):
        self.schemas[f"/subjects/{subject}/versions/{version}"] = answer

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr("headwater.ingestion.serde.schema_registry._WAIT", 0.2)
    monkeypatch.setattr("headwater.ingestion.serde.schema_registry._PAUSE", 0.05)
    made = Registry()
    yield made
    made.close()


@pytest.fixture(scope="session")
def secure_registry(tmp_path_factory):
    """A schema registry that wants a client certificate and OAuth, in a process of its own:
    addresses, and the folder of certificates.
    """
    folder = tmp_path_factory.mktemp("certificates")
    server = [
        sys.executable,
        str(Path(__file__).with_name("secure_registry.py")),
        str(folder),
        json.dumps(PAYMENT),
    ]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield {**json.loads(process.stdout.readline()), "folder": folder}
        finally:
            process.kill()


class Store:
    """A bucket of an S3 server. options: what reads it."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self.options = {
            "aws_access_key_id": "AKIATEST",
            "aws_secret_access_key": "the-secret-of-the-test",
            "aws_region": "us-east-1",
            "aws_endpoint_url": self.url,
            "aws_allow_http": "true",
        }
        self.put("")

    def put(self, key, content=b"", bucket="shop"):
        """Write an object (of no key: the bucket) and give its URL."""
        if isinstance(content, pl.DataFrame):
            made = io.BytesIO()
            content.write_csv(made) if key.endswith(".csv") else content.write_parquet(made)
            content = made.getvalue()
        own = {
            "Authorization": (
                "AWS4-HMAC-SHA256 Credential=AKIATEST/20240501/us-east-1/s3/aws4_request"
            ),
            "Content-Type": "text/plain",
        }
        asked = urllib.request.Request(
            f"{self.url}/{bucket}/{quote(key)}", data=content, headers=own, method="PUT"
        )
        urllib.request.urlopen(asked, timeout=60).close()
        return f"s3://{bucket}/{key}"


@pytest.fixture(scope="session")
def s3():
    """An S3 server (moto's) with the bucket `shop`, in a process of its own: one for all modules,
    as polars keeps a bucket's endpoint.
    """
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask_cors") is None:
        if os.environ.get("HEADWATER_NO_SKIPS") == "1":
            pytest.fail("moto is not installed; `make dev` installs it")
        pytest.skip("moto is not installed")
    return s3_server()


@functools.cache
def s3_server():
    services.starts("S3")
    server = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("s3_server.py"))]
    process = subprocess.Popen(server, stdout=subprocess.PIPE, text=True)
    atexit.register(process.kill)
    return Store(int(process.stdout.readline()))
