"""A server of the store is lost and its standby takes over: exact where commits wait for the
standby, else refused and repaired.
"""

import contextlib
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.cluster.asking import asked
from tests.cluster.proxy import Link
from tests.cluster.world import producing
from tests.ingestion.test_kills import SMALL_FILES
from tests.ingestion.world import World, said
from tests.stores.servers import PostgresServer, SentinelServer, Server, free_port
from tests.waiting import until

pytestmark = pytest.mark.services

AOF = ("--appendonly", "yes")


class RedisPair:
    """A primary behind a link, and a replica of it. waits: whether commits wait for the replica."""

    def __init__(self, folder, stack, *, waits):
        self.primary = stack.enter_context(contextlib.closing(Server(folder / "primary", *AOF)))
        self.way = stack.enter_context(Link(self.primary.port))
        self.replica = stack.enter_context(
            contextlib.closing(self.primary.replica(folder / "replica", self.way.port))
        )
        self.link = stack.enter_context(Link(self.primary.port))
        self.url = f"redis://127.0.0.1:{self.link.port}/0" + ("?replicas=1" if waits else "")

    def part(self):
        """Let the replica fall behind."""
        self.way.switch(1)

    def fail_over(self):
        self.primary.kill()
        with self.replica.client as client:
            client.execute_command("REPLICAOF", "NO", "ONE")
        self.link.switch(self.replica.port)


class PostgresPair:
    """A primary behind a link, and a hot standby that replicates its stream. waits: whether commits
    wait until it has applied them.
    """

    def __init__(self, folder, stack, *, waits):
        more = (
            ("-c", "synchronous_standby_names=standby", "-c", "synchronous_commit=remote_apply")
            if waits
            else ()
        )
        # A standby is asked to be there only once it is: the store is made, and copied, before.
        self.primary = stack.enter_context(
            contextlib.closing(PostgresServer("-c", "wal_level=replica"))
        )
        self.way = stack.enter_context(Link(self.primary.port))
        self.standby = stack.enter_context(contextlib.closing(self.primary.standby(self.way.port)))
        if more:
            self.primary.restart(*more)
        self.link = stack.enter_context(Link(self.primary.port))
        self.url = f"postgresql://headwater@127.0.0.1:{self.link.port}/postgres"

    def part(self):
        self.way.block()

    def fail_over(self):
        self.primary.kill()
        self.way.switch(1)
        self.standby.promote()
        self.link.switch(self.standby.port)


class RedisChain(RedisPair):
    """Behind the replica is another one, for which commits wait once the first has taken over."""

    def __init__(self, folder, stack):
        super().__init__(folder, stack, waits=True)
        self.second = stack.enter_context(
            contextlib.closing(self.replica.replica(folder / "second"))
        )
        self.url += "&timeout=20s"

    def interrupt(self):
        self.primary.pause()
        time.sleep(1)
        self.primary.resume()


class RedisSentinel:
    """Sentinel promotes one of two replicas, and makes the old primary a replica when it is
    back.
    """

    def __init__(self, folder, stack):
        self.primary = stack.enter_context(contextlib.closing(Server(folder / "primary", *AOF)))
        self.replicas = [
            stack.enter_context(contextlib.closing(self.primary.replica(folder / f"replica{n}")))
            for n in range(2)
        ]
        self.sentinel = stack.enter_context(
            contextlib.closing(SentinelServer(folder / "sentinel", "shop", self.primary))
        )
        self.url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{self.sentinel.port}/shop?replicas=1&timeout=30s"

    def interrupt(self):
        """For so long that a replica takes over; then there are two that were told to be primaries,
        for a short time.
        """
        self.primary.pause()
        time.sleep(4)
        self.primary.resume()

    def fail_over(self):
        servers = {server.port: server for server in (self.primary, *self.replicas)}
        with self.sentinel.client as client:
            _, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "shop")
        assert int(port) != self.primary.port
        servers[int(port)].kill()


class PostgresMoved(PostgresPair):
    """Both behind one address."""

    def __init__(self, folder, stack):
        super().__init__(folder, stack, waits=True)
        self.url += "?timeout=20s"

    def interrupt(self):
        self.primary.restart()


class PostgresHosts(PostgresMoved):
    """Both in the URL."""

    def __init__(self, folder, stack):
        super().__init__(folder, stack)
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        self.url = (
            f"postgresql://headwater@{hosts}/postgres?target_session_attrs=read-write&timeout=20s"
        )


@pytest.mark.parametrize("kind", [RedisChain, RedisSentinel, PostgresMoved, PostgresHosts])
def test_processes_and_a_service_go_on_with_a_new_primary_by_themselves(
    kind, network, group_at, topic, tmp_path
):
    """Before that, the old one is stopped for a while (Redis), or restarted (PostgreSQL)."""
    with contextlib.ExitStack() as stack:
        servers = kind(tmp_path / "servers", stack)
        here = group_at(servers.url)
        with producing(here, network.servers, topic):
            processes = here.begin(None, None)
            with asked(here) as asking:
                for fault in (servers.interrupt, servers.fail_over):
                    fault()
                    goes_on(here, processes)
                    asking.answered(time.monotonic())
            assert [process.poll() for process in processes] == [None, None]
        here.end()


def goes_on(here, processes):
    """Wait for twenty commits; no process may end."""
    before = here.commits()

    def more():
        for process in processes:
            assert process.poll() is None, process.log.read_text()
        return here.commits() >= before + 20

    until(more, "twenty commits")


@pytest.fixture(params=[RedisPair, PostgresPair], ids=["redis", "postgres"])
def pair(request, tmp_path):
    with contextlib.ExitStack() as stack:
        yield lambda *, waits: request.param(tmp_path / "servers", stack, waits=waits)


def test_a_standby_that_commits_wait_for_takes_over_without_loss(pair, network, group_at, topic):
    servers = pair(waits=True)
    here = group_at(servers.url)
    with producing(here, network.servers, topic):
        here.begin(None, None)
        time.sleep(1)
        servers.fail_over()
        here.url = here.url.partition("?")[0]  # the replica that took over has none itself
        for process in here.processes:
            process.kill()
            process.wait()
        here.begin(None, None)
        time.sleep(1)
    here.end()


def repaired(here, *arguments):
    """What `headwater store rewind` prints."""
    command = [
        sys.executable,
        "-m",
        "headwater.cli",
        "store",
        "rewind",
        "--store",
        here.url,
        *arguments,
    ]
    done = subprocess.run(
        command, cwd=here.folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def refused(process, *words):
    """It ends by itself, and says why."""
    assert process.wait(60) == 1, process.log.read_text()
    assert any(said(process, each) for each in words), process.log.read_text()


def test_commits_that_a_standby_lacks_are_refused_and_read_again(pair, network, group_at, topic):
    """Files of the archive hold events of lost commits."""
    servers = pair(waits=False)
    here = group_at(servers.url, script=SMALL_FILES)
    with producing(here, network.servers, topic):
        (process,) = here.begin(None)
        servers.part()
        files = {*here.folder.rglob("*.parquet")}
        until(
            lambda: len({*here.folder.rglob("*.parquet")} - files) >= 8,
            "files of the archive",
            process,
        )
        servers.fail_over()
        refused(process, "this process had made commit", "holds events up to commit")
        again = here.start()
        refused(again, "store rewind --dry-run")
    told = repaired(here, "--dry-run")
    assert re.search(
        r"[1-9][\d,]* events leave the archive, and are read from the stream again", told
    ), told
    repaired(here, "--yes")
    assert "nothing is to be rewound" in repaired(here, "--dry-run")
    here.processes.clear()  # they were refused
    here.end()


@contextlib.contextmanager
def losing(here, part, fail_over):
    """Lose acknowledged pushes; what happens in the context happens before they are repaired. All
    others are exact afterwards.
    """
    process = last = here.start()
    senders = [here.sender(0)]
    senders[0].start()
    try:
        here.begun(process)
        part()
        before = len(here.good)
        until(lambda: len(here.good) > before + 50, "acknowledged pushes", process)
        fail_over()
        refused(
            process,
            "this process had made commit",
            "lost offsets of",
            "senders were told that commit",
        )
        yield
        told = repaired(here, "--yes")
        lost = int(
            re.search(r"([\d,]+) pushed records at most are in no file", told)[1].replace(",", "")
        )
        last = here.start()
        here.begun(last)
        reached = senders[0].batches + 3
        until(lambda: senders[0].batches >= reached, "pushes that are taken again", last)
    finally:
        senders[0].over.set()
        senders[0].join(60)
        last.send_signal(signal.SIGTERM)
    assert last.wait(60) == 0, last.log.read_text()
    archived = here.rows("archive")["n"].to_list()
    assert len(archived) == len({*archived})
    missing = {*here.good} - {*archived}
    assert 0 < len(missing) <= lost
    here.good = archived
    here.incomplete = True
    assert here.found() == here.expected()


def test_acknowledged_pushes_that_a_standby_lacks_are_refused_and_named(pair, tmp_path):
    servers = pair(waits=False)
    here = World(tmp_path, servers.url, "hw.push(schema=schema)")
    with losing(here, servers.part, servers.fail_over):
        refused(here.start(), "senders were told that commit")
