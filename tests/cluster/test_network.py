"""The network between ingestion, its broker and its store delays, loses and parts: exact, or ended
with an error that says why.
"""

import contextlib
import re
import signal
import threading
import time

import pytest

import headwater as hw
from headwater.errors import StoreError
from headwater.stores import keyspace
from headwater.stores.keyspace import opened_for, scoped
from tests.cluster.proxy import Link
from tests.cluster.world import producing
from tests.ingestion.world import said
from tests.stores.durable_stores import durable_store
from tests.waiting import until

pytestmark = pytest.mark.services


@pytest.fixture(params=["redis", "postgres"])
def direct(request, tmp_path):
    """The URL of a store that is reached without a proxy."""
    with durable_store(request.param, tmp_path) as address:
        yield address


@pytest.fixture
def ways(direct):
    """Three ways to the store, each with its URL."""
    (port,) = re.findall(r":(\d+)", direct)
    through = f"{direct}?timeout=3s"
    with contextlib.ExitStack() as stack:
        links = [stack.enter_context(Link(int(port))) for _ in range(3)]
        yield links, [through.replace(f":{port}", f":{link.port}", 1) for link in links]


def test_delays_losses_and_partitions(direct, ways, network, group_at, topic):
    links, urls = ways
    here = group_at(direct)
    with producing(here, network.servers, topic):
        first, second, third = here.begin(*urls)
        network.link.delay = links[0].delay = 0.02
        for _ in range(3):
            network.link.cut()
            for link in links:
                link.cut()
            time.sleep(0.3)
        links[1].block()  # shorter than its timeout: it waits
        time.sleep(1)
        links[1].heal()
        # its partitions go to the others, and it still reaches the store
        network.link.block(first.pid)
        time.sleep(5)
        network.link.heal()
        links[2].block()  # longer: it ends
        assert third.wait(60) == 1, third.log.read_text()
        links[2].heal()
        assert said(third, "does not answer") or said(third, "no answer"), third.log.read_text()
        here.processes.remove(third)
        network.link.delay = links[0].delay = 0.0
        here.begin(urls[2])
        assert first.poll() is None, first.log.read_text()
        assert second.poll() is None, second.log.read_text()
    here.end()


def test_a_store_that_answers_too_slowly_for_requests_is_opened_and_read_when_it_is_fast_again(
    direct, ways
):
    """By a service that starts meanwhile; a request waits for 200 ms, what opens the store for
    `timeout`.
    """
    links, urls = ways
    url, key = urls[0].replace("timeout=3s", "timeout=60s"), keyspace.FORMAT_KEY
    with contextlib.closing(hw.operations.open_store(direct)):
        pass
    links[0].delay = 0.15  # in each direction
    with contextlib.closing(
        hw.operations.open_store(url, readonly=True, for_requests=True)
    ) as store:
        with pytest.raises(StoreError, match=r"does not answer|no answer|timed out"):
            store.get([key])
        links[0].delay = 0.0
        until(lambda: answered(store, key), "an answer")


def test_a_service_that_starts_while_the_store_is_slow_asks_again_whose_it_is(direct, ways):
    links, urls = ways
    url = urls[0].replace("timeout=3s", "timeout=60s")
    with contextlib.closing(hw.operations.open_store(direct)) as store:
        scoped(store, "mine", write=True)
    links[0].delay = 0.15  # in each direction
    faster = threading.Timer(4.0, lambda: setattr(links[0], "delay", 0.0))
    faster.start()
    with opened_for("mine", url, readonly=True, for_requests=True) as store:
        assert not faster.is_alive()
        assert answered(store, keyspace.FORMAT_KEY)


def answered(store, key):
    """Whether a store answers, within what a request waits for."""
    with contextlib.suppress(StoreError):
        return store.get([key]) == [keyspace.FORMAT]
    return False


SKEWED = """
import sys
from headwater import clock, cli
right = clock.now_micros
clock.now_micros = lambda: right() + {micros}
sys.exit(cli.main())
"""


def test_a_process_whose_clock_is_wrong_commits_nothing_and_one_that_is_a_little_off_is_exact(
    direct, network, group_at, topic
):
    """By the clocks of the store's server and of the broker; limits are 5 minutes."""
    here = group_at(direct)
    off = {}
    for name, seconds in (("little", 100), ("much", 1_000)):
        off[name] = here.folder / f"{name}.py"
        off[name].write_text(SKEWED.format(micros=seconds * 1_000_000))
    with producing(here, network.servers, topic):
        (right,) = here.begin(None)
        here.script = off["little"]
        (little,) = here.begin(None)
        here.script = off["much"]
        much = here.start()
        until(
            lambda: said(much, "at most 5m is allowed (max_clock_jump). Nothing was committed"),
            "the refusal",
            much,
        )
        time.sleep(2)
        assert not said(much, "first commit")
        for process in (right, little):
            assert process.poll() is None, process.log.read_text()
        much.send_signal(signal.SIGTERM)
        assert much.wait(60) == 0, much.log.read_text()
    for process in (right, little):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, process.log.read_text()
    here.script, here.processes = None, []
    here.skewed = True
    here.end()
