"""The shop served by a process of its own, whose memory and liveness a test can watch."""

import http.client
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from tests.serving.world import free_port

ROOT = Path(__file__).resolve().parents[2]
_SERVE = """
import sys, threading
import headwater as hw
from tests.serving.world import MODELS, PROJECT
with hw.operations.serve(PROJECT, sys.argv[1], listen=sys.argv[2], models=MODELS, tokens=sys.argv[3] or None) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


class Apart:
    """A running service: its port, its process, and requests to it."""

    def __init__(self, process, port):
        self.process, self.port = process, port

    def post(self, path, body, timeout=60.0, headers=None):
        """The status, and the answer's body."""
        return self._ask("POST", path, body, timeout, headers or {})

    def health(self, timeout=60.0):
        """Seconds until /healthz was answered with 200."""
        begin = time.monotonic()
        status, _ = self._ask("GET", "/healthz", None, timeout, {})
        assert status == 200
        return time.monotonic() - begin

    def _ask(self, method, path, body, timeout, headers):
        asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            asked.request(method, path, body, headers)
            answer = asked.getresponse()
            return answer.status, answer.read()
        finally:
            asked.close()

    def reset_peak(self):
        """Have the peak of the resident memory begin again; the resident memory now, MB."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self._memory("VmRSS")

    def peak(self):
        """The peak of the resident memory, MB."""
        return self._memory("VmHWM")

    def _memory(self, what):
        return (
            int(
                re.search(
                    rf"{what}:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text()
                )[1]
            )
            // 1024
        )


@contextmanager
def served_apart(store_url, tokens=""):
    """The shop over a store, served by another process until the context ends."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, store_url, f"127.0.0.1:{port}", str(tokens)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline().startswith("http"), "the service did not start"
        yield Apart(process, port)
    finally:
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
