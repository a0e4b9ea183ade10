"""moto as a server of its own, which notes writes, loses their answers, and ends or stops a client
after one of them.

python emulator.py FOLDER        the port is written to FOLDER/port
"""

import io
import json
import os
import signal
import sys
import threading
from pathlib import Path

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

FOLDER = Path(sys.argv[1])
WRITES = ("PutItem", "DeleteItem", "UpdateItem", "TransactWriteItems", "BatchWriteItem")


class Noted:
    """An application that answers one request at a time."""

    def __init__(self, inner):
        self.inner, self.turn, self.orders, self.made = inner, threading.Lock(), {}, set()

    def __call__(self, environ, start):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")[2]
        with self.turn:
            if environ["PATH_INFO"] == "/order":
                self.orders = json.loads(body)
                start("200 OK", [("Content-Length", "0")])
                return [b""]
            if operation not in WRITES:
                return self.answered(environ, start, body)
            self.orders["after"] = self.orders.get("after", 0) - 1
            lost = self.orders.get("lose") and body not in self.made
            self.made.add(body)
            answer = self.answered(environ, (lambda *_: None) if lost else start, body)
            with (FOLDER / "log").open("a") as log:
                log.write(json.dumps([operation, body.decode()]) + "\n")
            if self.orders["after"] == 0:
                for name, number in (("kill", signal.SIGKILL), ("stop", signal.SIGSTOP)):
                    if name in self.orders:
                        os.kill(self.orders[name], number)
            if lost:
                start("500 Internal Server Error", [("Content-Length", "2")])
                return [b"{}"]
            return answer

    def answered(self, environ, start, body):
        environ["wsgi.input"] = io.BytesIO(body)
        return list(self.inner(environ, start))


WSGIRequestHandler.log_request = lambda *_: None
server = make_server(
    "127.0.0.1", 0, Noted(DomainDispatcherApplication(create_backend_app)), threaded=True
)
(FOLDER / "log").touch()
(FOLDER / "port.draft").write_text(str(server.server_port))
(FOLDER / "port.draft").rename(FOLDER / "port")
server.serve_forever()
