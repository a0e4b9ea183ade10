"""A service over a group's store, and a client that asks it for features again and again."""

import contextlib
import http.client
import itertools
import json
import signal
import subprocess
import sys
import threading
import time

from tests.ingestion.world import free_port, listens
from tests.waiting import until


class Asking(threading.Thread):
    """answers: when each request was sent, and the status of its response; 0 for none."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.over, self.answers = port, threading.Event(), []
        words = itertools.cycle("ab")
        self.body = json.dumps(
            {"rows": [{"user": f"u{n}", "word": next(words)} for n in range(20)]}
        )

    def run(self):
        while not self.over.wait(0.05):
            self.answers.append((time.monotonic(), self.ask()))

    def ask(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(
                "POST", "/v1/features/s", self.body, {"content-type": "application/json"}
            )
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def answered(self, since):
        """Wait until a request that was sent later than `since` is answered."""
        until(
            lambda: any(status == 200 for at, status in list(self.answers) if at > since),
            "features",
        )


@contextlib.contextmanager
def asked(here):
    """One process that serves a group's features, which are asked for while the context lasts; it
    has to outlive that.
    """
    port, log = free_port(), here.folder / "serve.log"
    command = [
        sys.executable,
        "-m",
        "headwater.cli",
        "serve",
        "--store",
        here.url,
        "--listen",
        f"127.0.0.1:{port}",
    ]
    with log.open("wb") as out:
        service = subprocess.Popen(
            command, cwd=here.folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    service.log = log
    asking = Asking(port)
    try:
        until(lambda: listens(port), "a service", service, seconds=120)
        asking.start()
        asking.answered(0)
        yield asking
        assert service.poll() is None, log.read_text()
    finally:
        asking.over.set()
        service.send_signal(signal.SIGTERM)
        service.wait(60)
