"""A schema registry of one's own, which speaks what headwater asks of the Confluent kind."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest


class Registry:
    """schemas: what it answers by number, or by subject and version. asked: the paths, in order. wanted: the Authorization it asks for."""

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
        status = 500 if self.broken else 401 if self.seen[-1] != self.wanted else 404 if found is None else 200
        if status == 200 and found.get("schemaType") == "PROTOBUF":
            assert parse_qs(asked.query) == {"format": ["serialized"]}
        body = json.dumps(found if status == 200 else {"error_code": status, "message": "no"}).encode()
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
    monkeypatch.setattr("headwater.connectors.registry._WAIT", 0.2)
    monkeypatch.setattr("headwater.connectors.registry._PAUSE", 0.05)
    made = Registry()
    yield made
    made.close()
