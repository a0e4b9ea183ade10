"""A primary of a Redis cluster is killed under load, and the cluster promotes its replica:
ingestion and serving go on by themselves.
"""

import contextlib
import time

import pytest

import headwater as hw
from headwater.errors import StoreError
from headwater.stores import keyspace
from tests.cluster.asking import asked
from tests.cluster.proxy import Link
from tests.cluster.test_failover import goes_on, losing, refused, repaired
from tests.cluster.test_network import answered
from tests.cluster.world import producing
from tests.ingestion.test_kills import SMALL_FILES
from tests.ingestion.world import World
from tests.stores.servers import clustered
from tests.waiting import until

pytestmark = pytest.mark.services

AOF = ("--appendonly", "yes", "--cluster-replica-validity-factor", "0")
MASTERS = 3


class Cluster:
    """Three primaries, each behind a link that clients and its replica use, and three replicas."""

    def __init__(self, folder, stack):
        self.servers = stack.enter_context(
            clustered(folder, *AOF, masters=MASTERS, replicas=MASTERS)
        )
        self.replicas = self.servers[MASTERS:]
        self.links = [stack.enter_context(Link(server.port)) for server in self.servers[:MASTERS]]
        for server, link in zip(self.servers, self.links, strict=False):
            announced = {
                "cluster-announce-port": link.port,
                "cluster-announce-bus-port": server.port + 10_000,
            }
            with server.client as client:
                for name, value in announced.items():
                    client.config_set(name, value)
            server.options += tuple(
                str(part) for name, value in announced.items() for part in (f"--{name}", value)
            )
        until(lambda: all(self._by_link(n) for n in range(MASTERS)), "replicas that use the links")
        self.url = "redis+cluster://" + ",".join(
            f"127.0.0.1:{server.port}" for server in self.servers[:2]
        )
        with self.servers[0].client as client:
            # the number of its primary
            self.state = (
                client.execute_command("CLUSTER", "KEYSLOT", "{headwater}") * MASTERS // 16384
            )

    def _by_link(self, n):
        replica = self.replicas[n]
        with replica.client as client:
            info = client.info("replication")
        return info["master_port"] == self.links[n].port and info["master_link_status"] == "up"

    def part(self, n):
        """Let the replica of a primary fall behind."""
        assert self.links[n].leads(self.replicas[n].process.pid)
        self.links[n].block(self.replicas[n].process.pid)

    def kill(self, n):
        """Kill a primary and wait until its replica is one."""
        self.servers[n].kill()
        until(lambda: self.replicas[n].role == "master", "a promoted replica")

    def silence(self, n):
        """Let nothing pass to a primary or from it, and have its replica take over."""
        self.links[n].block()
        with self.replicas[n].client as client:
            client.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
        until(lambda: self.servers[n].role == "slave", "a replica of the promoted one")
        self.servers[n].follows()

    def back(self, n):
        """Start a killed primary again, which becomes the replica of its replica."""
        self.servers[n].start()
        until(lambda: self.servers[n].role == "slave", "a replica of the promoted one")
        self.servers[n].follows()


@pytest.fixture
def servers(tmp_path):
    with contextlib.ExitStack() as stack:
        yield Cluster(tmp_path / "servers", stack)


def test_two_processes_and_a_service_go_on_by_themselves(servers, network, group_at, topic):
    """Commits wait for a replica; the primary of the state is killed, then one of records, and the
    last one falls silent.
    """
    here = group_at(servers.url + "?replicas=1&timeout=10s")
    with producing(here, network.servers, topic):
        first, second = here.begin(None, None)
        with asked(here) as asking:
            for step in range(MASTERS):
                n = (servers.state + step) % MASTERS
                if step < 2:
                    servers.kill(n)
                    servers.back(n)
                else:
                    servers.silence(n)
                goes_on(here, (first, second))
                asking.answered(time.monotonic())
        assert [process.poll() for process in (first, second)] == [None, None]
    here.end()


def test_a_cluster_that_answers_too_slowly_for_requests_is_opened_and_read_when_it_is_fast_again(
    servers,
):
    with contextlib.closing(hw.operations.open_store(servers.url)):
        pass
    for link in servers.links:
        link.delay = 0.15  # in each direction
    by_links = "redis+cluster://" + ",".join(f"127.0.0.1:{link.port}" for link in servers.links)
    with contextlib.closing(
        hw.operations.open_store(f"{by_links}?timeout=60s", readonly=True, for_requests=True)
    ) as store:
        with pytest.raises(StoreError, match="does not answer"):
            store.get([keyspace.FORMAT_KEY])
        for link in servers.links:
            link.delay = 0.0
        until(lambda: answered(store, keyspace.FORMAT_KEY), "an answer")


@pytest.mark.parametrize("lost", ["state", "records"])
def test_commits_that_a_promoted_replica_lacks_are_refused_and_repaired(
    lost, servers, network, group_at, topic
):
    """By the running process, and by each new one, while the archive has files of them; until
    `store rewind` removed all records.
    """
    here = group_at(servers.url, script=SMALL_FILES)
    n = (servers.state + (lost == "records")) % MASTERS
    with producing(here, network.servers, topic):
        (process,) = here.begin(None)
        servers.part(n)
        files = {*here.folder.rglob("*.parquet")}
        until(
            lambda: len({*here.folder.rglob("*.parquet")} - files) >= 8,
            "files of the archive",
            process,
        )
        servers.kill(n)
        refused(process, "this process had made commit", "lost offsets of", "has lost commits of")
        for _ in range(2):
            refused(here.start(), "lost offsets of", "has lost commits of")
    for options in (["--dry-run"], ["--yes"]):
        told = repaired(here, *options)
        assert "all records of this store are removed" in told, told
        assert ("are read from the stream again" in told) == (lost == "state"), told
    assert "nothing is to be rewound" in repaired(here, "--dry-run")
    here.processes.clear()
    here.begin(None)
    here.end()


def test_acknowledged_pushes_that_a_promoted_replica_lacks_are_refused_and_named(servers, tmp_path):
    here = World(tmp_path, servers.url, "hw.push(schema=schema)")
    with losing(here, lambda: servers.part(servers.state), lambda: servers.kill(servers.state)):
        refused(
            here.start(), "lost offsets of", "has lost commits of", "senders were told that commit"
        )
