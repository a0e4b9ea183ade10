"""A store that is away for longer than its timeout= ends ingestion; started again until the store
is back, it counts each event once.
"""

import contextlib
import signal
import time

import pytest

from tests.effort import LONG
from tests.ingestion.world import World, said, wait_until
from tests.stores.servers import PostgresServer, Server

AWAY = 30 if LONG else 4
"""Seconds."""


@pytest.fixture(params=["redis", "postgres"])
def store(request, tmp_path):
    """A server that keeps what it has confirmed, and its URL."""
    made = (
        Server(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "always")
        if request.param == "redis"
        else PostgresServer()
    )
    with contextlib.closing(made):
        yield made, made.url if request.param == "redis" else f"{made.address}/postgres"


@pytest.mark.slow
def test_ingestion_is_started_again_until_the_store_is_back(store, tmp_path):
    server, url = store
    here = World(tmp_path, f"{url}?timeout=1s", "hw.push(schema=schema)")
    process, sender = here.start(), here.sender(0)
    sender.start()
    try:
        here.begun(process)
        before = len(here.good)
        wait_until(lambda: len(here.good) > before + 20, "acknowledged pushes", process)
        server.kill()
        back, ended = time.monotonic() + AWAY, 0
        while True:
            if time.monotonic() > back and server.process.poll() is not None:
                server.start()
            if process.poll() is not None:  # as Restart=always of systemd does
                assert process.returncode == 1, process.log.read_text()
                assert process.log.read_text().strip().splitlines()[-1].startswith("error: "), (
                    process.log.read_text()
                )
                assert said(
                    process,
                    "Started again (a supervisor does that), it goes on from its last commit",
                ), process.log.read_text()
                ended += 1
                process = here.start()
            if ended and server.process.poll() is None and said(process, "first commit"):
                break
            time.sleep(0.1)
        before = len(here.good)
        wait_until(lambda: len(here.good) > before + 20, "acknowledged pushes", process)
    finally:
        sender.over.set()
        sender.join(60)
        process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, process.log.read_text()
    assert ended > 0
    here.check()
