"""Stores on servers: what becomes of connections changes no answer, and a store that has lost
nothing is left as it is.
"""

import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

import headwater as hw
from headwater.testing import faults
from tests.laws import shop

pytestmark = pytest.mark.services


def said(port, command):
    """What a server of Redis answers; a bulk string, or a line."""
    with socket.create_connection(("127.0.0.1", port)) as line, line.makefile("rb") as answer:
        line.sendall(f"{command}\r\n".encode())
        head = answer.readline()
        return answer.read(int(head[1:])).decode() if head[:1] == b"$" else head.decode()


@pytest.fixture(params=["redis_url", "cluster_url"])
def shopped(request, tmp_path):
    """A place whose visits are ingested, and the ports of the servers of its store."""
    address = request.getfixturevalue(request.param)
    place = shop.Place(tmp_path, f"{address}?prefix=servers{os.getpid()}x{tmp_path.name}")
    project, views = shop.shop(place)
    shop.append(place, shop.visits(0, 8, since=shop.SINCE))
    shop.ingest(faults.Watch(), place, project)
    port = int(re.search(r":(\d+)", address)[1])
    nodes = said(port, "CLUSTER NODES") if request.param == "cluster_url" else f":{port}@"
    return place, views, [int(node) for node in re.findall(r":(\d+)@", nodes)]


def test_a_connection_that_is_cut_is_made_again(shopped):
    """Each call of a store that was open before is answered as ever, and what it wrote counts."""
    place, views, ports = shopped
    with closing(hw.operations.open_store(place.url)) as store:
        place.store = store
        before, held = shop.values(place, views), dict(store.scan(b""))
        for port in ports:
            assert said(port, "CLIENT KILL TYPE normal").startswith(":")
        assert shop.values(place, views) == before
        for port in ports:
            said(port, "CLIENT KILL TYPE normal")
        assert store.get(list(held)) == list(held.values())
        for port in ports:
            said(port, "CLIENT KILL TYPE normal")
        assert dict(store.scan(b"")) == held
    place.store = None
    assert shop.values(place, views) == before


def test_a_connection_that_is_cut_while_a_call_waits_is_made_again(shopped):
    """The server takes the call and goes away without an answer: it is asked once more."""
    place, _, ports = shopped
    with closing(hw.operations.open_store(place.url)) as store, ThreadPoolExecutor(1) as thread:
        held = dict(store.scan(b""))
        for port in ports:
            process = int(re.search(r"process_id:(\d+)", said(port, "INFO server"))[1])
            with socket.create_connection(("127.0.0.1", port)) as line:
                os.kill(process, signal.SIGSTOP)
                try:
                    line.sendall(b"CLIENT KILL TYPE normal\r\n")  # read before what is sent later
                    values = thread.submit(store.get, list(held))
                    time.sleep(0.3)
                finally:
                    os.kill(process, signal.SIGCONT)
                assert values.result() == list(held.values())
                assert int(line.recv(100)[1:]) >= 1


def test_connections_are_kept(shopped):
    place, _, ports = shopped

    def connected():
        stats = (said(port, "INFO stats") for port in ports)
        return sum(int(re.search(r"connections_received:(\d+)", text)[1]) for text in stats)

    with closing(hw.operations.open_store(place.url)) as store:
        held = dict(store.scan(b""))
        store.get(list(held))
        before = connected()
        for _ in range(50):
            store.get(list(held))
        # what asks for the count connects, too
        assert connected() - before == len(ports)


def test_a_store_that_has_lost_nothing_is_left_as_it_is(shopped):
    place, views, _ = shopped
    with closing(hw.operations.open_store(place.url)) as store:
        place.store = store
        before, held = shop.values(place, views), dict(store.scan(b""))
        assert store.reconcile(dry_run=True) is False
        assert store.reconcile() is False
        assert dict(store.scan(b"")) == held
        assert shop.values(place, views) == before
